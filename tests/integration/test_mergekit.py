"""At density 1 our methods write what mergekit 0.1.5 writes for the same input, where the maths is the same.

mergekit is run as a program, in an environment of its own (`benchmarks/mergekit.txt`), and never imported or read: its
licence is LGPL. Random masks differ, and so does what is kept of a trim, so densities are 1. What differs in the maths
even then has a test of its own here, and a line in docs/method.md.
"""

import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from merge import mergekit
from numpy.typing import NDArray

from darwinmerge.checkpoint.dtypes import widen
from darwinmerge.checkpoint.folder import ModelFolder
from tests.build import Tensor, normal, tensor, write_model
from tests.integration.conftest import darwin

pytestmark = pytest.mark.slow
RATIO = 0.4
WIDTH, VOCABULARY, LAYERS = 64, 256, 2
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_hidden_layers": LAYERS,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": False,
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {  # ours, and mergekit's name and settings for it
    "Linear": ("linear", {}),
    "Slerp": ("slerp", {"t": RATIO}),
    "TaskArithmetic": ("task_arithmetic", {"normalize": False}),
    "Ties": ("ties", {"normalize": True, "density": 1.0}),
    "DareTies": ("dare_ties", {"normalize": True, "density": 1.0, "rescale": False}),
}
# Greatest difference, in steps of the dtype at the size of the greatest of the three tensors. In F32 the task vectors'
# methods are the same operations in the same order: not a bit differs. In BF16 mergekit rounds every step to BF16.
ALLOWED = {
    ("F32", "Linear"): 4,
    ("F32", "Slerp"): 8,
    ("F32", "TaskArithmetic"): 0,
    ("F32", "Ties"): 0,
    ("F32", "DareTies"): 0,
    ("BF16", "Linear"): 1,
    ("BF16", "Slerp"): 1,
    ("BF16", "TaskArithmetic"): 4,
    ("BF16", "Ties"): 4,
    ("BF16", "DareTies"): 4,
}
LERP = 2048  # steps of F32: mergekit's slerp is linear where the cosine is above 0.9995, as between norms; ours never
TORCH = {"F32": "float32", "BF16": "bfloat16"}
Values = NDArray[np.float64]


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of a llama."""
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, WIDTH),
        "lm_head.weight": (VOCABULARY, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        found |= {f"{name}.self_attn.{part}_proj.weight": (WIDTH, WIDTH) for part in "qkvo"}
        found |= {f"{name}.mlp.{part}_proj.weight": (2 * WIDTH, WIDTH) for part in ("gate", "up")}
        found[f"{name}.mlp.down_proj.weight"] = (WIDTH, 2 * WIDTH)
        found |= {f"{name}.{part}_layernorm.weight": (WIDTH,) for part in ("input", "post_attention")}
    return found


class Family(NamedTuple):
    """A base, and two fine-tunes of it that went far."""

    father: Path
    mother: Path
    base: Path


def family(path: Path, dtype: str) -> Family:
    def model(who: int) -> dict[str, Tensor]:
        made = {}
        for number, (name, shape) in enumerate(shapes().items()):
            step = 0.0 if who == 0 else normal(1000 * who + number, *shape, scale=0.02)
            made[name] = tensor((1.0 if "norm" in name else 0.0) + normal(number, *shape) + step, dtype)
        return made

    folders = [path / who for who in Family._fields]
    for folder, who in zip(folders, (1, 2, 0), strict=True):
        write_model(folder, model(who), **CONFIG, torch_dtype=TORCH[dtype])
    return Family(*folders)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mergekit-yaml`, version 0.1.5: the one of DARWIN_MERGEKIT, else of an environment that is made for it."""
    named = os.environ.get("DARWIN_MERGEKIT")
    if named:
        return Path(named)
    try:
        return mergekit(tmp_path_factory.mktemp("mergekit"))
    except subprocess.CalledProcessError as error:
        pytest.skip(
            f"mergekit 0.1.5 can't be installed here ({error}); set DARWIN_MERGEKIT to the mergekit-yaml of an "
            "environment with torch and benchmarks/mergekit.txt"
        )


