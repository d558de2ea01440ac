"""A model without weights that is given them part by part: three models are held against each other in one's memory.

A station is a part of the model that gets its weights at once and gives them back after: a block, one of the modules of
a `ModuleList`, or a module outside all blocks that has weights of its own (embedding, last norm, head). Between two
stations nothing of any model is in memory but activations. Embedding and head, which are as large as many blocks, are
read by rows. All of it is in float32 on the CPU, as the rest of the health check is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from darwinmerge.checkpoint.folder import Elements, ModelFolder
from darwinmerge.evaluation.resident import as_torch, name_map
from darwinmerge.experiment.kinds import layer_of

ROWS = 1 << 24  # elements of a head that are in memory at a time


class Station:
    """A part of the model and the names that its tensors have in the files."""

    def __init__(self, module: Any, names: Mapping[str, str], block: bool) -> None:
        """`names` maps the names that a torch module gives its tensors to those of the files."""
        self.module, self.names, self.block = module, names, block
        self.layer = layer_of(next(iter(names.values())))
        self._own = module.forward
        by_rows: dict[type, Callable[..., Any]] = {nn.Embedding: self._looked_up, nn.Linear: self._multiplied}
        kind: type = type(module) if set(names) == {"weight"} else nn.Module
        # (folder, *args, **kwargs): its output with the folder's weights
        self.run: Callable[..., Any] = by_rows.get(kind, self._filled)
        self._blank = {name: torch.zeros((), dtype=x.dtype).expand(x.shape) for name, x in module.state_dict().items()}
        self._clear()

    def _clear(self) -> None:
        self.module.load_state_dict(self._blank, assign=True)

    def _filled(self, folder: ModelFolder, *args: Any, **kwargs: Any) -> Any:
        read = zip(self.names.items(), folder.whole(self.names.values()), strict=True)
        weights = {
            own: as_torch(bits, folder.info(name).dtype)
            .view(folder.info(name).shape)
            .to(self._blank[own].dtype, copy=True)
            for (own, name), bits in read
        }
        self.module.load_state_dict(weights, assign=True)
        try:
            return self._own(*args, **kwargs)
        finally:
            self._clear()

    def _looked_up(self, folder: ModelFolder, ids: Tensor) -> Tensor:
        elements, width = self._matrix(folder)
        known, place = torch.unique(ids, return_inverse=True)
        rows = [_floats(elements, slice(i * width, (i + 1) * width)) for i in known.tolist()]
        return torch.stack(rows)[place]

    def _multiplied(self, folder: ModelFolder, x: Tensor) -> Tensor:
        elements, width = self._matrix(folder)
        step = max(ROWS // width, 1) * width
        parts = (slice(i, min(i + step, len(elements))) for i in range(0, len(elements), step))
        return torch.cat([x @ _floats(elements, part).view(-1, width).T for part in parts], -1)

    def _matrix(self, folder: ModelFolder) -> tuple[Elements, int]:
        name = self.names["weight"]
        return folder.elements(name), folder.info(name).shape[1]


class Stations:
    """A model of Father's architecture, and its stations."""

    def __init__(self, father: ModelFolder) -> None:
        """Build it, without weights.

        Raises:
            BadInput, ValueError, OSError, KeyError: transformers has no such model, or it isn't one of blocks.
        """
        from transformers import AutoConfig, AutoModelForCausalLM

        auto: Any = AutoModelForCausalLM
        config = AutoConfig.from_pretrained(father.path, trust_remote_code=False)
        with torch.device("meta"):
            self._model = auto.from_config(config, trust_remote_code=False, dtype=torch.float32).eval()
        self._model.tie_weights()
        _remake_buffers(self._model)
        names = _names(self._model, father)
        self.all = list(_stations(self._model, names))
        if not any(station.block for station in self.all):
            raise ValueError(f"transformers' {type(self._model).__name__} has no list of blocks")

    def run(self, ids: Sequence[Sequence[int]], through: Callable[..., Any]) -> Tensor:
        """Logits, (probe, token, vocabulary), float32: `through(station, *args, **kwargs)` does what a station does."""
        for station in self.all:
            station.module.forward = partial(through, station)
        logits: Tensor = self._model(input_ids=torch.tensor(ids), use_cache=False).logits
        return logits


def _floats(elements: Elements, part: slice) -> Tensor:
    return as_torch(elements[part], elements.dtype).to(torch.float32, copy=True)


def _names(model: nn.Module, father: ModelFolder) -> dict[str, str]:
    """From the model's tensor names to those of Father's file; tied ones share a name."""
    held = {name: model.get_parameter(name) for name, _ in model.named_parameters(remove_duplicate=False)}
    names = {own: name for name, own in name_map(father, model.state_dict()).items()}
    tied = {id(held[own]): name for own, name in names.items() if own in held}
    names |= {own: tied[id(weight)] for own, weight in held.items() if own not in names and id(weight) in tied}
    missing = sorted(model.state_dict().keys() - names.keys())
    if missing:
        raise ValueError(f"no tensor in the file for the model's {', '.join(missing[:5])}")
    return names


def _stations(model: nn.Module, names: Mapping[str, str], path: str = "", block: bool = False) -> Iterator[Station]:
    """Blocks, and whatever outside of them has tensors of its own, by place in the model."""
    for part, module in model.named_children():
        inside = f"{path}{part}."
        own = {name: names[inside + name] for name in module.state_dict()}
        if not own:
            continue
        if block or not any(child.state_dict() for child in module.children()):
            yield Station(module, own, block)
        else:
            yield from _stations(module, names, inside, isinstance(module, nn.ModuleList))


def _remake_buffers(model: Any) -> None:
    """Compute what no file holds, such as the frequencies of rotary embeddings: a model without weights lacks it too.

    transformers does so itself for every model that it loads.
    """
    made: list[Tensor] = []
    for module in model.modules():
        held = {name: buffer for name, buffer in module._buffers.items() if buffer is not None}
        lost = {name: held[name] for name in module._non_persistent_buffers_set & held.keys()}
        for name, buffer in lost.items():
            unset = torch.nan if buffer.is_floating_point() else -1
            module._buffers[name] = torch.full(buffer.shape, unset, dtype=buffer.dtype)
            made.append(module._buffers[name])
        if lost:
            model._init_weights(module)
    if any(bool((buffer.isnan() if buffer.is_floating_point() else buffer == -1).any()) for buffer in made):
        raise ValueError(f"transformers' {type(model).__name__} can't be built without its weights")
