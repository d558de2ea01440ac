"""What a run leaves behind, checked against the real libraries that will use it."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from darwinmerge.evaluation.rows import RowSets
from darwinmerge.experiment.experiment import Experiment, experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.pipeline.known import Results
from darwinmerge.pipeline.plan import Plan, plan
from darwinmerge.pipeline.runner import Runner
from darwinmerge.report.summary import RunSummary
from tests.integration.conftest import SKILLS, World, darwin, make_world

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def summary(undisturbed: World) -> RunSummary:
    return RunSummary.model_validate_json((undisturbed.store / "summary.json").read_text())


@pytest.fixture(scope="session")
def child(summary: RunSummary) -> Path:
    assert summary.child
    return Path(summary.child.path)


def test_the_summary_says_how_all_four_models_did(summary: RunSummary) -> None:
    assert summary.outcome.kind == "Complete"
    assert [model.model for model in summary.models] == ["father", "mother", "linear", "child"]
    for model in summary.models:
        assert [(score.task, score.n) for score in model.search] == [("skill_a", 64), ("skill_b", 64)]
        assert [(score.task, score.n) for score in model.verdict] == [("skill_a", 150), ("skill_b", 150)]
        assert all(score.low <= score.value <= score.high for score in (*model.search, *model.verdict))
    assert {cost.stage for cost in summary.stages} >= {"resolve", "rows", "mri", "search", "score", "export", "health"}
    assert all(cost.peak_bytes > 0 for cost in summary.stages)


def test_the_parents_have_the_skills_that_were_measured_elsewhere(summary: RunSummary) -> None:
    father, mother = summary.models[:2]
    assert [score.value for score in father.verdict] == pytest.approx([0.998, 0.142], abs=0.05)
    assert [score.value for score in mother.verdict] == pytest.approx([0.682, 1.0], abs=0.08)


def test_every_tensor_of_both_parents_is_accounted_for(summary: RunSummary) -> None:
    assert summary.child
    assert summary.mri
    assert sum(summary.child.accounts.values()) == summary.mri.tensors == 56


def test_the_child_differs_from_both_parents_and_repeats_nothing_of_its_own(child: Path, material: Path) -> None:
    with safe_open(next(child.glob("*.safetensors")), "pt") as made:
        for parent in ("father", "mother"):
            with safe_open(material / "parents/tiny-qwen35" / parent / "model.safetensors", "pt") as given:
                assert set(made.keys()) == set(given.keys())
                name = "model.layers.0.mlp.up_proj.weight"
                assert made.get_tensor(name).dtype == given.get_tensor(name).dtype
                assert not made.get_tensor(name).equal(given.get_tensor(name))


def test_transformers_loads_the_child_and_generates(child: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(child)
    tokenizer: Any = AutoTokenizer.from_pretrained(child)
    asked = tokenizer("first 7 3 5 9 =", return_tensors="pt")
    assert model.generate(**asked, max_new_tokens=1).shape[1] == asked["input_ids"].shape[1] + 1


def test_the_resident_child_and_the_exported_child_give_the_same_log_likelihoods(
    undisturbed: World, child: Path, summary: RunSummary
) -> None:
    from darwinmerge.checkpoint.folder import ModelFolder
    from darwinmerge.evaluation.harness import Benchmark
    from darwinmerge.evaluation.resident import Resident
    from darwinmerge.experiment.load import load
    from darwinmerge.pipeline.tasks import terms_of

    spec = load(undisturbed.manifest).spec
    exported = Resident(ModelFolder(child), terms_of(spec), "cpu")
    benchmark = Benchmark(str(undisturbed.folder / "tasks"))
    sets = RowSets.model_validate_json(next((undisturbed.store / "rows").iterdir()).read_text())
    fresh = []
    for wanted, rows in zip(spec.evaluation.tasks, sets.tasks, strict=True):
        questions = benchmark.questions(wanted, sets, rows.verdict)
        fresh.append(json.loads(json.dumps(questions.ask(exported.lm, 0, spec.evaluation.chunk))))
    assert summary.child
    chunks = (undisturbed.store / "scores" / summary.child.recipe[:16]).rglob("0000.json")
    stored = [json.loads(path.read_text())["responses"] for path in chunks]
    assert all(responses in stored for responses in fresh)


def test_lm_eval_by_itself_gives_the_child_the_score_that_we_report(
    undisturbed: World, child: Path, summary: RunSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(undisturbed.folder / "tasks")  # its data files are relative
    sets = RowSets.model_validate_json(next((undisturbed.store / "rows").iterdir()).read_text())
    results = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(child), "dtype": "bfloat16"},
        tasks=list(SKILLS),
        batch_size=16,
        device="cpu",
        task_manager=TaskManager(include_path=str(undisturbed.folder / "tasks"), include_defaults=False),
        samples={rows.task: sorted(row.position for row in rows.verdict) for rows in sets.tasks},
        bootstrap_iters=0,
    )
    assert results
    ours = {score.task: score.value for score in summary.models[3].verdict}
    theirs = {task: results["results"][task]["acc,none"] for task in SKILLS}
    assert theirs == pytest.approx(ours, abs=0.011)  # other batches move a log-likelihood: a question or so may flip


def test_the_verdict_is_on_rows_that_the_search_never_saw(undisturbed: World) -> None:
    sets = RowSets.model_validate_json(next((undisturbed.store / "rows").iterdir()).read_text())
    for rows in sets.tasks:
        seen = {row.question for row in (*rows.search, *rows.fresh)}
        assert seen.isdisjoint(row.question for row in rows.verdict)


def test_any_number_of_workers_gives_the_same_bytes(undisturbed: World, tmp_path: Path, material: Path) -> None:
    many = make_world(tmp_path / "many", material)
    run = darwin("run", many.manifest, "--workers", "3")
    assert run.returncode == 0, run.stdout + run.stderr
    assert many.objects() == undisturbed.objects()


def test_a_finished_run_is_not_done_again(undisturbed: World) -> None:
    before = undisturbed.objects()
    run = darwin("run", undisturbed.manifest, "--json")
    assert run.returncode == 0, run.stderr
    assert RunSummary.model_validate_json(run.stdout).outcome.kind == "Complete"
    assert "results are in the store" in run.stderr
    assert undisturbed.objects() == before
    assert "Complete" in darwin("run", undisturbed.manifest, "--dry-run").stdout


def test_lines_tell_the_story_where_there_is_no_terminal(undisturbed: World) -> None:
    told = (undisturbed.folder / "stdout").read_text()
    for part in ("parents pinned", "model MRI", "generation 2/2, candidate 3/3", "verdict", "Child:", "against Mother"):
        assert part in told
    assert "\x1b" not in told


@pytest.mark.parametrize("command", ["import darwinmerge", "validate"])
def test_importing_and_validating_stay_light(command: str, undisturbed: World) -> None:
    heavy = ("torch", "transformers", "lm_eval", "boto3", "pyarrow", "cma", "datasets", "numba")
    code = "import darwinmerge, sys"
    if command == "validate":
        arguments = ["validate", "-f", str(undisturbed.manifest)]
        code = f"import sys; from darwinmerge.cli.main import cli; cli.main({arguments!r}, standalone_mode=False)"
    report = f"{code}\nprint('HEAVY', [name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert "HEAVY []" in run.stdout


class Counted:
    """A view that counts what it is told."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.told.update([name])


def test_the_plan_is_made_anew_by_results_and_not_by_progress(
    world: World, undisturbed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(undisturbed.store, world.store)
    for path in (world.store / "results").glob("score-*"):
        path.unlink()  # the answers are there: they are counted anew, chunk by chunk, and no question is asked
    view = Counted()

    def counted(experiment: Experiment, results: Results) -> Plan:
        view.told.update(["plan"])
        return plan(experiment, results)

    monkeypatch.setattr("darwinmerge.pipeline.runner.plan", counted)
    outcome = Runner(experiment_of(load(world.manifest), world.folder), 1, view).run()
    assert outcome.kind == "Complete"
    assert view.told["progress"] > view.told["finished"] > 10
    assert view.told["plan"] == view.told["finished"] + 1
