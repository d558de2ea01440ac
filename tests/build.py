"""The world of the unit tests: small model folders, MRI rows and manifests, made on the spot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import DTYPES, Bits, narrow
from darwinmerge.checkpoint.folder import INDEX, SINGLE, Elements, ModelFolder
from darwinmerge.checkpoint.header import TensorInfo, build_header
from darwinmerge.experiment.kinds import kind_of, layer_of
from darwinmerge.merge.recipe import Decision, Recipe
from darwinmerge.mri.figures import Figures
from darwinmerge.mri.table import Presence, TensorRow


class Tensor(NamedTuple):
    """A tensor as it lies in a file."""

    dtype: str
    shape: tuple[int, ...]
    bits: Bits  # flat


def tensor(values: Any, dtype: str = "BF16") -> Tensor:
    """`values` rounded to `dtype`."""
    array = np.asarray(values)
    if dtype == "BF16":
        flat: Bits = narrow(np.ascontiguousarray(array, dtype=np.float32).ravel(), "BF16")
    else:
        flat = array.astype(DTYPES[dtype].bits).ravel()
    return Tensor(dtype, array.shape, flat)


def elements(of: Tensor, block: int = 1 << 20) -> Elements:
    """The elements of a tensor as a model folder gives them, to be read in blocks of so many bytes."""
    return Elements(of.bits.view(np.uint8), TensorInfo("", of.dtype, of.bits.shape, 0, of.bits.nbytes), block)


def normal(seed: int, *shape: int, scale: float = 0.02) -> NDArray[np.float64]:
    """Weights as they are in a model: normal, narrow."""
    return np.random.default_rng(seed).normal(0.0, scale, shape)


def file_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file."""
    header = build_header([(name, t.dtype, t.shape) for name, t in tensors.items()])
    return header + b"".join(t.bits.tobytes() for t in tensors.values())


def write_model(path: Path, tensors: Mapping[str, Tensor], shards: int = 1, **config: Any) -> ModelFolder:
    """A model folder of `shards` files; one file is a `model.safetensors`, more have an index."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": "tiny", **config}))
    names = list(tensors)
    if shards == 1:
        (path / SINGLE).write_bytes(file_bytes(tensors))
    else:
        weight_map: dict[str, str] = {}
        for number in range(shards):
            file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            held = {name: tensors[name] for name in names[number::shards]}
            (path / file).write_bytes(file_bytes(held))
            weight_map |= dict.fromkeys(held, file)
        (path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return ModelFolder(path)


def row(name: str, ratio_b: float = 0.5, size: int = 1000, presence: Presence = "both", **more: Any) -> TensorRow:
    """A row of an MRI table with that prescription; its kind and layer are those of its name."""
    figures = Figures(norm=1.0, entropy=6.0, std=0.02)
    only = presence.removeprefix("only-in-") if presence.startswith("only-in-") else ""
    given = {
        "only": only,
        "kind": kind_of(name),
        "layer": layer_of(name),
        "dtype": "BF16",
        "father": figures,
        "mother": figures,
    }
    return TensorRow(name=name, ratio_b=ratio_b, shape=(size,), presence=presence, **{**given, **more})


def times_read(folder: ModelFolder, name: str) -> int:
    """How often a diagnosis reads a tensor: what isn't counted by its bits twice, unless it is of one value."""
    info = folder.info(name)
    if info.dtype == "F32" and len(np.unique(folder.bits(name))) > 1:
        return 2
    return 0 if info.dtype == "I64" else 1


def table(ratios: Sequence[float] = (0.497, 0.502, 0.5, 0.504), layers: int = 4) -> list[TensorRow]:
    """An MRI table with every kind of tensor; prescriptions go round."""
    names = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    for layer in range(layers):
        parts = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm")
        names += [f"model.layers.{layer}.{part}.weight" for part in parts]
    sizes = {"embedding": 8000, "norm": 64}
    return [row(name, ratios[i % len(ratios)], sizes.get(kind_of(name), 4000)) for i, name in enumerate(sorted(names))]


def outcomes(wins: int, losses: int, ties: int = 0) -> NDArray[np.float64]:
    """Differences of 0/1 scores: so many questions that only one model answers, that only the other does."""
    return np.array([1.0] * wins + [-1.0] * losses + [0.0] * ties)


def manifest(**changes: Any) -> dict[str, Any]:
    """A small valid manifest; `changes` replace or add members of its spec."""
    spec = {
        "parents": {"father": {"uri": "models/father"}, "mother": {"uri": "models/mother"}},
        "evaluation": {"tasks": [{"name": "arc_easy"}]},
        "store": {"uri": "runs/tiny"},
    }
    return {
        "apiVersion": "darwinmerge.io/v1alpha1",
        "kind": "DarwinMerge",
        "metadata": {"name": "tiny"},
        "spec": {**spec, **changes},
    }


def manifest_text(**changes: Any) -> str:
    """`manifest` as YAML."""
    return yaml.safe_dump(manifest(**changes), sort_keys=False)


def merged_tensor(decision: Decision, recipe: Recipe, father: ModelFolder, mother: ModelFolder) -> tuple[Bits, str]:
    """One tensor of a child, flat, and its dtype."""
    from darwinmerge.merge.arithmetic import merged_tensors  # numba: not for the tests of what only plans

    return next(merged_tensors([decision], recipe, father, mother))
