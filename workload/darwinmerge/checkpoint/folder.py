"""A model folder: its tensors by name, its side files, and its pin, wherever its files lie.

The pin is the SHA-256 of what determines the model (weights, config, tokenizer), whatever the folder is called;
a run records it once and every later reader checks it, so a parent that changes in mid-run is noticed.
"""

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from darwinmerge.canonical import digest
from darwinmerge.checkpoint.digests import Digests
from darwinmerge.checkpoint.dtypes import DTYPES, Bits
from darwinmerge.checkpoint.files import Bytes, Files, LocalFiles
from darwinmerge.checkpoint.header import TensorInfo, header_length, parse_header
from darwinmerge.errors import BadInput
from darwinmerge.parallel import cut, in_groups, in_order

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SIDE_FILES = (  # what goes with the weights; other files of a folder (cards, logs, code) are not the model's
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",  # of SentencePiece
    "*.jinja",
    "chat_template.json",
    "*processor_config.json",
)


@dataclass(frozen=True)
class Located:
    """A tensor and the file that holds it."""

    info: TensorInfo
    file: str  # its name
    changes: tuple["Change", ...] = ()  # what is done to its bytes as they are read, in this order


class Change(Protocol):
    """What an adapter does to a tensor."""

    def of(self, raw: Bytes, info: TensorInfo, files: Files) -> Bytes:
        """The changed bytes of the tensor that `info` describes; `files` hold what changes them."""


class Elements:
    """A tensor's elements in C order, flat, BF16 as uint16 bits; a slice of it reads these, read-only.

    So that a large tensor can be read in blocks, by many threads, each block where it is needed.
    """

    def __init__(self, raw: Bytes, info: TensorInfo, block: int) -> None:
        """The elements in `raw`, the bytes of the tensor that `info` describes, to be read `block` bytes at a time."""
        self._raw, self._length, self._dtype = raw, info.size, DTYPES[info.dtype]
        self.dtype, self.step = info.dtype, block // self._dtype.size  # how many elements to read at a time

    def __len__(self) -> int:
        """How many there are."""
        return self._length

    def __getitem__(self, part: slice) -> Bits:
        """The elements of a slice without steps; see `Bytes`."""
        start, stop, _ = part.indices(self._length)
        return self._raw[start * self._dtype.size : stop * self._dtype.size].view(self._dtype.bits)


