"""What may be set at a slot: the schemas of the operations of all kinds of providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

SIDE_MAX = 8192
PROMPT: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 32_000,
    "description": "What is to be done with the photo, in words.",
}
_NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_LINK = {"type": "string", "pattern": "^https?://", "maxLength": 2000}
_FORMAT: Schema = {"type": "string", "enum": ["jpeg", "png", "webp"]}
_QUALITY: Schema = {"type": "integer", "minimum": 1, "maximum": 100}
_SIDE: Schema = {"type": "integer", "minimum": 16, "maximum": SIDE_MAX}
_COLOUR: Schema = {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"}


def closed(properties: Schema, *needed: str) -> Schema:
    """The schema of an object with these fields and no other."""
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    return found | {"required": list(needed)} if needed else found


ECHO = closed({})

_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_PART: Schema = {"type": "number", "minimum": 0.01, "maximum": 1}
_OUTPUT: Schema = {
    "width": {**_SIDE, "description": "Of the result in pixels; else as what it is made of."},
    "height": {**_SIDE, "description": "As width; one of the two keeps the proportions."},
    "format": {**_FORMAT, "description": "Of the result; default: jpeg."},
    "quality": {**_QUALITY, "description": "Of JPEG and WebP; default: 90."},
}
FRAME = closed(
    {
        "layer": {
            "type": "string",
            "enum": ["overlay", "background"],
            "description": "Whether the template lies over the photo or under it.",
        },
        "window": {
            **closed(
                {"x": _SHARE, "y": _SHARE, "width": _PART, "height": _PART},
                *("x", "y", "width", "height"),
            ),
            "description": "Where the photo lies, in shares of the template; default: all of it.",
        },
        "fit": {
            "type": "string",
            "enum": ["cover", "contain"],
            "description": "Fill the window and cut what is too much, or show all of the photo.",
        },
        "colour": {**_COLOUR, "description": "Where nothing lies; default: #ffffff."},
        **_OUTPUT,
    },
)

_FACTOR: Schema = {"type": "number", "minimum": 0, "maximum": 4}
_STEP_VALUES: Schema = {
    "factor": {**_FACTOR, "description": "1 changes nothing, less weakens, more strengthens."},
    "radius": {"type": "number", "minimum": 0, "maximum": 100, "description": "In pixels."},
    "percent": {"type": "integer", "minimum": 0, "maximum": 500},
    "threshold": {"type": "integer", "minimum": 0, "maximum": 255},
    "bits": {"type": "integer", "minimum": 1, "maximum": 8},
    "cutoff": {"type": "number", "minimum": 0, "maximum": 49, "description": "In percent."},
    "size": {"type": "integer", "minimum": 2, "maximum": 256, "description": "In pixels."},
    "dark": _COLOUR,
    "light": _COLOUR,
}
FILTER_STEPS: Mapping[str, tuple[str, ...]] = {
    "grayscale": (),
    "sepia": (),
    "invert": (),
    "equalize": (),
    "mirror": (),
    "flip": (),
    "detail": (),
    "smooth": (),
    "sharpen": (),
    "contour": (),
    "emboss": (),
    "edge_enhance": (),
    "autocontrast": ("cutoff",),
    "brightness": ("factor",),
    "contrast": ("factor",),
    "color": ("factor",),
    "sharpness": ("factor",),
    "gaussian_blur": ("radius",),
    "box_blur": ("radius",),
    "unsharp_mask": ("radius", "percent", "threshold"),
    "median": (),
    "posterize": ("bits",),
    "solarize": ("threshold",),
    "pixelate": ("size",),
    "colorize": ("dark", "light"),
}
"""The operations of Pillow that a filter may be made of, each with what it needs."""


def _step() -> Schema:
    """One step of a filter: its operation, and what that one needs."""
    named = {"type": "string", "enum": list(FILTER_STEPS)}
    needed = [
        {
            "if": {
                "required": ["operation"],
                "properties": {"operation": {"const": name}},
            },
            "then": {"required": list(values)},
        }
        for name, values in FILTER_STEPS.items()
        if values
    ]
    return {**closed({"operation": named, **_STEP_VALUES}, "operation"), "allOf": needed}


FILTER = closed(
    {
        "steps": {
            "type": "array",
            "items": _step(),
            "minItems": 1,
            "maxItems": 16,
            "description": "What is done with the photo, in this order.",
        },
        **_OUTPUT,
    },
    "steps",
)

GEMINI_EDIT = closed(
    {
        "prompt": PROMPT,
        "model": {"type": "string", "pattern": _NAME, "description": "Else the provider's."},
        "aspect_ratio": {
            "type": "string",
            "enum": ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"],
        },
        "image_size": {
            "type": "string",
            "enum": ["1K", "2K", "4K"],
            "description": "Not every model knows it.",
        },
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "safety_settings": {
            "type": "array",
            "maxItems": 16,
            "items": closed(
                {
                    "category": {"type": "string", "pattern": "^[A-Z_]{1,80}$"},
                    "threshold": {"type": "string", "pattern": "^[A-Z_]{1,80}$"},
                },
                *("category", "threshold"),
            ),
        },
    },
    "prompt",
)

TURBOTEXT_IMAGE2IMAGE = closed(
    {
        "prompt": PROMPT,
        "strength": {"type": "integer", "minimum": 0, "maximum": 80},
        "seed": {"type": "integer", "minimum": 1, "maximum": 10**10},
        "scale": {"type": "number", "minimum": 0.1, "maximum": 20},
        "negative_prompt": {"type": "string", "maxLength": 2000},
        "original_language": {"type": "string", "pattern": "^[a-z]{2}$"},
        "user_id": {"type": "integer", "minimum": 1},
    },
    "prompt",
)
TURBOTEXT_MIX = closed(
    {
        "prompt": PROMPT,
        "image_url": {**_LINK, "description": "The image whose style is taken; public."},
    },
    "image_url",
)
TURBOTEXT_FACE = closed(
    {
        "image_url": {**_LINK, "description": "The image that gets the guest's face; public."},
        "face_restore": {"type": "boolean"},
    },
    "image_url",
)

OPENAI_EDIT = closed(
    {
        "prompt": PROMPT,
        "model": {"type": "string", "pattern": _NAME, "description": "Else the provider's."},
        "size": {"type": "string", "pattern": "^(auto|[1-9][0-9]{2,3}x[1-9][0-9]{2,3})$"},
        "quality": {"type": "string", "enum": ["auto", "low", "medium", "high"]},
        "output_format": {"type": "string", "enum": ["png", "jpeg", "webp"]},
        "output_compression": {"type": "integer", "minimum": 0, "maximum": 100},
        "background": {"type": "string", "enum": ["auto", "opaque", "transparent"]},
        "input_fidelity": {
            "type": "string",
            "enum": ["low", "high"],
            "description": "high keeps faces; not every model knows it.",
        },
        "moderation": {"type": "string", "enum": ["auto", "low"]},
    },
    "prompt",
)

_INPUTS: Schema = {
    "prompt": PROMPT,
    "photo_field": {
        "type": "string",
        "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$",
        "description": "The input that takes the photo.",
    },
    "is_list": {"type": "boolean", "description": "That input takes a list of images."},
    "sends": {
        "type": "string",
        "enum": ["data", "link"],
        "description": "The photo itself, or a public link to it; default: data.",
    },
    "input": {"type": "object", "description": "All other inputs of the model."},
}
REPLICATE_RUN = closed(
    {
        "model": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9a-f]{64})?$",
            "maxLength": 200,
            "description": "owner/name, or owner/name:version.",
        },
        **_INPUTS,
    },
    "model",
)
FAL_RUN = closed(
    {
        "model": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){1,5}$",
            "maxLength": 200,
            "description": "owner/app, or owner/app/path.",
        },
        **_INPUTS,
    },
    "model",
)

WEBHOOK_CALL = closed(
    {
        "prompt": PROMPT,
        "values": {
            "type": "array",
            "maxItems": 32,
            "items": closed(
                {
                    "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$"},
                    "value": {"type": "string", "maxLength": 4000},
                },
                *("name", "value"),
            ),
            "description": "Filled into the request where it says {value.name}.",
        },
    },
)
