"""What a pod answers fits into its termination message, and tells how much of it is told."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Bindings
from darwinmerge.pipeline.orders import MESSAGE_BYTES, Failure, Message, Orders, encode, order
from darwinmerge.pipeline.results import Result, Superseded
from darwinmerge.pipeline.tasks import REVISIONS, ResolveInputs, Task
from tests.unit.plan_world import ANY_WORLDS, SEEDS, World, at_random, experiment, run

RESOLVE = Task(revision=REVISIONS["resolve"], seed=0, inputs=ResolveInputs())


def answers_of(world: World, seed: int) -> list[Result]:
    return list(run(experiment(steps=4, candidates=4), world, order=at_random(seed), workers=4).results.values())


@settings(max_examples=20)
@given(ANY_WORLDS, SEEDS, st.integers(0, 200), st.booleans())
def test_a_message_fits_whatever_the_number_of_orders(world: World, seed: int, missing: int, fails: bool) -> None:
    answers = [*answers_of(world, seed), *[None] * missing]
    failed = Failure(task="f" * 64, exit=ExitCode.INTERNAL, message="é" * 9000) if fails else None
    data = encode(answers, failed)
    assert len(data) <= MESSAGE_BYTES
    message = Message.model_validate_json(data)
    assert list(message.results) == [answer for answer in answers[: message.told] if answer]
    assert bool(message.failed) == fails


@settings(max_examples=20)
@given(ANY_WORLDS, SEEDS)
def test_asking_again_for_the_rest_brings_every_answer(world: World, seed: int) -> None:
    answers, heard = answers_of(world, seed), list[Result]()
    for _ in range(len(answers)):
        message = Message.model_validate_json(encode(answers[len(heard) :]))
        heard += list(message.results)
    assert heard == answers


def test_the_genomes_of_the_largest_generation_fit() -> None:
    genomes = tuple(tuple(0.123456 for _ in range(6)) for _ in range(48))
    told = Message.model_validate_json(encode([Superseded(task="0" * 64, generation=1000, genomes=genomes)]))
    assert told.told == 1


def test_orders_survive_json() -> None:
    where = Bindings(father="/a", mother="/b", store="s3://bucket/x", task_folder="/tasks")
    orders = Orders(where=where, orders=(order(RESOLVE),), drop=("abc",))
    again = Orders.model_validate_json(orders.model_dump_json(by_alias=True))
    assert again == orders
    assert again.orders[0].task.id == again.orders[0].id


def test_only_a_score_has_parts() -> None:
    with pytest.raises(ValidationError, match="a resolve task has no parts"):
        order(RESOLVE, part="merge")


def test_an_unknown_field_is_refused() -> None:
    where = Bindings(father="/a", mother="/b", store="/s")
    data = json.loads(Orders(where=where, orders=()).model_dump_json(by_alias=True))
    with pytest.raises(ValidationError, match="Extra inputs"):
        Orders.model_validate_json(json.dumps(data | {"hurry": True}))
