"""The command line teaches: help with examples, manifests that validate, one line for an error."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from darwinmerge.cli.estimate import estimate
from darwinmerge.cli.init import init
from darwinmerge.cli.main import COMMANDS, cli
from darwinmerge.cli.resume import with_steps
from darwinmerge.errors import BadConfiguration
from darwinmerge.experiment.experiment import Experiment, experiment_of, planned_questions
from darwinmerge.experiment.load import load, parse
from darwinmerge.experiment.manifest import Manifest, Parent, Spec
from darwinmerge.pipeline.claim import claim, noted
from darwinmerge.store import open_store
from darwinmerge.store.find import stores_below
from darwinmerge_operator.resource import DarwinMerge
from tests.build import manifest_text
from tests.unit.plan_world import experiment

NAMES = [name for names in COMMANDS.values() for name in names]
WHERE = ("--father", "models/a", "--mother", "models/b")
TASK = ("--task", "arc_challenge:acc_norm")


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_examples_and_a_traceback_if_asked(name: str) -> None:
    told = CliRunner().invoke(cli, [name, "--help"]).output
    assert "Examples:" in told
    assert f"darwin {name}" in told
    assert "--debug" in told


@pytest.mark.parametrize("name", sorted({*NAMES} - {"init", "work", "recall"}))
def test_every_command_that_prints_can_print_json(name: str) -> None:
    assert "--json" in {option for parameter in command(name).params for option in parameter.opts}


def test_the_help_lists_every_command() -> None:
    told = CliRunner().invoke(cli, ["--help"]).output
    for title, names in COMMANDS.items():
        assert title in told
        assert all(f"\n  {name} " in told for name in names)


@pytest.mark.parametrize("arguments", [("--debug", "show", "none"), ("show", "none", "--debug")])
def test_an_error_is_one_line_and_has_its_traceback_wherever_debug_stands(arguments: tuple[str, ...]) -> None:
    plain = [argument for argument in arguments if argument != "--debug"]
    run = "from darwinmerge.cli.main import main; main()"
    told = [
        subprocess.run([sys.executable, "-c", run, *given], capture_output=True, text=True, check=False)
        for given in (plain, arguments)
    ]
    assert told[0].stderr == "error: none: neither a manifest (.yaml) nor the store of a run\n"
    assert told[1].stderr.startswith("Traceback")
    assert told[1].stderr.endswith(told[0].stderr)
    assert {one.returncode for one in told} == {78}


# init


def written(folder: Path, *arguments: str) -> Manifest:
    path = folder / "merge.yaml"
    told = CliRunner().invoke(init, [str(path), *arguments], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    return load(path)


def test_what_is_given_is_what_is_written(tmp_path: Path) -> None:
    places = ("--father", "/models/a", "--mother", "s3://models/b", "--store", "/runs/x", "--output", "/child")
    how_far = ("--steps", "3", "--candidates", "5", "--search-rows", "20", "--verdict-rows", "90", "--seed", "7")
    found = written(tmp_path, *places, *how_far, *TASK, "--task", "boolq", "--name", "mine")
    spec = found.spec
    assert (found.metadata.name, spec.seed) == ("mine", 7)
    assert (spec.parents.father.uri, spec.parents.mother.uri) == ("/models/a", "s3://models/b")
    assert (spec.store.uri, spec.output.uri) == ("/runs/x", "/child")
    assert (spec.evolution.steps, spec.evolution.candidates) == (3, 5)
    assert [(task.name, task.metric) for task in spec.evaluation.tasks] == [
        ("arc_challenge", "acc_norm,none"),
        ("boolq", "acc,none"),
    ]
    assert {(task.search.rows, task.verdict.rows) for task in spec.evaluation.tasks} == {(20, 90)}


def test_what_is_not_given_has_the_manifest_s_defaults(tmp_path: Path) -> None:
    spec = written(tmp_path, *WHERE, *TASK).spec
    plain = Spec.model_validate(
        {
            "parents": {"father": {"uri": spec.parents.father.uri}, "mother": {"uri": spec.parents.mother.uri}},
            "evaluation": {"tasks": [{"name": "arc_challenge", "metric": "acc_norm,none"}]},
            "store": {"uri": spec.store.uri},
        }
    )
    assert spec == plain


def test_comments_are_what_the_types_say_and_nothing_is_said_twice(tmp_path: Path) -> None:
    written(tmp_path, *WHERE, *TASK, "--task", "boolq")
    lines = (tmp_path / "merge.yaml").read_text().splitlines()
    comments = [line.strip().removeprefix("# ") for line in lines if line.strip().startswith("#")]
    assert " ".join(str(Parent.model_fields["uri"].description).split()) in " ".join(comments)
    assert "Also here, each with a default: weight, numFewshot, genKwargs, groupBy, search, verdict." in comments
    placed = [line for line in lines if line.strip().startswith("#")]  # `base` is a field of `parents` and of each
    assert len(placed) == len(set(placed))


def test_paths_are_seen_from_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("experiments").mkdir()
    told = CliRunner().invoke(init, ["experiments/mine.yaml", *WHERE, *TASK, "--task-folder", "tasks"])
    assert told.stdout == "experiments/mine.yaml: written; next: darwin validate -f experiments/mine.yaml\n"
    where = experiment_of(load(Path("experiments/mine.yaml")), tmp_path / "experiments").where
    assert (where.father, where.store) == (str(tmp_path / "models/a"), str(tmp_path / "runs/mine"))
    assert where.task_folder == str(tmp_path / "tasks")


def test_a_manifest_names_the_commands_that_take_it(tmp_path: Path) -> None:
    written(tmp_path, *WHERE, *TASK)
    assert "`darwin validate merge.yaml`, `darwin run merge.yaml`" in (tmp_path / "merge.yaml").read_text()


def test_a_parent_that_is_not_there_is_warned_of_and_one_that_is_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/b").mkdir(parents=True)
    told = CliRunner().invoke(init, ["new.yaml", *WHERE, *TASK])
    assert told.stderr == "warning: father models/a: no such model folder (yet)\n"
    assert told.exit_code == 0


@pytest.mark.parametrize(
    ("output", "field"), [("models/a", "parents.father"), ("models", "parents.father"), ("runs/merge/x", "store")]
)
def test_what_run_would_refuse_is_not_written_and_not_valid(tmp_path: Path, output: str, field: str) -> None:
    places = {"father": tmp_path / "models/a", "mother": tmp_path / "models/b", "store": tmp_path / "runs/merge"}
    given = [f"--{name}={place}" for name, place in places.items()]
    overlaps = rf"spec\.output\.uri: {tmp_path / output} overlaps spec\.{field}\.uri"
    with pytest.raises(BadConfiguration, match=overlaps):
        written(tmp_path, *given, *TASK, f"--output={tmp_path / output}")
    assert not (tmp_path / "merge.yaml").exists()
    written(tmp_path, *given, *TASK)
    text = (tmp_path / "merge.yaml").read_text()
    (tmp_path / "merge.yaml").write_text(f"{text}\n  output: {{uri: {output}}}\n")
    with pytest.raises(BadConfiguration, match=overlaps):
        CliRunner().invoke(cli, ["validate", str(tmp_path / "merge.yaml")], catch_exceptions=False)


def test_a_parents_own_repository_is_no_place_for_its_child(tmp_path: Path) -> None:
    places = ("--father", "hf://org/a@v1", "--mother", "hf://org/b", "--store", str(tmp_path / "s"))
    written(tmp_path, *places, *TASK)
    text = (tmp_path / "merge.yaml").read_text()
    (tmp_path / "merge.yaml").write_text(f"{text}\n  output: {{hub: {{repo: org/a}}}}\n")
    with pytest.raises(BadConfiguration, match=r"spec\.output\.hub: org/a is spec\.parents\.father\.uri's"):
        CliRunner().invoke(cli, ["validate", str(tmp_path / "merge.yaml")], catch_exceptions=False)


def test_a_claim_that_is_mounted_nowhere_is_no_reason_not_to_validate() -> None:
    places = ("--father", "pvc://models/a", "--mother", "hf://org/b", "--output", "pvc://models/c")
    assert CliRunner().invoke(init, ["-", *places, *TASK]).exit_code == 0
    with pytest.raises(BadConfiguration, match="pvc://models/a/c overlaps"):
        CliRunner().invoke(init, ["-", *places[:-1], "pvc://models/a/c", *TASK], catch_exceptions=False)
    with pytest.raises(BadConfiguration, match="pvc://models/%61/c overlaps"):
        CliRunner().invoke(init, ["-", *places[:-1], "pvc://models/%61/c", *TASK], catch_exceptions=False)


def test_a_file_is_overwritten_only_if_told(tmp_path: Path) -> None:
    written(tmp_path, *WHERE, *TASK)
    with pytest.raises(BadConfiguration, match="it exists; choose another FILE, or overwrite it with --force"):
        written(tmp_path, *WHERE, *TASK)
    assert written(tmp_path, *WHERE, *TASK, "--force", "--seed", "3").spec.seed == 3


def test_stdout_gets_nothing_but_the_manifest() -> None:
    told = CliRunner().invoke(init, ["-", *WHERE, *TASK])
    assert parse(told.stdout).metadata.name == "merge"


def test_a_mistake_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"what is given: 2 mistakes\n.*spec\.evolution.*\n.*spec\.seed"):
        written(tmp_path, *WHERE, *TASK, "--seed", "-1", "--candidates", "1")
    assert not (tmp_path / "merge.yaml").exists()


def test_a_budget_buys_as_many_generations_as_it_can(tmp_path: Path) -> None:
    rows = ("--search-rows", "100", "--verdict-rows", "400", "--candidates", "6")
    spec = written(tmp_path, *WHERE, *TASK, *rows, "--budget", "9000").spec
    steps = spec.evolution.steps
    questions = [planned_questions(spec.evaluation, 6 * n) for n in (steps, steps + 1)]
    assert questions[0] is not None and questions[1] is not None
    assert questions[0] <= 9000 < questions[1]
    with pytest.raises(BadConfiguration, match=r"--budget 100: a run of one generation asks 2,800 questions"):
        written(tmp_path, *WHERE, *TASK, *rows, "--budget", "100", "--force")
    with pytest.raises(BadConfiguration, match="known from --search-rows and --verdict-rows"):
        written(tmp_path, *WHERE, *TASK, "--budget", "9000", "--force")


def test_a_manifest_for_a_cluster_is_what_an_api_server_takes(tmp_path: Path) -> None:
    s3 = ("--father", "s3://models/a", "--mother", "s3://models/b", "--store", "s3://runs/x", *TASK)
    written(tmp_path, "--cluster", *s3)
    found = load(tmp_path / "merge.yaml", DarwinMerge)
    assert isinstance(found, DarwinMerge)
    assert found.spec.cluster.store.credentials_secret
    with pytest.raises(BadConfiguration, match=r"spec\.store\.uri: in a cluster the store is s3://"):
        written(tmp_path, "--cluster", "--force", *s3[:4], *TASK)


# validate


def estimated(**evaluation: Any) -> Any:
    return estimate(experiment_of(parse(manifest_text(evaluation=evaluation)), Path("/")))


def task(**settings: Any) -> dict[str, Any]:
    return {"name": "arc_easy", **settings}


def test_a_verdict_too_small_for_the_difference_that_matters_is_warned_of() -> None:
    small = estimated(tasks=[task(verdict={"rows": 300})], minDifference=0.05)
    (warning,) = small.warnings
    assert warning == (
        "the verdict is too small for a difference of 0.05 (spec.evaluation.minDifference): it takes "
        "785 verdict rows to see one with 80 % power, 1,051 with 90 %; there are 300"
    )
    assert small.needed_rows == (785, 1051)
    assert estimated(tasks=[task(verdict={"rows": 785})], minDifference=0.05).warnings == ()
    assert estimated(tasks=[task(verdict={"rows": 300})], minDifference=0.1).warnings == ()


def test_nothing_is_said_of_a_verdict_whose_rows_are_not_known() -> None:
    found = estimated(tasks=[task()])
    assert (found.detectable, found.needed_rows, found.warnings) == (None, None, ())


def test_a_search_on_a_test_split_is_warned_of() -> None:
    (warning,) = estimated(tasks=[task(search={"splits": ["test"]}, verdict={"split": "validation"})]).warnings
    assert "uses rows of a test split; scores are not comparable with published ones" in warning


@pytest.mark.parametrize(("splits", "split"), [(["validation"], "validation"), (["train", "validation"], "validation")])
def test_a_verdict_on_a_split_of_the_search_is_warned_of(splits: list[str], split: str) -> None:
    (warning,) = estimated(tasks=[task(search={"splits": splits}, verdict={"split": split})]).warnings
    assert "the verdict's rows come from a split of the search, validation" in warning


def test_the_default_split_of_the_verdict_may_be_that_of_the_search() -> None:
    _, warning = estimated(tasks=[task(search={"splits": ["test"]})]).warnings
    assert "the verdict's rows come from a split of the search, test" in warning


def test_other_splits_are_not_warned_of() -> None:
    assert estimated(tasks=[task(search={"splits": ["train"]}, verdict={"split": "test"})]).warnings == ()


# a device


@pytest.mark.parametrize("device", ["nonsense", "cuda:x", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_a_run_begins(tmp_path: Path, device: str) -> None:
    written(tmp_path, *WHERE, *TASK, "--store", str(tmp_path / "run"))
    told = CliRunner().invoke(cli, ["run", str(tmp_path / "merge.yaml"), "--device", device])
    assert isinstance(told.exception, BadConfiguration)
    assert str(told.exception).startswith(f"--device {device}: ")
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_not_remembered(tmp_path: Path) -> None:
    claimed(tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    told = CliRunner().invoke(cli, ["resume", str(tmp_path / "run"), "--device", "cuda:99"])
    assert "--device cuda:99: it takes 100 cuda" in str(told.exception)
    assert (tmp_path / "run" / "run.json").read_bytes() == before


# resume


def test_generations_only_become_more() -> None:
    x = experiment(steps=3)
    assert with_steps(x, 5).spec.evolution.steps == 5
    assert with_steps(x, 3) == x
    with pytest.raises(BadConfiguration, match="--steps 2: spine has 3 generations; they can only become more"):
        with_steps(x, 2)


def test_generations_stay_within_what_a_manifest_allows() -> None:
    with pytest.raises(BadConfiguration, match=r"--steps 1001: .*less than or equal to 1000"):
        with_steps(experiment(), 1001)
    with pytest.raises(BadConfiguration, match="--steps 13: Elites takes at most 48 children"):
        with_steps(experiment(algorithm="Elites", candidates=4), 13)


# ls


def claimed(folder: Path, name: str = "spine") -> Experiment:
    x = experiment()
    x = x.model_copy(update={"name": name, "where": x.where.model_copy(update={"store": str(folder)})})
    claim(x, open_store(str(folder)))
    return x


def test_stores_are_found_at_and_below_a_folder_but_not_in_each_other_or_hidden(tmp_path: Path) -> None:
    for place in ("runs/b", "runs/a", "runs/a/children/x", ".hidden/c"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "experiment.json").touch()
    found = [str(tmp_path / place) for place in ("runs/a", "runs/b")]
    assert list(stores_below(str(tmp_path))) == found
    assert list(stores_below(found[0])) == found[:1]


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="none: no such folder"):
        list(stores_below(str(tmp_path / "none")))


def test_a_store_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    claimed(tmp_path / "good")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "experiment.json").write_text("{}")
    told = CliRunner().invoke(cli, ["ls", str(tmp_path), "--json"])
    (found,) = json.loads(told.stdout)
    assert (found["name"], found["state"], found["updated"]) == ("spine", "Unfinished", None)
    assert "has no run.json" in told.stderr


def test_a_run_without_a_result_has_no_report(tmp_path: Path) -> None:
    written(tmp_path, *WHERE, *TASK)
    told = CliRunner().invoke(cli, ["report", str(tmp_path / "merge.yaml")])
    assert isinstance(told.exception, BadConfiguration)
    assert "nothing has run yet" in str(told.exception)


def test_a_damaged_object_is_told_in_one_line_with_what_is_wrong(tmp_path: Path) -> None:
    claimed(tmp_path)
    (tmp_path / "results").mkdir(exist_ok=True)
    (tmp_path / "results" / "x.json").write_text('{"kind": "done"}')
    told = str(CliRunner().invoke(cli, ["show", str(tmp_path)]).exception)
    assert "another version wrote it (done.task: Field required); " in told
    assert "validation error" not in told
    assert "\n" not in told


def test_lines_are_wrapped_on_a_terminal_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / ("long-" * 40)
    claimed(store)
    monkeypatch.setenv("COLUMNS", "90")
    assert str(store) in CliRunner().invoke(cli, ["ls", str(tmp_path)]).stdout
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # a terminal, to rich
    narrow = click.unstyle(CliRunner().invoke(cli, ["ls", str(tmp_path)], color=True).stdout)
    assert str(store) not in narrow
    assert max(map(len, narrow.splitlines())) == 90
    assert " spine " in narrow


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("ls", "."), ("ls", ".", "--json"), ("gc", ".")])
def test_output_that_nobody_reads_ends_a_command_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    claimed(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    run = [sys.executable, "-c", "from darwinmerge.cli.main import main; main()", *arguments]
    with os.fdopen(writer, "wb") as pipe:
        told = subprocess.run(run, stdout=pipe, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    assert (told.returncode, told.stderr) == (141, b"")


def test_a_run_that_has_only_begun_can_be_shown_by_its_store_alone(tmp_path: Path) -> None:
    claimed(tmp_path / "run")
    told = CliRunner().invoke(cli, ["show", str(tmp_path / "run")])
    assert told.exit_code == 0
    assert "spine: Unfinished: resolving parents and rows" in told.stdout
    assert json.loads(CliRunner().invoke(cli, ["gc", str(tmp_path / "run"), "--json"]).stdout)["objects"] == []


def test_what_a_killed_writer_left_goes_when_it_is_a_day_old(tmp_path: Path) -> None:
    claimed(tmp_path)
    old, young = (tmp_path / ".partial" / name for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    told = json.loads(CliRunner().invoke(cli, ["gc", str(tmp_path), "--json"]).stdout)
    assert told["objects"] == [{"key": ".partial/old", "size": 4, "why": "half written, a day old"}]
    assert old.exists()
    CliRunner().invoke(cli, ["gc", str(tmp_path), "--yes"])
    assert not old.exists()
    assert young.exists()


def test_a_store_that_was_copied_is_its_own_run_and_not_the_one_it_was_copied_from(tmp_path: Path) -> None:
    x = claimed(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    here = str(tmp_path / "moved")
    assert noted(open_store(here)) == x.model_copy(update={"where": x.where.model_copy(update={"store": here})})
