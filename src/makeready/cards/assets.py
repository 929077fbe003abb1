"""What an uploaded font or picture is, or why no card can be made with it."""

from __future__ import annotations

from makeready.cards import fonts, images
from makeready.cards.asset_facts import AssetFacts
from makeready.cards.problems import CardsRefused, Problem

_FONTS = {b"\x00\x01\x00\x00": "font/ttf", b"true": "font/ttf", b"OTTO": "font/otf"}
_PICTURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_FONTS_OF_OTHER_KINDS = (b"ttcf", b"wOFF", b"wOF2")


def inspect_asset(data: bytes) -> AssetFacts:
    """Raises CardsRefused: `asset_unsupported` for what is neither, else why it is no good."""
    if data[:4] in _FONTS or data[:4] in _FONTS_OF_OTHER_KINDS:
        return _font(data)
    for mark, media_type in _PICTURES.items():
        if data.startswith(mark):
            return _picture(data, media_type)
    raise CardsRefused([Problem(code="asset_unsupported")])


def _font(data: bytes) -> AssetFacts:
    try:
        font = fonts.Font(data)
    except fonts.BadFont as error:
        facts = {"font": "", "reason": str(error)[:100]}
        raise CardsRefused([Problem(code="font_unreadable", facts=facts)]) from None
    if font.embedding:
        facts = {"font": font.name, "reason": font.embedding}
        raise CardsRefused([Problem(code="font_no_embedding", facts=facts)])
    return AssetFacts(
        kind="font",
        name=font.name,
        media_type=_FONTS[data[:4]],
        found={"family": font.name, "has_cyrillic": not font.missing("АЯаяЁё№")},
    )


def _picture(data: bytes, media_type: str) -> AssetFacts:
    try:
        picture = images.read(data)
    except images.BadPicture as error:
        facts = {"asset": "", "reason": str(error)}
        raise CardsRefused([Problem(code="image_unreadable", facts=facts)]) from None
    found = {"width": picture.width, "height": picture.height, "space": picture.space}
    return AssetFacts(kind="image", name="", media_type=media_type, found=found)
