"""A safetensors header is read as the library reads it, or refused with a name for what is wrong."""

import contextlib
import json
import struct
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st

from darwinmerge.checkpoint.dtypes import DTYPES
from darwinmerge.checkpoint.header import MAX_HEADER, TensorInfo, build_header, header_length, parse_header
from darwinmerge.errors import BadInput

NUMPY_DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1"}


def read(data: bytes) -> dict[str, TensorInfo]:
    length = header_length(data[:8], len(data), "model.safetensors")
    return parse_header(data[8 : 8 + length], len(data), "model.safetensors")


def file_with(header: Any, payload: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(payload)


def entry(start: Any, stop: Any, dtype: Any = "F32", shape: Any = (1,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_files_of_the_safetensors_library_are_read_equal() -> None:
    arrays = {f"t.{name}": np.arange(6).reshape(2, 3).astype(code) for name, code in NUMPY_DTYPES.items()}
    arrays |= {"t.BOOL": np.array([True, False]), "scalar": np.array(2.5, np.float32), "empty": np.empty((0, 4))}
    data = safetensors.numpy.save(arrays, {"format": "np"})
    infos = read(data)
    assert set(infos) == set(arrays)
    for name, array in arrays.items():
        info = infos[name]
        assert (info.shape, info.size) == (array.shape, array.size)
        assert data[info.start : info.stop] == array.tobytes()


def test_our_headers_are_read_by_the_safetensors_library() -> None:
    header = build_header([("b", "F32", (2, 2)), ("a", "I64", (3,)), ("none", "F16", (0,))])
    data = header + np.arange(4, dtype="<f4").tobytes() + np.arange(3, dtype="<i8").tobytes()
    found = safetensors.numpy.load(data)
    assert found["b"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert found["a"].tolist() == [0, 1, 2]
    assert found["none"].shape == (0,)


def test_the_safetensors_library_agrees_on_bf16() -> None:
    data = build_header([("w", "BF16", (2, 2))]) + np.array([1, 2, 3, 4], "<u2").tobytes()
    ((name, found),) = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    assert (name, found["dtype"], found["shape"]) == ("w", "BF16", [2, 2])
    assert bytes(found["data"]) == np.array([1, 2, 3, 4], "<u2").tobytes()


@pytest.mark.parametrize("names", [["w"], ["w", "model.layers.10.mlp.up_proj.weight"], ["a" * n for n in range(1, 9)]])
def test_our_headers_put_the_first_tensor_at_a_multiple_of_eight(names: list[str]) -> None:
    assert len(build_header([(name, "U8", (1,)) for name in names])) % 8 == 0


def test_built_headers_are_parsed_back() -> None:
    wanted = [(f"t{i}", dtype, (i, 2)) for i, dtype in enumerate(DTYPES)]
    payload = sum(2 * i * DTYPES[dtype].size for i, dtype in enumerate(DTYPES))
    found = read(build_header(wanted) + bytes(payload))
    assert [(info.name, info.dtype, info.shape) for info in found.values()] == wanted


@pytest.mark.parametrize(
    ("header", "payload", "message"),
    [
        (b"{not json", 0, "not JSON"),
        (b"\xff\xff", 0, "not JSON"),
        (b"[" * 100_000, 0, "not JSON"),
        ([1, 2], 0, "not a JSON object"),
        ({"w": 5}, 4, "tensor w: not {dtype, shape, data_offsets}"),
        ({"w": {"dtype": "F32", "shape": [1]}}, 4, "tensor w: not"),
        ({"w": entry(0, 4, dtype=7)}, 4, "tensor w: not"),
        ({"w": entry(0, 4, shape="1")}, 4, "tensor w: not"),
        ({"w": entry(0, 4, shape=[1.0])}, 4, "tensor w: not"),
        ({"w": entry(0, 4, shape=[-1])}, 4, "tensor w: not"),
        ({"w": entry(-4, 0)}, 4, "tensor w: not"),
        ({"w": entry(False, 4)}, 4, "tensor w: not"),
        ({"w": entry(0, True, "U8")}, 1, "tensor w: not"),
        ({"w": entry(0, 2**63)}, 4, "tensor w: not"),
        ({"w": entry(0, 4.0)}, 4, "tensor w: not"),
        (b'{"w": ' + b"9" * 5000 + b"}", 4, "not JSON"),
        ({"w": entry(8, 4)}, 8, r"tensor w: -4 bytes for shape \(1,\) of F32"),
        ({"w": entry(0, 8)}, 8, r"tensor w: 8 bytes for shape \(1,\) of F32"),
        ({"w": entry(0, 4, shape=[2**40, 2**40])}, 4, "tensor w: 4 bytes for shape"),
        ({"w": entry(0, 4, "F8_E4M3", [4])}, 4, "tensor w has dtype F8_E4M3, which is quantised or packed"),
        ({"w": entry(0, 4, "F8_E8M0", [4])}, 4, "tensor w has dtype F8_E8M0, .*; give the unquantised model"),
        ({"w": entry(0, 4, "F4", [8])}, 4, "tensor w has dtype F4, which is quantised or packed"),
        ({"v": entry(0, 4), "w": entry(0, 4)}, 4, "tensor w: its bytes overlap another's, or leave a gap"),
        ({"v": entry(0, 4), "w": entry(2, 6)}, 6, "tensor w: its bytes overlap"),
        ({"v": entry(0, 4), "w": entry(8, 12)}, 12, "tensor w: .* or leave a gap"),
        ({"w": entry(4, 8)}, 8, "tensor w: .* or leave a gap"),
        ({"w": entry(0, 4)}, 3, "truncated or overlong"),
        ({"w": entry(0, 4)}, 5, "truncated or overlong"),
        ({}, 1, "truncated or overlong"),
    ],
)
def test_each_way_in_which_a_header_can_be_wrong_is_named(header: Any, payload: int, message: str) -> None:
    with pytest.raises(BadInput, match=f"model.safetensors: .*{message}"):
        read(file_with(header, payload))


@pytest.mark.parametrize("data", [b"", b"1234567"])
def test_a_file_of_less_than_eight_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match=rf"not a safetensors file: {len(data)} bytes are too few"):
        read(data)


@pytest.mark.parametrize("length", [9, MAX_HEADER + 1, 2**64 - 1])
def test_a_header_longer_than_its_file_or_than_the_formats_limit_is_refused(length: int) -> None:
    with pytest.raises(BadInput, match=f"its header claims {length} bytes, the file has 16"):
        read(struct.pack("<Q", length) + b"{}      ")


def test_metadata_is_no_tensor() -> None:
    assert list(read(file_with({"__metadata__": {"format": "pt"}, "w": entry(0, 4)}, 4))) == ["w"]


def test_of_two_entries_with_one_name_the_last_counts_as_for_the_library() -> None:
    text = b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    assert read(file_with(text, 4))["w"].dtype == "F32"
    assert safetensors.numpy.load(file_with(text, 4))["w"].dtype == np.float32


def test_a_name_that_cannot_be_written_in_utf8_is_refused() -> None:
    with pytest.raises(BadInput):
        read(file_with(b'{"\\ud800":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', 4))


OFFSETS = st.integers(-2, 40) | st.booleans() | st.none() | st.floats() | st.just(2**70)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "U8", "I4", 3, None]),
        "shape": st.lists(st.integers(-1, 5) | st.just(2**62) | st.text(max_size=1), max_size=3) | st.none(),
        "data_offsets": st.lists(OFFSETS, min_size=1, max_size=3),
    }
)


def only_bad_input(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        infos = read(data)
        assert sum(info.nbytes for info in infos.values()) <= len(data)


@given(st.dictionaries(st.text(max_size=4), ENTRIES | st.none(), max_size=3), st.integers(0, 40))
def test_a_made_up_header_is_read_or_refused(header: dict[str, Any], payload: int) -> None:
    only_bad_input(file_with(header, payload))


@given(st.binary(max_size=200))
@example(b"")
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    only_bad_input(data)


@given(st.data())
def test_a_good_file_with_bytes_changed_or_lost_is_read_or_refused(data: st.DataObject) -> None:
    good = bytearray(build_header([("model.norm.weight", "BF16", (4,)), ("v", "F32", (2, 2))]) + bytes(24))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    only_bad_input(bytes(good[: data.draw(st.integers(0, len(good)))]))
