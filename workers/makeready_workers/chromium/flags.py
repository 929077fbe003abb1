"""The command line of Chromium: no network, no files, sandbox on, the same bytes every time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

SHARED_MEMORY_FLOOR_BYTES = 512 << 20  # containers often give 64 MiB, which Chromium overruns

# Four locks that together let nothing out, also where no network namespace is to be had. The proxy
# is a name that never resolves, so that not even a port of this machine is tried; `<-loopback>`
# sends loopback through it too; the resolver rule covers what ignores proxies, literal addresses
# included; the last, under its old name and its new one, stops WebRTC's own UDP.
NO_NETWORK = (
    "--proxy-server=http://blocked.invalid:1",
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
)

_FEATURES_OFF = (
    "IsolateSandboxedIframes",  # a whole browser would put such frames out of our reach
    "MediaRouter",
    "OptimizationHints",
    "Translate",
    "WebOTP",
    "WebUSB",
)
_QUIET = (
    "--block-new-web-contents",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    f"--disable-features={','.join(_FEATURES_OFF)}",
    "--disable-gpu",
    "--disable-sync",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--no-service-autorun",
    "--password-store=basic",
    "--use-mock-keychain",
)

_SAME_BYTES = (
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--lang=en-US",
)

# Pages that draw no frames (page.py) can show one when they are asked, as evidence of a failure.
_FRAME_ON_DEMAND = ("--run-all-compositor-stages-before-draw",)

# The network service lives in the browser process: on Linux its own one has no sandbox either, and
# starting that takes a seventh of the time to the first PDF, for a network that nobody may use.
_NO_NETWORK_PROCESS = ("--enable-features=NetworkServiceInProcess2",)

# Rendering must not be slowed for pages that a window would call hidden.
_NO_THROTTLING = (
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)


def command_line(
    *, profile: Path, sandbox: bool, whole_browser: bool, script_heap_mb: int, by_pipe: bool = True
) -> Sequence[str]:
    """All flags for one browser; a whole browser must be told to be headless."""
    flags = [
        "--remote-debugging-pipe" if by_pipe else "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        f"--js-flags=--max-old-space-size={script_heap_mb}",
        *NO_NETWORK,
        *_QUIET,
        *_SAME_BYTES,
        *_FRAME_ON_DEMAND,
        *_NO_NETWORK_PROCESS,
        *_NO_THROTTLING,
    ]
    if whole_browser:
        flags.append("--headless=new")
    if not sandbox:
        flags.append("--no-sandbox")
    if _shared_memory_is_small():
        flags.append("--disable-dev-shm-usage")
    return flags


def _shared_memory_is_small() -> bool:
    try:
        facts = os.statvfs("/dev/shm")  # noqa: S108 (asked for its size, never written to)
    except OSError:
        return True
    return facts.f_bavail * facts.f_frsize < SHARED_MEMORY_FLOOR_BYTES
