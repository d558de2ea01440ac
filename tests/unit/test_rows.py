"""Rows that the verdict judges by are never seen by the search, in other words or by another name of their group."""

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darwinmerge.errors import BadInput
from darwinmerge.evaluation.rows import Row, Rows, TaskRows, content_hash, partition, portions, question_hash
from darwinmerge.experiment.benchmark import BenchmarkTask, SearchRows, VerdictRows


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make(position: int, split: str = "test", question: str = "", content: str = "", group: str = "") -> Row:
    question = question or f"question {split} {position}"
    return Row(split=split, position=position, content=sha(content or question), question=sha(question), group=group)


def many(n: int, split: str = "test", groups: int = 0) -> list[Row]:
    return [make(i, split, group=f"group {i % groups}" if groups else "") for i in range(n)]


def divide(
    search: Sequence[Row], verdict: Sequence[Row] | None = None, seed: int = 0, judged: Any = "All", **rows: Any
) -> TaskRows:
    task = BenchmarkTask(name="nouns", search=SearchRows(**rows), verdict=VerdictRows(rows=judged))
    return partition([having(task, search, search if verdict is None else verdict)], seed).tasks[0]


def having(task: BenchmarkTask, search: Sequence[Row], verdict: Sequence[Row]) -> Rows:
    return Rows(task=task, search=tuple(search), verdict=tuple(verdict), higher_is_better=True)


def seen(found: TaskRows) -> list[Row]:
    return [*found.search, *found.fresh]


def contents(rows: Sequence[Row]) -> list[str]:
    return [row.content for row in rows]


# Small alphabets, so that rows share questions, contents and groups in every way.
ROWS = st.lists(
    st.builds(
        make,
        st.integers(0, 10**6),
        st.sampled_from(["train", "test"]),
        st.sampled_from([f"q{i}" for i in range(12)]),
        st.sampled_from(["", "", "c1", "c2", "c3"]),
        st.sampled_from(["", "", "g1", "g2", "g3", "g4"]),
    ),
    min_size=4,
    max_size=40,
    unique_by=lambda row: (row.split, row.position),
)


@given(ROWS, st.integers(0, 99), st.booleans())
def test_no_question_content_or_group_is_on_both_sides(rows: list[Row], seed: int, own_splits: bool) -> None:
    search = [row for row in rows if row.split == "train"] if own_splits else rows
    verdict = [row for row in rows if row.split == "test"] if own_splits else rows
    try:
        found = divide(search, verdict, seed)
    except BadInput:
        return  # one family holds too much
    for mark in ("content", "question", "group"):
        one, other = ({getattr(row, mark) for row in side} - {""} for side in (seen(found), found.verdict))
        assert not one & other


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_data_set_has_no_influence(rows: list[Row], shuffle: random.Random) -> None:
    shuffled = rows.copy()
    shuffle.shuffle(shuffled)

    def divided(given: list[Row]) -> TaskRows | str:
        try:
            return divide(given)
        except BadInput as error:
            return str(error)

    assert divided(shuffled) == divided(rows)


@given(ROWS)
def test_no_content_is_asked_twice(rows: list[Row]) -> None:
    try:
        found = divide(rows)
    except BadInput:
        return
    asked = contents([*seen(found), *found.verdict])
    assert len(asked) == len(set(asked))


def test_families_are_joined_through_a_third_row() -> None:
    """The first and the last row share nothing, but each shares something with the one between."""
    chain = [
        make(0, "train", "the capital of France?", "a", "France"),
        make(1, "train", "the capital of Italy?", "b", "France"),
        make(2, "test", "the capital of Italy?", "c", "Italy"),
    ]
    found = divide([*chain[:2], make(3, "train")], chain[2:])
    assert [row.position for row in found.verdict] == [2]
    assert [row.position for row in found.search] == [3]


def test_with_splits_of_their_own_the_verdict_has_all_and_the_search_all() -> None:
    found = divide(many(30, "train"), many(20, "test"))
    assert (len(found.search), len(found.fresh), len(found.verdict)) == (30, 0, 20)


def test_in_one_split_the_verdict_takes_half() -> None:
    found = divide(many(41))
    assert (len(found.verdict), len(found.search)) == (20, 21)


def test_half_takes_half_of_a_split_of_its_own_too() -> None:
    assert len(divide(many(10, "train"), many(21, "test"), judged="Half").verdict) == 10


def test_a_number_of_verdict_rows_leaves_the_rest_to_the_search() -> None:
    found = divide(many(40), judged=12)
    assert (len(found.verdict), len(found.search)) == (12, 28)


def test_groups_stay_together_in_one_split() -> None:
    found = divide(many(200, groups=20))
    judged, searched = ({row.group for row in side} for side in (found.verdict, seen(found)))
    assert not judged & searched
    assert len(judged) == pytest.approx(10, abs=1)


def test_another_seed_divides_otherwise() -> None:
    assert set(contents(divide(many(40), seed=1).verdict)) != set(contents(divide(many(40), seed=2).verdict))


def test_more_rows_for_the_search_are_the_same_and_some_further_ones() -> None:
    few, more = (divide(many(100), rows=n, fresh=5) for n in (10, 30))
    assert more.search[:10] == few.search
    assert more.verdict == few.verdict


