"""Prints the OpenAPI 3.1 document of the HTTP service, as `/openapi.json` has it.

makeready openapi > openapi.json
"""

from __future__ import annotations

import argparse
import json

from makeready.config import Settings
from makeready_http.app import OPERATIONS
from makeready_http.openapi import openapi


def configure(_: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(_: Settings, __: argparse.Namespace) -> int:
    """Prints the document."""
    print(json.dumps(openapi(OPERATIONS), indent=2, ensure_ascii=False))
    return 0
