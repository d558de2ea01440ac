"""Somebody who uses `kubectl darwin`, at a shell or at a terminal of its own; for tests."""

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darwinmerge.errors import ExitCode

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Person:
    """Somebody at a terminal, with a kubeconfig and S3 credentials, or without."""

    namespace: str
    s3: Mapping[str, str]

    def environment(self, **more: str) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {**plain, "PATH": PATH, **more}

    def asks(self, *words: str, s3: bool = True, **environment: str) -> Done:
        """`kubectl darwin ...`, in the run's namespace."""
        more = dict(self.s3) if s3 else {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        call = [shutil.which("kubectl") or "kubectl", "darwin", *words, "-n", self.namespace]
        return subprocess.run(
            call, check=False, capture_output=True, text=True, env=self.environment(**more, **environment), timeout=120
        )

    def told(self, *words: str, **more: Any) -> str:
        """What it prints, once it has succeeded."""
        done = self.asks(*words, **more)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def refused(self, *words: str, **more: Any) -> str:
        """The one error that it prints."""
        done = self.asks(*words, **more)
        assert done.returncode == ExitCode.BAD_CONFIGURATION, f"{words}: {done.stdout}{done.stderr}"
        return done.stderr


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, person: Person, *words: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        call = ["kubectl", "darwin", *words, "-n", person.namespace]
        environment = person.environment(TERM="xterm-256color")
        self._process = subprocess.Popen(call, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self._ours, self._read = ours, bytearray()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, 1 << 16)
            except OSError:  # nobody writes there any more
                return
            if not piece:
                return
            self._read += piece

    def all(self) -> str:
        """All that it wrote, once it has ended."""
        assert self._process.wait(60) == 0
        self._reader.join(10)
        return self._read.decode()
