"""Inks as PDF operators. Black is one ink: four of them would blur a code's modules in print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from makeready.cards.settings import Colour


def number(value: float) -> str:
    """As short as PDF allows, to a hundred-thousandth."""
    text = f"{value:.5f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def numbers(*values: float) -> str:
    """Several in a row."""
    return " ".join([number(value) for value in values])


@dataclass(frozen=True, slots=True, kw_only=True)
class Inks:
    """How a generation prints colours."""

    has_cmyk: bool
    """The template has CMYK: black and white are then said in it too."""
    spot: Callable[[Colour], str]
    """Names the colour space of a spot colour."""

    def fill(self, colour: Colour) -> str:
        """The operator that chooses the ink."""
        if colour.space == "black":
            return "0 0 0 1 k" if self.has_cmyk else "0 g"
        if colour.space == "white":
            return "0 0 0 0 k" if self.has_cmyk else "1 g"
        if colour.space == "spot":
            return f"/{self.spot(colour)} cs {number(colour.tint)} scn"
        operator = {"gray": "g", "cmyk": "k", "rgb": "rg"}[colour.space]
        return f"{numbers(*colour.parts)} {operator}"


def separation(colour: Colour) -> str:
    """The colour space of a spot colour: its plate, or the substitute on screens and proofs."""
    return (
        f"[/Separation /{pdf_name(colour.name)} /DeviceCMYK << /FunctionType 2 /Domain [0 1]"
        f" /C0 [0 0 0 0] /C1 [{numbers(*colour.parts)}] /N 1 >>]"
    )


def pdf_name(text: str) -> str:
    """As PDF writes names; braces too, which stand for references in a part's head."""
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and chr(byte) not in "#/()<>[]{}%" else f"#{byte:02X}"
        for byte in text.encode()
    )