@pytest.fixture(scope="session", params=["F32", "BF16"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Family]:
    dtype = str(request.param)
    return dtype, family(tmp_path_factory.mktemp(dtype), dtype)


def theirs(program: Path, out: Path, method: str, dtype: str, of: Family) -> ModelFolder:
    """mergekit's child."""
    name, parameters = METHODS[method]
    weights = zip((of.father, of.mother), (1 - RATIO, RATIO), strict=True)
    wanted: dict[str, Any] = {
        "merge_method": name,
        "models": [{"model": str(path), "parameters": {"weight": weight}} for path, weight in weights],
        "parameters": parameters,
        "dtype": TORCH[dtype],
    }
    if name != "linear":
        wanted["base_model"] = str(of.father if name == "slerp" else of.base)
    configuration = out.with_suffix(".yaml")
    configuration.write_text(yaml.safe_dump(wanted))
    call: list[str | Path] = [program, configuration, out, "--no-copy-tokenizer", "--quiet"]
    run = subprocess.run(call, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    return ModelFolder(out)


def ours(out: Path, method: str, of: Family) -> ModelFolder:
    """Our child, by hand; no diagnosis has a say."""
    based: list[str | Path] = [] if method in ("Linear", "Slerp") else ["--base", of.base]
    call = ("merge", "--father", of.father, "--mother", of.mother, *based, "--method", method)
    run = darwin(*call, "--set", "mri.weight=0", "--genome", f"ratio={RATIO}", "-o", out)
    assert run.returncode == 0, run.stderr
    return ModelFolder(out)


def values(folder: ModelFolder, name: str) -> Values:
    return widen(folder.bits(name), folder.info(name).dtype).astype(np.float64)


def steps(one: ModelFolder, other: ModelFolder, name: str, of: Family) -> Values:
    """Differences, in steps of the children's dtype at the size of the greatest of what they are made of."""
    size = np.max([np.abs(values(ModelFolder(folder), name)) for folder in of], axis=0)
    step = 2.0 ** np.floor(np.log2(size)) * 2.0 ** -{"F32": 23, "BF16": 7}[one.info(name).dtype]
    return np.asarray(np.abs(values(one, name) - values(other, name)) / step)


@pytest.mark.parametrize("method", METHODS)
def test_the_child_is_mergekits(program: Path, models: tuple[str, Family], tmp_path: Path, method: str) -> None:
    dtype, of = models
    one, other = ours(tmp_path / "ours", method, of), theirs(program, tmp_path / "theirs", method, dtype, of)
    found = {name: one.info(name) for name in one.tensors}
    assert {name: (info.dtype, info.shape) for name, info in found.items()} == {
        name: (other.info(name).dtype, other.info(name).shape) for name in other.tensors
    }
    assert len(found) == len(shapes())
    for name in found:
        off = steps(one, other, name, of)
        flat = method == "Slerp" and dtype == "F32" and "norm" in name
        wrong = off > (LERP if flat else ALLOWED[dtype, method])
        if dtype == "BF16" and method in ("Ties", "DareTies"):
            wrong &= ~nearly_drawn(name, of)
        assert not wrong.any(), f"{name}: {wrong.sum()} of {len(wrong)} elements, by up to {off.max()} steps"


def nearly_drawn(name: str, of: Family) -> NDArray[np.bool_]:
    """Where the election of a sign is so close that rounding to BF16 decides it: either outcome is right."""
    a, b, base = (values(ModelFolder(folder), name) for folder in of)
    p_a, p_b = (1 - RATIO) * (a - base), RATIO * (b - base)
    return np.asarray(np.abs(p_a + p_b) <= 2.0**-7 * (np.abs(p_a) + np.abs(p_b)))