# ---- several tasks


def test_what_one_task_is_judged_on_no_other_task_searches_with() -> None:
    """Two tasks over one data set: a question of the first one's verdict is left out of the second one's search."""
    one, other = BenchmarkTask(name="one"), BenchmarkTask(name="other", search=SearchRows(splits=("test",)))
    test, train = many(20, "test"), many(20, "train")
    found = partition([having(one, train, test), having(other, [*test, *train], many(5, "validation"))], seed=0)
    judged = {row.question for rows in found.tasks for row in rows.verdict}
    assert judged.isdisjoint(row.question for rows in found.tasks for row in seen(rows))
    assert {row.split for row in found.tasks[1].search} == {"train"}


def test_a_group_that_one_task_is_judged_on_is_in_no_search_of_another() -> None:
    """Both are grouped by nouns; one is judged on a cat, so that the other doesn't search with one."""
    one, other = (BenchmarkTask(name=name, group_by="noun") for name in ("one", "other"))
    cats = [make(i, "train", question=f"is this a cat? {i}", group="cat") for i in range(3)]
    dogs = [make(i, "train", question=f"is this a dog? {i}", group="dog") for i in range(3, 6)]
    cat = [make(0, "test", question="what is a cat?", group="cat")]
    found = partition([having(one, many(5, "train"), cat), having(other, [*cats, *dogs], many(2, "test"))], seed=0)
    assert {row.group for row in found.tasks[1].search} == {"dog"}


def test_the_family_of_a_question_that_one_task_is_judged_on_is_in_no_search_of_another() -> None:
    """A third row joins them: it shares its group with the verdict's row, and its question with the other task's."""
    one, other = BenchmarkTask(name="one", group_by="noun"), BenchmarkTask(name="other")
    judged = make(0, "test", question="what is a cat?", group="cat")
    joins = make(0, "train", question="does it purr?", group="cat")
    same = make(0, "train", question="does it purr?", content="in other words")
    found = partition(
        [having(one, [joins, *many(5, "other")], [judged]), having(other, [same, make(1, "train")], many(2, "test"))],
        seed=0,
    )
    assert [row.position for row in found.tasks[1].search] == [1]


@pytest.mark.parametrize(
    ("total", "sizes", "wanted"),
    [
        (10, [50, 30, 20], [5, 3, 2]),
        (10, [1, 1, 1], [4, 3, 3]),
        (7, [100, 1], [6, 1]),
        (3, [1, 1, 1, 1], [1, 1, 1, 1]),
    ],
)
def test_rows_of_a_group_are_shared_out_by_size_and_each_task_has_one(
    total: int, sizes: list[int], wanted: list[int]
) -> None:
    assert portions(total, sizes) == wanted


# ---- fresh rows, which score the finalists again


def test_fresh_rows_are_as_many_as_search_rows_where_that_many_are_left() -> None:
    found = divide(many(100), rows=20)
    assert (len(found.search), len(found.fresh)) == (20, 20)
    assert not set(contents(found.search)) & set(contents(found.fresh))


def test_fresh_rows_are_none_where_fewer_are_left_than_the_search_has() -> None:
    assert divide(many(100), rows=30).fresh == ()
    assert divide(many(100)).fresh == ()


def test_a_number_of_fresh_rows_is_taken_from_what_the_search_would_have() -> None:
    found = divide(many(100), fresh=10)
    assert (len(found.search), len(found.fresh)) == (40, 10)


def test_a_number_of_both_is_taken_as_asked() -> None:
    found = divide(many(100), rows=7, fresh=3)
    assert (len(found.search), len(found.fresh)) == (7, 3)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"rows": 21}, r"search asks for 21 rows, 20 are left \(the data has 40 for the search, 40 for the verdict"),
        ({"rows": 15, "fresh": 6}, "search.fresh asks for 6 rows, 5 are left"),
        ({"judged": 41}, "verdict asks for 41 rows, 40 are left"),
        ({"judged": 40}, "search asks for"),
    ],
)
def test_asking_for_too_many_rows_names_the_task_and_the_counts(rows: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=f"task nouns: {message}"):
        divide(many(40), **rows)


@pytest.mark.parametrize("fresh", [21, 30, 60])
def test_asking_for_more_fresh_rows_than_there_are_is_said_of_the_fresh_rows(fresh: int) -> None:
    with pytest.raises(BadInput, match=f"search.fresh asks for {fresh} rows"):
        divide(many(40), fresh=fresh)


def test_one_family_that_holds_everything_leaves_nothing_to_search() -> None:
    with pytest.raises(BadInput, match=r"task nouns: search .* families that stay together"):
        divide(many(40, groups=1))


# ---- how rows are known


def test_case_and_blanks_make_no_other_question() -> None:
    assert question_hash("What is  the\ncapital? ") == question_hash("what is the capital?")
    assert question_hash("What is the capital?") != question_hash("What is the capitol?")


def test_a_rows_content_is_known_whatever_the_order_of_its_columns() -> None:
    assert content_hash({"q": "x", "choices": ["a", "b"]}) == content_hash({"choices": ["a", "b"], "q": "x"})
    assert content_hash({"choices": ["a", "b"]}) != content_hash({"choices": ["b", "a"]})
