"""What a hostile document reaches: nothing. Not this machine's ports, not its files.

A listener on loopback counts connections and datagrams while documents try every way out that a
browser has, by several names of the same address; others try to show a file. With scripts and
without, by both engines; the second one has no network namespace, there the flags stand alone, and
its browser listens on a port that documents must not reach either.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from makeready.embedded.chromium import find_chromium
from makeready.pdf import text_of
from makeready.print_options import PrintOptions
from makeready_workers.chromium import RenderError, flags, jail
from makeready_workers.chromium.browser import start
from makeready_workers.chromium.jail import Jail, ladder
from tests.support.chromium import BOTH, LOOSE, SCRIPTS, SETTINGS, running_engine, show
from tests.support.waiting import until

pytestmark = pytest.mark.slow

SECRET = "не для печати 7391"
LATE_S = 0.4  # how long a connection may take to show

PLACES = ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "user@127.0.0.1")  # noqa: S104

STATIC = """
<link rel=stylesheet href="http://{at}/1"><link rel=prefetch href="http://{at}/2">
<link rel=preload as=image href="http://{at}/3"><link rel=preload as=font href="http://{at}/4">
<link rel=modulepreload href="http://{at}/5"><link rel=dns-prefetch href="http://{at}/6">
<link rel=preconnect href="http://{at}/"><link rel=prerender href="http://{at}/8">
<link rel=icon href="http://{at}/9"><link rel=manifest href="http://{at}/10">
<style>@import "http://{at}/11"; @font-face {{ font-family: f; src: url(http://{at}/12) }}
p {{ font-family: f; background: url(http://{at}/13); list-style: url(http://{at}/14) inside;
border-image: url(http://{at}/15) 1; cursor: url(http://{at}/16), auto }}
</style>
<p>x<img src="http://{at}/18"><img srcset="http://{at}/19 1x">
<picture><source srcset="http://{at}/20"><img></picture>
<video src="http://{at}/21" poster="http://{at}/22" autoplay></video>
<audio src="http://{at}/23" autoplay></audio>
<video autoplay><source src="http://{at}/24"><track src="http://{at}/25" default></video>
<iframe src="http://{at}/26"></iframe><object data="http://{at}/27"></object>
<embed src="http://{at}/28"><input type=image src="http://{at}/29">
<table background="http://{at}/30"><tr><td>x</table>
<svg><image href="http://{at}/31"/><use href="http://{at}/32#a"/></svg>
<svg><filter><feImage href="http://{at}/33"/></filter></svg>
<iframe srcdoc="<img src='http://{at}/34'>"></iframe>
<script type=speculationrules>{{"prefetch": [{{"source": "list", "urls": ["http://{at}/35"]}}],
"prerender": [{{"source": "list", "urls": ["http://{at}/36"]}}]}}</script>
<script src="http://{at}/37"></script><script type=module src="http://{at}/38"></script>
"""
SCRIPTED = """
<p>x<form id=f method=post action="http://{at}/41"><input name=a></form><script>
const at = 'http://{at}/', no = () => {{}};
const work = text => new Worker(URL.createObjectURL(new Blob([text])));
const call = kind => {{
  const urls = kind + ':{at}';
  const peer = new RTCPeerConnection({{iceServers: [{{urls, username: 'a', credential: 'b'}}]}});
  peer.createDataChannel('x');
  peer.createOffer().then(offer => peer.setLocalDescription(offer));
}};
for (const act of [
  () => fetch(at + 42).catch(no),
  () => fetch(at + 43, {{mode: 'no-cors', keepalive: true}}).catch(no),
  () => {{ const x = new XMLHttpRequest(); x.open('GET', at + 44); x.send() }},
  () => navigator.sendBeacon(at + 45, 'x'),
  () => {{ new Image().src = at + 46 }},
  () => new WebSocket('ws://{at}/47'),
  () => new EventSource(at + 48),
  () => work('importScripts("' + at + '49")'),
  () => work('fetch("' + at + '50"); new WebSocket("ws://{at}/51")'),
  () => new SharedWorker(at + 52),
  () => import(at + 53).catch(no),
  () => window.open(at + 54),
  () => new WebTransport('https://{at}/55').ready.catch(no),
  () => navigator.serviceWorker && navigator.serviceWorker.register(at + 56).catch(no),
  () => {{ const s = document.createElement('script'); s.src = at + 57; document.head.append(s) }},
  () => {{ const a = document.createElement('a'); a.href = at; a.ping = at + 58; a.click() }},
  () => call('stun'),
  () => call('turn'),
  () => f.submit(),
]) {{ try {{ act() }} catch (error) {{}} }}
</script>
"""
LEAVING = (
    '<meta http-equiv=refresh content="0;url=http://{at}/60"><p>x',
    "<p>x<script>location = 'http://{at}/61'</script>",
    "<p>x<script>location.replace('http://{at}/62')</script>",
    "<frameset><frame src='http://{at}/63'></frameset>",
)
READING = (
    '<meta http-equiv=refresh content="0;url={file}"><p>x',
    "<p>x<script>location = '{file}'</script>",
    '<iframe src="{file}"></iframe><p>x',
    '<iframe src="view-source:{file}"></iframe><p>x',
    '<object data="{file}"></object><embed src="{file}"><p>x',
    '<base href="file:///"><iframe src="{path}"></iframe><p>x',
    '<link rel=stylesheet href="{file}"><img src="{file}"><p>x',
    "<form id=f action='{file}'></form><p>x<script>f.submit()</script>",
    """<pre id=a>x</pre>
    <script>fetch('{file}').then(r => r.text()).then(t => a.textContent = t)</script>""",
    """<pre id=a>x</pre><script>const q = new XMLHttpRequest(); q.open('GET', '{file}', false);
    q.send(); a.textContent = q.responseText</script>""",
    "<p>x<script>window.open('{file}')</script>",
    "<frameset><frame src='{file}'></frameset>",
)


@dataclass(slots=True)
class Listener:
    """A port of loopback that counts whoever comes by."""

    port: int = 0
    hits: list[str] = field(default_factory=list)

    def seen(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits.append("tcp")
        writer.close()


class Datagrams(asyncio.DatagramProtocol):
    """The same for UDP."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
        self.listener.hits.append("udp")


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener, loop = Listener(), asyncio.get_running_loop()
    server = await asyncio.start_server(listener.seen, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    second = None
    if socket.has_ipv6:
        second = await asyncio.start_server(listener.seen, "::1", listener.port)
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Datagrams(listener), ("127.0.0.1", listener.port)
    )
    try:
        yield listener
    finally:
        transport.close()
        for one in filter(None, (server, second)):
            one.close()
            await one.wait_closed()


def documents(port: int) -> list[str]:
    """All that try to reach the port."""
    places = [f"{place}:{port}" for place in PLACES]
    return [
        "<!doctype html>" + "".join(STATIC.format(at=at) for at in places),
        *(SCRIPTED.format(at=at) for at in places[:3]),
        *(text.format(at=places[0]) for text in LEAVING),
    ]


async def attack(listener: Listener, name: str, *ways: PrintOptions) -> int:
    """Prints every document in these ways; how many attempts there were."""
    attempts = 0
    async with running_engine(name=name) as engine:
        for html in documents(listener.port):
            for options in ways:
                try:
                    await show(engine, html, options=options)
                except RenderError as error:
                    pytest.fail(f"{html[:80]}: {error.code} {error}")
                attempts += 1
        await asyncio.sleep(LATE_S)
    return attempts


@pytest.mark.parametrize("name", BOTH)
async def test_no_document_reaches_a_port_of_this_machine(name: str) -> None:
    async with listening() as listener:
        assert await attack(listener, name, LOOSE, SCRIPTS) == 2 * len(documents(0))
        assert listener.hits == []


async def test_no_document_reaches_the_port_of_its_own_browser() -> None:
    async with running_engine(name="pyppeteer") as engine:
        await show(engine, "<p>x")
        browser = engine._supervisor.current
        assert browser is not None
        address = browser.link._connection.url  # type: ignore[attr-defined]
        place = address.removeprefix("ws://").partition("/")[0]
        async with asyncio.timeout(10):  # it can be reached, but not from there
            _, writer = await asyncio.open_connection(*place.split(":"))
        writer.close()
        html = f"""<p id=a>shut<script>
            const open = () => a.textContent = 'open', shut = () => window.tries++;
            window.tries = 0;
            const one = new WebSocket('{address}');
            one.onopen = open; one.onerror = shut;
            for (const way of ['cors', 'no-cors'])
              fetch('http://{place}/json/version', {{mode: way}}).then(open, shut);
            const two = new Image();
            two.onload = open; two.onerror = shut; two.src = 'http://{place}/json/protocol';
        </script>"""
        options = replace(SCRIPTS, wait_for="window.tries === 4 || a.textContent === 'open'")
        result = await show(engine, html, options=options)
        assert text_of(result.pdf).strip() == "shut"


async def test_the_listener_would_have_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "NO_NETWORK", ())
    monkeypatch.setattr(jail, "command_line", flags.command_line)
    uid = ladder(no_sandbox=False)[0].uid
    # The browser ends first: who is let in by a loop that ends is never closed.
    async with listening() as listener:
        browser = await start(
            find_chromium(SETTINGS), [Jail(namespace=False, sandbox=True, uid=uid)]
        )
        try:
            made = await browser.link.call("Target.createTarget", {"url": "about:blank"})
            target = made["targetId"]
            made = await browser.link.call(
                "Target.attachToTarget", {"targetId": target, "flatten": True}
            )
            # Nothing stops a navigation here, and one would end the page before its datagrams.
            html = SCRIPTED.replace("f.submit()", "0").replace("a.click()", "0")
            html = html.format(at=f"127.0.0.1:{listener.port}")
            await browser.link.call(
                "Page.setDocumentContent",
                {"frameId": target, "html": html},
                session=made["sessionId"],
            )
            await until(lambda: {"tcp", "udp"} <= set(listener.hits), what="both kinds of hits")
        finally:
            await browser.close()


@pytest.mark.parametrize("name", BOTH)
async def test_no_document_shows_a_file_of_this_machine(tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    shown = []
    async with running_engine(name=name) as engine:
        for text in READING:
            html = text.format(file=secret.as_uri(), path=str(secret).lstrip("/"))
            for options in (LOOSE, SCRIPTS):
                try:
                    result = await show(engine, html, options=options)
                except RenderError as error:
                    pytest.fail(f"{html}: {error.code} {error}")
                shown.append(text_of(result.pdf))
    assert len(shown) == 2 * len(READING)
    assert not [text for text in shown if "7391" in text]
