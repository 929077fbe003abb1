"""Which inks and fonts a template's pages use, wherever in their resources they hide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pikepdf import Array, Dictionary, Name, Object, Pdf, Stream

from makeready.cards.boxes import inherited
from makeready.cards.spelling import text_of

_CMYK = {"/DeviceCMYK", "/CMYK", "/CalCMYK"}
_RGB = {"/DeviceRGB", "/RGB", "/CalRGB"}
_SETS_CMYK = re.compile(rb"\s[kK](?=\s|$)|/(?:Device)?CMYK\b")
_NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)")
_PRESSES = re.compile(r"(?i)fogra|swop|gracol|cmyk|coated|jmpa|jc200|ifra|snap|cgats|pso")
_FONT_FILES = (Name.FontFile, Name.FontFile2, Name.FontFile3)
_VISITS = 200_000
_DEPTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Inks:
    """What was found."""

    has_cmyk: bool
    fonts: tuple[tuple[str, bool], ...]
    """Name, and whether it is embedded."""


def survey(document: Pdf) -> Inks:
    """Looks through all pages and what they draw."""
    walk = _Walk()
    has_cmyk = any(_is_for_press(intent) for intent in _intents(document))
    for page in document.pages:
        walk.waiting.append(inherited(page.obj, "/Resources"))
        contents = page.obj.get(Name.Contents)
        walk.contents(list(contents) if isinstance(contents, Array) else [contents])
    walk.run()
    return Inks(has_cmyk=has_cmyk or walk.has_cmyk, fonts=tuple(sorted(walk.fonts.items())))


def blends_rgb(page: Any) -> bool:
    """The page's transparency is computed in RGB."""
    group = page.get(Name.Group)
    space = group.get(Name.CS) if isinstance(group, Dictionary) else None
    if isinstance(space, Array) and len(space) > 1 and space[0] == Name.ICCBased:
        return isinstance(space[1], Stream) and space[1].get(Name.N) == 3
    return _family(space) in _RGB


class _Walk:
    """Through resources, forms, patterns and fonts, each of them once."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.fonts: dict[str, bool] = {}
        self.has_cmyk = False
        self._seen: set[tuple[int, int]] = set()
        self._visits = 0

    def contents(self, streams: list[Any]) -> None:
        """Looks for operators that set CMYK."""
        if self.has_cmyk:
            return
        parts = [each.read_bytes() for each in streams if isinstance(each, Stream)]
        self.has_cmyk = _sets_cmyk(b"\n".join(parts))

    def run(self) -> None:
        while self.waiting and self._visits < _VISITS:
            resources = self.waiting.pop()
            if isinstance(resources, Dictionary) and self._is_new(resources):
                self._look(resources)

    def _is_new(self, thing: Any) -> bool:
        self._visits += 1
        if not thing.is_indirect:
            return True
        is_new = thing.objgen not in self._seen
        self._seen.add(thing.objgen)
        return is_new

    def _look(self, resources: Any) -> None:
        for font in _members(resources, Name.Font):
            self._font(font)
        for drawn in _members(resources, Name.XObject):
            self._drawn(drawn)
        for pattern in _members(resources, Name.Pattern):
            self._drawn(pattern)
        for shading in _members(resources, Name.Shading):
            self._space(shading.get(Name.ColorSpace))
        for space in _members(resources, Name.ColorSpace):
            self._space(space)
        for state in _members(resources, Name.ExtGState):
            mask = state.get(Name.SMask) if isinstance(state, Dictionary) else None
            if isinstance(mask, Dictionary):
                self._drawn(mask.get(Name.G))

    def _drawn(self, thing: Any) -> None:
        """A form, a picture or a pattern."""
        if not isinstance(thing, Dictionary | Stream) or not self._is_new(thing):
            return
        self._space(thing.get(Name.ColorSpace))
        shading = thing.get(Name.Shading)
        if isinstance(shading, Dictionary | Stream):
            self._space(shading.get(Name.ColorSpace))
        if isinstance(thing, Stream) and thing.get(Name.Subtype) != Name.Image:
            self.contents([thing])
            self.waiting.append(thing.get(Name.Resources))

    def _font(self, font: Any) -> None:
        if not isinstance(font, Dictionary) or not self._is_new(font):
            return
        if font.get(Name.Subtype) == Name.Type3:
            self.waiting.append(font.get(Name.Resources))
            return
        below = font.get(Name.DescendantFonts)
        described = below[0] if isinstance(below, Array) and len(below) else font
        descriptor = described.get(Name.FontDescriptor, Dictionary())
        is_embedded = any(file in descriptor for file in _FONT_FILES)
        name = text_of(font.get(Name.BaseFont)).removeprefix("/") or "?"
        self.fonts[name] = self.fonts.get(name, True) and is_embedded

    def _space(self, space: Any, depth: int = 0) -> None:
        if self.has_cmyk or space is None or depth > _DEPTH:
            return
        family = _family(space)
        if family in _CMYK:
            self.has_cmyk = True
        elif not isinstance(space, Array) or len(space) < 2:
            return
        elif family == "/ICCBased":
            self.has_cmyk = _is_profile_of_four(space[1])
        elif family in {"/Indexed", "/I", "/Pattern"}:
            self._space(space[1], depth + 1)
        elif family in {"/Separation", "/DeviceN"} and len(space) > 2:
            self._space(space[2], depth + 1)


def _sets_cmyk(content: bytes) -> bool:
    """Four numbers and a `k` or `K`, or the name of the space."""
    for found in _SETS_CMYK.finditer(content):
        before = content[max(found.start() - 100, 0) : found.start()].split()[-4:]
        if found[0].startswith(b"/") or (
            len(before) == 4 and all(_NUMBER.fullmatch(part) for part in before)
        ):
            return True
    return False


def _members(resources: Any, category: Name) -> Iterator[Any]:
    listed = resources.get(category)
    if isinstance(listed, Dictionary):
        yield from listed.values()


def _family(space: Any) -> str:
    if isinstance(space, Array):
        space = space[0] if len(space) else None
    return text_of(space) if isinstance(space, Name) else ""


def _is_profile_of_four(profile: Any) -> bool:
    return isinstance(profile, Stream) and profile.get(Name.N) == 4


def _intents(document: Pdf) -> Iterator[Object]:
    listed = document.Root.get(Name.OutputIntents)
    for intent in listed if isinstance(listed, Array) else ():
        if isinstance(intent, Dictionary):
            yield intent


def _is_for_press(intent: Any) -> bool:
    """CMYK by its profile, or where it has none by the name of the printing condition."""
    profile = intent.get(Name.DestOutputProfile)
    if isinstance(profile, Stream):
        return _is_profile_of_four(profile)
    said = " ".join(
        text_of(intent.get(name)) for name in (Name.OutputConditionIdentifier, Name.Info)
    )
    return _PRESSES.search(said) is not None
