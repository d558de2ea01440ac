"""lm-eval's tasks as we ask them: real ARC questions, the task's own splits, few-shot examples."""

import errno
import os
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from requests import ConnectTimeout

from darwinmerge.errors import BadConfiguration, BadInput, OutOfDisk, StoreUnreachable
from darwinmerge.evaluation.harness import Benchmark
from darwinmerge.evaluation.rows import RowSets
from darwinmerge.experiment.benchmark import BenchmarkTask

ARC = BenchmarkTask.model_validate(
    {
        "name": "arc_easy_local",
        "metric": "acc_norm,none",
        "num_fewshot": 3,
        "search": {"rows": 300},
        "verdict": {"rows": 200},
    }
)


@pytest.fixture(scope="module")
def benchmark(material: Path) -> Benchmark:
    return Benchmark(str(material / "tasks"))


@pytest.fixture(scope="module")
def sets(benchmark: Benchmark) -> RowSets:
    return benchmark.row_sets([ARC], seed=5)


def test_the_search_uses_the_training_split_and_the_verdict_the_test_split(sets: RowSets) -> None:
    rows = sets.tasks[0]
    assert {row.split for row in (*rows.search, *rows.fresh)} == {"train"}
    assert {row.split for row in rows.verdict} == {"test"}
    assert (len(rows.search), len(rows.fresh), len(rows.verdict)) == (300, 300, 200)
    assert rows.higher_is_better


def test_no_question_of_the_verdict_is_among_the_search_rows_in_another_split(sets: RowSets) -> None:
    rows = sets.tasks[0]
    assert {row.question for row in rows.verdict}.isdisjoint(row.question for row in (*rows.search, *rows.fresh))


def test_few_shot_examples_are_never_verdict_rows(benchmark: Benchmark, sets: RowSets) -> None:
    rows = sets.tasks[0]
    verdict = {benchmark.documents(ARC, row.split)[row.position]["question"] for row in rows.verdict}
    questions = benchmark.questions(ARC, sets, rows.search[:40])
    for requests in questions.requests:
        examples = requests[0].args[0].split("\n\n")[:-1]
        assert len(examples) == ARC.num_fewshot
        assert not any(question in example for question in verdict for example in examples)


def test_the_same_rows_give_the_same_prompts_again(benchmark: Benchmark, sets: RowSets) -> None:
    rows = sets.tasks[0]

    def prompts() -> list[tuple[str, ...]]:
        return [r.args for requests in benchmark.questions(ARC, sets, rows.search[:20]).requests for r in requests]

    assert prompts() == prompts()


def test_rows_depend_on_the_seed_and_nothing_else(benchmark: Benchmark, sets: RowSets, material: Path) -> None:
    assert Benchmark(str(material / "tasks")).row_sets([ARC], seed=5) == sets
    assert benchmark.row_sets([ARC], seed=6) != sets


def test_an_unknown_task_names_the_ones_of_the_folder(benchmark: Benchmark) -> None:
    with pytest.raises(BadConfiguration, match=r"arc_hard: lm-eval has no such task.*arc_easy_local"):
        benchmark.task(BenchmarkTask(name="arc_hard"))


def test_a_split_or_a_column_that_is_not_there_is_named(benchmark: Benchmark) -> None:
    wrong = BenchmarkTask.model_validate({"name": "arc_easy_local", "verdict": {"split": "tset"}})
    with pytest.raises(BadConfiguration, match=r"no split 'tset'; there are: test, train|train, test"):
        benchmark.row_sets([wrong], seed=0)
    with pytest.raises(BadConfiguration, match="no column 'noun' to group by"):
        benchmark.row_sets([BenchmarkTask(name="arc_easy_local", group_by="noun")], seed=0)


def test_a_task_that_brings_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "coded.yaml").write_text("task: coded\ndataset_path: json\ndoc_to_text: !function helper.text\n")
    with pytest.raises(BadConfiguration, match="runs code of its own"):
        Benchmark(str(tmp_path)).task(BenchmarkTask(name="coded"))


def remote(tmp_path: Path) -> Benchmark:
    """A task whose data set lies on a hub."""
    lines = ["task: remote", "dataset_path: org/remote", "test_split: test", "output_type: generate_until"]
    (tmp_path / "remote.yaml").write_text("\n".join([*lines, "doc_to_text: text", "doc_to_target: gold"]))
    return Benchmark(str(tmp_path))


REMOTE = BenchmarkTask(name="remote", metric="exact_match,none")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that nobody reaches."""
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


@pytest.mark.usefixtures("nowhere")
def test_a_hub_that_does_not_answer_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(StoreUnreachable, match=r"task remote: the place of its data set doesn't answer: .*org/remote"):
        remote(tmp_path).task(REMOTE)


@pytest.mark.usefixtures("nowhere")
def test_a_hub_that_is_switched_off_is_for_a_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadConfiguration, match=r"task remote: .*org/remote.*unset HF_HUB_OFFLINE"):
        remote(tmp_path).task(REMOTE)


def answered(status: int) -> Any:
    request = httpx2.Request("GET", "http://127.0.0.1/data")
    return httpx2.HTTPStatusError("", request=request, response=httpx2.Response(status, request=request))


def generating(cause: Exception) -> Exception:
    """An error as `datasets` wraps it while it writes what it downloads."""
    error = RuntimeError("An error occurred while generating the dataset")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (generating(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))), OutOfDisk),
        (generating(httpx2.ReadTimeout("")), StoreUnreachable),
        (generating(ConnectTimeout()), StoreUnreachable),
        (generating(aiohttp.ServerDisconnectedError()), StoreUnreachable),
        (generating(TimeoutError()), StoreUnreachable),
        (answered(503), StoreUnreachable),
        (answered(429), StoreUnreachable),
        (answered(404), BadInput),
        (MemoryError(), MemoryError),
        (generating(ValueError("a column is missing")), BadInput),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "skill_a.jsonl"), BadInput),
    ],
    ids=repr,
)
def test_who_acts_on_a_data_set_that_can_not_be_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, becomes: type[Exception]
) -> None:
    def load_dataset(**_: object) -> None:
        raise error

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(becomes) as found:
        remote(tmp_path).task(REMOTE)
    assert type(found.value) is becomes
    assert becomes is MemoryError or str(found.value).startswith("task remote: ")
