"""The safetensors header: eight bytes of length, JSON, then the tensors' bytes.

Read by our own code because tensors are fetched one by one, later by ranged GET, and because a header comes
from strangers: each way in which it can be wrong is a named error, and none can make us allocate memory
that isn't there.
"""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from darwinmerge.checkpoint.dtypes import DTYPES
from darwinmerge.errors import BadInput

MAX_HEADER = 100 * 10**6  # bytes; the limit of the safetensors library itself


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file."""

    name: str
    dtype: str  # the safetensors name, such as BF16
    shape: tuple[int, ...]
    start: int  # of its bytes in the file
    stop: int  # exclusive

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.stop - self.start


def header_length(first: bytes, file_size: int, where: str) -> int:
    """Length in bytes of the JSON header, from the file's first eight bytes.

    Raises:
        BadInput: the file is too short, or the length can't be.
    """
    if len(first) < 8:
        raise BadInput(f"{where}: not a safetensors file: {file_size} bytes are too few; download it again")
    length = int(struct.unpack("<Q", first[:8])[0])
    if length > MAX_HEADER or 8 + length > file_size:
        raise BadInput(
            f"{where}: not a whole safetensors file: its header claims {length} bytes, the file has {file_size}; "
            "download it again"
        )
    return length


def parse_header(raw: bytes, file_size: int, where: str) -> dict[str, TensorInfo]:
    """The tensors of a file from its JSON header (without the eight bytes), in order of their bytes.

    Raises:
        BadInput: the header isn't JSON, a dtype is unknown or packed, or extents are wrong, overlap, leave gaps,
            or point past the end of the file.
    """

    def bad(what: str) -> BadInput:
        return BadInput(f"{where}: bad safetensors header: {what}")

    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise bad(f"not JSON ({type(error).__name__})") from None
    if not isinstance(header, dict):
        raise bad("not a JSON object")
    base = 8 + len(raw)
    infos = [_tensor(name, entry, base, where, bad) for name, entry in header.items() if name != "__metadata__"]
    infos.sort(key=lambda info: (info.start, info.stop))
    expected = base
    for info in infos:
        if info.start != expected:
            raise bad(f"tensor {info.name}: its bytes overlap another's, or leave a gap")
        expected = info.stop
    if expected != file_size:
        raise BadInput(
            f"{where}: truncated or overlong: tensors end at byte {expected} of {file_size}; download it again"
        )
    return {info.name: info for info in infos}


def _tensor(name: str, entry: Any, base: int, where: str, bad: Any) -> TensorInfo:
    def whole(values: Any) -> bool:
        return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)

    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in name):
        raise bad(f"tensor {name!r}: its name is not Unicode text")
    match entry:
        case {"dtype": str(dtype), "shape": shape, "data_offsets": [start, stop]} if whole(shape) and whole(
            [start, stop]
        ):
            pass
        case _:
            raise bad(f"tensor {name}: not {{dtype, shape, data_offsets}}")
    if dtype not in DTYPES:
        raise BadInput(
            f"{where}: tensor {name} has dtype {dtype}, which is quantised or packed; give the unquantised model"
        )
    if stop - start != math.prod(shape) * DTYPES[dtype].size:
        raise bad(f"tensor {name}: {stop - start} bytes for shape {tuple(shape)} of {dtype}")
    return TensorInfo(name, dtype, tuple(shape), base + start, base + stop)


def build_header(infos: Sequence[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """The bytes before the tensors' bytes, for tensors (name, dtype, shape) that follow in this order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dtype, shape in infos:
        size = math.prod(shape) * DTYPES[dtype].size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format asks for tensors that start at a multiple of eight
    return struct.pack("<Q", len(text)) + text
