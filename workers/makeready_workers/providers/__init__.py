"""Who changes photos: one module a wire format, behind the protocol of `base`."""

from __future__ import annotations

from collections.abc import Mapping

from makeready_workers.providers.base import Provider
from makeready_workers.providers.fal import Fal
from makeready_workers.providers.gemini import Gemini
from makeready_workers.providers.local import Local
from makeready_workers.providers.openai_images import OpenAIImages
from makeready_workers.providers.replicate import Replicate
from makeready_workers.providers.turbotext import Turbotext
from makeready_workers.providers.webhook import Webhook


def by_kind() -> Mapping[str, Provider]:
    """The program of each kind in `makeready.photo_kinds`."""
    return {
        "local": Local(),
        "gemini": Gemini(),
        "turbotext": Turbotext(),
        "openai": OpenAIImages(),
        "replicate": Replicate(),
        "fal": Fal(),
        "webhook": Webhook(),
    }
