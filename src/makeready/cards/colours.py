"""Inks as PDF operators. Black is one ink: four of them would blur a code's modules in print."""

from __future__ import annotations

from makeready.cards.settings import Colour


def number(value: float) -> str:
    """As short as PDF allows, to a hundred-thousandth."""
    text = f"{value:.5f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def numbers(*values: float) -> str:
    """Several in a row."""
    return " ".join([number(value) for value in values])


def fill(colour: Colour, *, has_cmyk: bool, spots: dict[str, str]) -> str:
    """The operator that chooses the ink; `spots`: the resource's name of each spot colour."""
    if colour.space == "black":
        return "0 0 0 1 k" if has_cmyk else "0 g"
    if colour.space == "white":
        return "0 0 0 0 k" if has_cmyk else "1 g"
    if colour.space == "spot":
        return f"/{spots[spot_key(colour)]} cs {number(colour.tint)} scn"
    operator = {"gray": "g", "cmyk": "k", "rgb": "rg"}[colour.space]
    return f"{numbers(*colour.parts)} {operator}"


def spot_key(colour: Colour) -> str:
    """One resource a spot colour and substitute."""
    return f"{colour.name} {numbers(*colour.parts)}"


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