class ModelFolder:
    """A safetensors model folder, single or sharded; tensors are read as they are needed, never all at once."""

    on = ""  # of an adapter: the URI of the model that it is on

    def __init__(self, files: Files | Path, digests: Digests | None = None) -> None:
        """Read the headers of the weight files in `files`; a path is that of a folder of this machine.

        Args:
            digests: where digests of files are remembered; None: nowhere, they are computed.

        Raises:
            BadInput: there is no such folder, it holds no safetensors, or its files are not whole.
        """
        self.files = LocalFiles(files) if isinstance(files, Path) else files
        self._digests = digests or Digests(None)
        promised = self._index()
        located: dict[str, Located] = {}
        self._weights = self._weight_files(set(promised.values()))
        headers = in_order((partial(header_of, self.files, file) for file in self._weights), self.files.threads)
        for file, header in zip(self._weights, headers, strict=True):
            for info in header.values():
                if info.name in located:
                    raise BadInput(f"{self}/{file}: tensor {info.name} is also in {located[info.name].file}")
                located[info.name] = Located(info, file)
        for name, holder in promised.items():
            if name not in located or located[name].file != holder:
                raise BadInput(f"{self}/{INDEX}: tensor {name} is not in {holder}; download both again")
        self.tensors: Mapping[str, Located] = dict(sorted(located.items()))
        if not self.tensors:
            raise BadInput(f"{self}: no tensors in it")

    def __str__(self) -> str:
        """Where it lies, for messages."""
        return str(self.files)

    def view(self, names: Mapping[str, str]) -> "ModelFolder":
        """The same folder, files and pin, with other names: `names` maps each name it shall have to one it has.

        Tensors that `names` leaves out are not in the view.
        """
        view = copy.copy(self)
        view.tensors = {
            name: replace(self.tensors[own], info=replace(self.info(own), name=name))
            for name, own in sorted(names.items())
        }
        return view

    def info(self, name: str) -> TensorInfo:
        """Dtype, shape and extent of a tensor."""
        return self.tensors[name].info

    def elements(self, name: str) -> Elements:
        """The elements of a tensor, to be read in slices."""
        located = self.tensors[name]
        raw: Bytes = self.files.stretch(located.file, located.info.start, located.info.stop)
        for change in located.changes:
            raw = change.of(raw, located.info, self.files)
        return Elements(raw, located.info, self.files.block)

    def bits(self, name: str) -> Bits:
        """All elements of a tensor, copied."""
        return next(self.whole([name]))

    def whole(self, names: Iterable[str]) -> Iterator[Bits]:
        """All elements of one tensor after the other, copied; the next ones are read meanwhile."""

        def reads(name: str) -> list[Callable[[], Bits]]:
            elements = self.elements(name)
            return [partial(elements.__getitem__, part) for part in blocks(elements)]

        yield from map(np.concatenate, in_groups(map(reads, names), self.files.threads))

    def read(self, name: str) -> bytes:
        """All bytes of a small file of the folder.

        Raises:
            BadInput: there is no such file.
        """
        if name not in self.files.sizes:
            raise BadInput(f"{self}/{name}: no such file; a model folder has it")
        return _bytes(self.files, name, 0, self.files.sizes[name])

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json`.

        Raises:
            BadInput: it is missing or isn't JSON.
        """
        try:
            config = json.loads(self.read("config.json"))
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{self}/config.json: {error}; a model folder has it") from None
        if not isinstance(config, dict):
            raise BadInput(f"{self}/config.json: not a JSON object")
        return config

    def side_files(self) -> list[str]:
        """Names of config, tokenizer, chat template and generation config: what a child copies from Father."""
        return [name for name in self.files.sizes if any(fnmatchcase(name, pattern) for pattern in SIDE_FILES)]

    @cached_property
    def path(self) -> Path:
        """A folder of this machine with the side files in it, for libraries that know only paths."""
        return self.files.local(self.side_files())

    @cached_property
    def pin(self) -> str:
        """SHA-256, in hex, over the folder's weight and side files; reads every byte that isn't remembered once."""
        return digest(self.file_digests)

    @cached_property
    def file_digests(self) -> dict[str, str]:
        """SHA-256, in hex, of each file that determines the model."""
        names = {*self._weights, *self.side_files(), *({INDEX} & self.files.sizes.keys())}
        return {name: self._digests.of(self.files, name) for name in sorted(names)}

    def _index(self) -> dict[str, str]:
        """Which file the index says holds each tensor; empty where there is no index."""
        if INDEX not in self.files.sizes:
            return {}
        index = f"{self}/{INDEX}"
        try:
            promised = json.loads(self.read(INDEX))["weight_map"]
            names = sorted(set(promised.values()))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(f"{index}: not a weight index: {error}") from None
        for name in names:
            if not isinstance(name, str) or name != Path(name).name or not name.endswith(".safetensors"):
                raise BadInput(f"{index}: names a file outside its folder, or not safetensors: {name!r}")
            if name not in self.files.sizes:
                raise BadInput(f"{self}/{name}: missing, though {INDEX} names it; download it again")
        return dict(promised)

    def _weight_files(self, promised: set[str]) -> list[str]:
        if promised:
            return sorted(promised)
        names = self.files.sizes
        if SINGLE in names:
            return [SINGLE]
        if "adapter_config.json" in names:
            raise BadInput(f"{self}: a LoRA adapter, no whole model; give the whole model that it is on")
        if any(name.endswith(".gguf") for name in names):
            raise BadInput(f"{self}: its weights are GGUF, which is quantised; give the safetensors model")
        if any(fnmatchcase(name, pattern) for name in names for pattern in ("*.bin", "*.pt*")):
            raise BadInput(f"{self}: its weights are pickles, which can run code; convert them to safetensors")
        raise BadInput(f"{self}: neither {SINGLE} nor {INDEX} in it; a model folder has one of them")


def header_of(files: Files, file: str) -> dict[str, TensorInfo]:
    """The tensors of a weight file.

    Raises:
        BadInput: see `parse_header`.
    """
    size, where = files.sizes[file], f"{files}/{file}"
    length = header_length(_bytes(files, file, 0, min(8, size)), size, where)
    return parse_header(_bytes(files, file, 8, 8 + length), size, where)


def _bytes(files: Files, name: str, start: int, stop: int) -> bytes:
    return files.stretch(name, start, stop)[:].tobytes()


def blocks(*elements: Elements, within: slice | None = None) -> list[slice]:
    """The slices in which tensors of one size, or a part of them, are to be read beside each other; at least one."""
    return cut(within or slice(0, len(elements[0])), min(each.step for each in elements))


def threads(*folders: ModelFolder) -> int:
    """How many reads at a time pay where folders are read beside each other."""
    return max(folder.files.threads for folder in folders)
