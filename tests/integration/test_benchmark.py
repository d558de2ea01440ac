"""lm-eval's tasks as we ask them: real ARC questions, the task's own splits, few-shot examples."""

from pathlib import Path

import pytest

from darwinmerge.errors import BadConfiguration
from darwinmerge.evaluation.harness import Benchmark
from darwinmerge.evaluation.rows import RowSets
from darwinmerge.experiment.manifest import BenchmarkTask

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
