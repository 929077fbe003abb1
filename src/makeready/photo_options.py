"""What may be set at a provider: addresses, limits, rules of retrying, and the generic webhook.

A webhook provider is described here alone, without code: what is sent where, where its key goes,
and where the answer has its image.
"""

from __future__ import annotations

from makeready.photo_schemas import Schema, closed

_URL: Schema = {"type": "string", "pattern": "^https?://", "maxLength": 2000}
_HOST: Schema = {"type": "string", "pattern": r"^(\*\.)?[A-Za-z0-9.-]+$", "maxLength": 253}
_SECONDS: Schema = {"type": "number", "minimum": 0, "maximum": 60}
_NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9._/-]{1,200}$"}
_PATH: Schema = {
    "type": "string",
    "pattern": r"^[^.\s]+(\.[^.\s]+)*$",
    "maxLength": 300,
    "description": "Where in the JSON: names and numbers with full stops, such as images.0.url.",
}

COMMON: Schema = {
    "max_attempts": {"type": "integer", "minimum": 1, "maximum": 10},
    "retry_pause_s": {**_SECONDS, "description": "When it does not say itself; default: 3."},
    "price": {"type": "number", "minimum": 0, "description": "Of a call, in your currency."},
    "max_input_bytes": {"type": "integer", "minimum": 10_000, "maximum": 100 << 20},
    "max_side": {
        "type": "integer",
        "minimum": 256,
        "maximum": 8192,
        "description": "Photos are made smaller than that, in pixels, before they are sent.",
    },
}
REMOTE: Schema = {
    **COMMON,
    "base_url": {**_URL, "description": "Of its API; default: the provider's own."},
    "request_timeout_s": {"type": "number", "minimum": 0.1, "maximum": 60},
    "allows_private": {
        "type": "boolean",
        "description": "It may lie in your own network, and speak http.",
    },
}
POLLED: Schema = {
    **REMOTE,
    "poll_interval_s": {"type": "number", "minimum": 0.01, "maximum": 10},
    "max_polls": {"type": "integer", "minimum": 1, "maximum": 1000},
    "requires_public_media": {
        "type": "boolean",
        "description": "It is given links to photos: its slots take JPEG, PNG and WebP alone.",
    },
    "download_hosts": {
        "type": "array",
        "items": _HOST,
        "minItems": 1,
        "maxItems": 32,
        "description": "Where results may be fetched: host, or *.domain.",
    },
}
MODEL: Schema = {"model": {**_NAME, "description": "For slots that name none."}}

_FILLED: Schema = {
    "type": "string",
    "maxLength": 4000,
    "description": "Filled in: {key}, {prompt}, {operation}, {job_id}, {value.name}.",
}
_ADDRESS: Schema = {**_URL, "description": "{reference} and all others may stand in it."}
_HEADERS: Schema = {
    "type": "array",
    "maxItems": 32,
    "items": closed(
        {
            "name": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,100}$"},
            "value": {**_FILLED, "pattern": "^[\\x20-\\x7e]*$"},
        },
        *("name", "value"),
    ),
}
_WORDS: Schema = {"type": "array", "items": {"type": "string", "maxLength": 100}, "maxItems": 20}

WEBHOOK: Schema = {
    **POLLED,
    "url": _ADDRESS,
    "method": {"type": "string", "enum": ["POST", "PUT"]},
    "headers": _HEADERS,
    "body": {
        **closed(
            {
                "kind": {
                    "type": "string",
                    "enum": ["multipart", "json", "raw"],
                    "description": "raw: the photo alone.",
                },
                "file_field": {"type": "string", "pattern": "^[A-Za-z0-9_.\\[\\]-]{1,100}$"},
                "fields": {
                    "type": "array",
                    "maxItems": 64,
                    "items": closed(
                        {
                            "name": {"type": "string", "pattern": "^[A-Za-z0-9_.\\[\\]-]{1,100}$"},
                            "value": _FILLED,
                        },
                        *("name", "value"),
                    ),
                },
                "document": {
                    "type": "object",
                    "description": "The JSON. A text that is {photo}, {photo_data} or {photo_link}"
                    " becomes base64, a data URI or a public link; others are filled in.",
                },
            },
            "kind",
        ),
    },
    "answer": closed(
        {
            "kind": {"type": "string", "enum": ["image", "base64", "url"]},
            "path": _PATH,
            "error_path": _PATH,
        },
        "kind",
    ),
    "poll": closed(
        {
            "reference": {**_PATH, "description": "Of the first answer: what it calls the job."},
            "url": _ADDRESS,
            "status": {**_PATH, "description": "Of the answers: how far it is."},
            "done": _WORDS,
            "failed": _WORDS,
            "result_url": {**_ADDRESS, "description": "Where the image is, when not there."},
        },
        *("reference", "url", "status", "done"),
    ),
    "cancel": closed(
        {"url": _ADDRESS, "method": {"type": "string", "enum": ["POST", "PUT", "DELETE"]}},
        *("url", "method"),
    ),
    "ping": closed(
        {"url": _ADDRESS, "method": {"type": "string", "enum": ["GET", "HEAD", "OPTIONS"]}},
        *("url", "method"),
    ),
}
