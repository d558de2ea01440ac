"""Whether a secret stands in what anybody may read: as it is, in base64, or packed."""

import base64
import contextlib
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping

JWT = re.compile(rb"eyJ[\w-]{20,}\.eyJ[\w-]{20,}\.")  # the token of a service account
DEPTH = 3  # a packed file in base64 in a packed file


def leaks(secrets: Iterable[str], places: Mapping[str, bytes | str]) -> list[str]:
    """The places that hold one of the secrets, or a token of a service account."""
    patterns = [re.compile(re.escape(form)) for secret in secrets for form in _forms(secret)] + [JWT]
    found = []
    for place, text in places.items():
        data = text.encode() if isinstance(text, str) else text
        if any(pattern.search(layer) for layer in _unfolded(data, DEPTH) for pattern in patterns):
            found.append(place)
    return found


def _forms(secret: str) -> Iterator[bytes]:
    """A secret as it is, and as it stands in base64, wherever in a longer text it begins."""
    raw = secret.encode()
    yield raw
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw)
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6  # digits that depend on nothing else
        yield text[first:last]
        yield text[first:last].translate(bytes.maketrans(b"+/", b"-_"))


def _unfolded(data: bytes, depth: int) -> Iterator[bytes]:
    """The data, and what is packed in it."""
    yield data
    if depth == 0:
        return
    inside: list[bytes] = []
    if data.startswith(b"\x1f\x8b"):
        with contextlib.suppress(OSError, EOFError, zlib.error):
            inside.append(gzip.decompress(data))
    if data.startswith(b"\x78"):
        with contextlib.suppress(zlib.error):
            inside.append(zlib.decompress(data))
    if data.startswith(b"PK"):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(data)) as packed:
            inside += [packed.read(name) for name in packed.namelist()]
    for text in re.findall(rb"[\"'](H4sI[\w+/]+=*|eJ[\w+/]+=*)[\"']", data):  # the ledger in its ConfigMap
        with contextlib.suppress(ValueError):
            inside.append(base64.b64decode(text))
    for one in inside:
        yield from _unfolded(one, depth - 1)
