"""`darwin mri`, `merge` and `health`: one diagnosis, one merge, one check, by hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from darwinmerge.checkpoint.header import header_length, parse_header
from tests.integration.conftest import World, darwin

GENOME = "ratio=0.5,attn=0.4,ffn=0.6,density_b=0.8"


@pytest.fixture(scope="module")
def pair(material: Path) -> tuple[Path, Path]:
    folder = material / "parents/tiny-qwen35"
    return folder / "father", folder / "mother"


@pytest.fixture(scope="module")
def child(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("by-hand") / "child"
    run = darwin("merge", "--father", pair[0], "--mother", pair[1], "--genome", GENOME, "--seed", "3", "-o", out)
    assert run.returncode == 0, run.stderr
    return out


def test_mri_tells_where_two_models_differ(pair: tuple[Path, Path]) -> None:
    run = darwin("mri", *pair)
    assert run.returncode == 0, run.stderr
    assert "56 tensors, 56 differ" in run.stdout
    assert "model.layers.1.linear_attn.dt_bias" in run.stdout


def test_mri_tells_every_tensor_with_all_figures_of_both_parents_as_json(pair: tuple[Path, Path]) -> None:
    run = darwin("mri", *pair, "--json")
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout)
    assert len(rows) == 56
    assert set(rows[0]) >= {"name", "kind", "layer", "shape", "dtype", "ratio_b", "father", "mother"}
    figures = {"norm", "entropy", "std", "mean", "min", "max", "zeros", "non_finite", "score"}
    assert set(rows[0]["father"]) == set(rows[0]["mother"]) == figures


def test_mri_of_one_model_needs_no_second(pair: tuple[Path, Path]) -> None:
    run = darwin("mri", pair[0], "--json")
    assert run.returncode == 0, run.stderr
    assert "mother" not in json.loads(run.stdout)[0]


def test_the_same_merge_gives_the_same_bytes_and_another_seed_others(
    pair: tuple[Path, Path], child: Path, tmp_path: Path
) -> None:
    def weights(seed: int) -> bytes:
        out = tmp_path / str(seed)
        call = ("merge", "--father", pair[0], "--mother", pair[1], "--genome", GENOME, "--seed", str(seed), "-o", out)
        assert darwin(*call).returncode == 0
        return next(out.glob("*.safetensors")).read_bytes()

    same = next(child.glob("*.safetensors")).read_bytes()
    assert weights(3) == same
    assert weights(4) != same


def test_a_merge_by_hand_is_the_run_s_child(undisturbed: World, pair: tuple[Path, Path], tmp_path: Path) -> None:
    exported = next((undisturbed.store / "children").iterdir())
    record = json.loads((exported / "darwin.json").read_text())
    genome = ",".join(f"{gene}={value}" for gene, value in record["genome"].items())
    genome = genome.replace("densityA", "density_a").replace("densityB", "density_b")
    out = tmp_path / "again"
    run = darwin("merge", "--father", pair[0], "--mother", pair[1], "--genome", genome, "--seed", "1", "-o", out)
    assert run.returncode == 0, run.stderr
    assert json.loads((out / "darwin.json").read_text())["files"] == record["files"]


def test_a_plan_writes_nothing_and_a_recipe_file_overrides(pair: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "overrides:\n- {kind: ffn, layers: 0-1, ratio: 0.2, density: 0.5}\n- {pattern: lm_head, ratio: 0}\n"
    )
    call = ("merge", "--father", pair[0], "--mother", pair[1], "--genome", GENOME, "--recipe", recipe)
    run = darwin(*call, "--plan", "--json")
    assert run.returncode == 0, run.stderr
    plan = {line["tensor"]: line for line in json.loads(run.stdout)}
    assert plan["model.layers.1.mlp.up_proj.weight"]["final_ratio"] == 0.2
    assert plan["model.layers.1.mlp.up_proj.weight"]["density"] == 0.5
    assert plan["model.layers.2.mlp.up_proj.weight"]["density"] == 0.8
    assert plan["lm_head.weight"]["decision"] == "transplanted-father"
    assert list(tmp_path.iterdir()) == [recipe]


def test_settings_of_the_manifest_are_settings_of_a_merge(pair: tuple[Path, Path], tmp_path: Path) -> None:
    def merged(name: str, *settings: str) -> dict[str, str]:
        sets = [part for setting in settings for part in ("--set", setting)]
        out = tmp_path / name
        run = darwin("merge", "--father", pair[0], "--mother", pair[1], "--genome", GENOME, "-o", out, *sets)
        assert run.returncode == 0, run.stderr
        files: dict[str, str] = json.loads((tmp_path / name / "darwin.json").read_text())["files"]
        return files

    plain = merged("plain")
    assert len(merged("sharded", "output.maxShardSize=500KB")) > 1
    for setting in ("merge.arithmetic=Source", "merge.rescale=Inverse", "mri.weight=0"):
        assert merged(setting, setting) != plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--genome", "ratoi=0.5", "--plan"], "no such gene; there are: ratio"),
        (["--genome", "ratio=1.5", "--plan"], "within 0..1"),
        (["--genome", "ratio=0.5", "--plan", "--set", "merge.onesided=Keep"], "did you mean 'oneSided'"),
        (["--genome", "ratio=0.5"], "give -o OUT to write the child, or --plan"),
        (["--genome", "ratio=0.5", "-o", "."], "it exists; choose a new folder"),
        (["--genome", "ratio=0.5", "-o", ".", "--set", "mri.bins=1"], "spec.mri.bins: found 1"),
        (["--genome", "ratio=0.5", "-o", ".", "--set", "mri.bins=["], "--set mri.bins=[: not YAML: line 1, column 2"),
        (["--genome", "ratio=0.5", "-o", ".", "--recipe", "none"], "error: --recipe none: No such file or directory\n"),
    ],
)
def test_mistakes_are_one_clear_message(pair: tuple[Path, Path], arguments: list[str], message: str) -> None:
    run = darwin("merge", "--father", pair[0], "--mother", pair[1], *arguments)
    assert run.returncode == 78
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def damaged(child: Path, folder: Path, change: Callable[[np.ndarray], np.ndarray], part: str) -> Path:
    """A copy of the child whose tensors with `part` in their names went through `change` (on float32 values)."""
    shutil.copytree(child, folder)
    path = next(folder.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    length = header_length(bytes(data[:8]), len(data), "child")
    for info in parse_header(bytes(data[8 : 8 + length]), len(data), "child").values():
        if part in info.name:
            bits = np.frombuffer(data[info.start : info.stop], np.uint16)
            values = change((bits.astype(np.uint32) << 16).view(np.float32).copy())
            data[info.start : info.stop] = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    path.write_bytes(data)
    return folder


def first_is_nan(values: np.ndarray) -> np.ndarray:
    values[0] = np.nan
    return values


@pytest.mark.parametrize(
    ("change", "flag"),
    [(np.zeros_like, "FunctionLoss"), (lambda x: x * 10, "Displaced"), (first_is_nan, "Fail")],
    ids=["zeroed", "scaled by ten", "a NaN"],
)
def test_health_names_the_broken_layer(
    pair: tuple[Path, Path], child: Path, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], flag: str
) -> None:
    broken = damaged(child, tmp_path / "broken", change, ".layers.2.")
    run = darwin("health", broken, *pair, "--json")
    assert run.returncode == (1 if flag == "Fail" else 0), run.stderr
    assert {layer["layer"]: layer["flag"] for layer in json.loads(run.stdout)["layers"] if layer["flag"]} == {"2": flag}


def test_an_ordinary_merge_is_healthy(pair: tuple[Path, Path], child: Path) -> None:
    run = darwin("health", child, *pair)
    assert run.returncode == 0
    assert "Health: Pass" in run.stdout


def test_the_child_holds_what_the_formula_says(pair: tuple[Path, Path], child: Path) -> None:
    record = json.loads((child / "darwin.json").read_text())
    name = "model.layers.1.mlp.up_proj.weight"
    ratio = next(d["ratio"] for d in record["recipe"]["decisions"] if d["name"] == name)
    tensors = []
    for path in (pair[0] / "model.safetensors", pair[1] / "model.safetensors", next(child.glob("*.safetensors"))):
        with safe_open(path, "pt") as file:
            tensors.append(file.get_tensor(name).double())
    a, b, c = tensors
    kept = (c - a).abs() > 0
    share = kept[(b - a).abs() * ratio > a.abs() / 64].double().mean()
    assert share == pytest.approx(0.8, abs=0.03)
    step = 2.0**-8 * (a.abs() + (b - a).abs())
    assert ((c - (a + (b - a) * ratio)).abs() <= step)[kept].all()
