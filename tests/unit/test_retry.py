"""Whether a failed attempt is repeated, by the exit codes of all attempts at one task."""

import pytest

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Limits
from darwinmerge.pipeline.retry import Again, Attempt, GiveUp, retry

LIMITS = Limits(attempts=3, interruptions=4, retry_seconds=1.5)

# What each exit code means for the first failed attempt. A new code must be given a line here.
FIRST: dict[ExitCode, Again | GiveUp] = {
    ExitCode.FAILED: Again(seconds=1.5),
    ExitCode.BAD_INPUT: GiveUp(reason="BadInput", message="why"),
    ExitCode.STORE_UNREACHABLE: Again(seconds=1.5),
    ExitCode.INTERNAL: Again(seconds=1.5),
    ExitCode.OUT_OF_MEMORY: Again(seconds=1.5),
    ExitCode.OUT_OF_DISK: Again(seconds=1.5),
    ExitCode.EVALUATOR_FAILED: Again(seconds=1.5),
    ExitCode.INTERRUPTED: Again(seconds=0.0),
    ExitCode.VERSION_SKEW: GiveUp(reason="VersionSkew", message="why"),
    ExitCode.BAD_CONFIGURATION: GiveUp(reason="BadConfiguration", message="why"),
}
REPEATED = [code for code, decision in FIRST.items() if decision == Again(seconds=1.5)]


def attempts(*codes: ExitCode) -> list[Attempt]:
    return [Attempt(task="t", number=number, exit=code, message="why") for number, code in enumerate(codes, 1)]


def test_every_exit_code_of_a_failure_has_a_decision() -> None:
    assert set(FIRST) == set(ExitCode) - {ExitCode.OK}


@pytest.mark.parametrize("code", FIRST, ids=lambda code: code.name)
def test_the_first_failure(code: ExitCode) -> None:
    assert retry(LIMITS, attempts(code)) == FIRST[code]


@pytest.mark.parametrize("code", REPEATED, ids=lambda code: code.name)
def test_the_wait_doubles_and_the_last_attempt_is_the_last(code: ExitCode) -> None:
    limits = LIMITS.model_copy(update={"attempts": 5})
    waits = [retry(limits, attempts(*[code] * n)) for n in range(1, 5)]
    assert waits == [Again(seconds=1.5), Again(seconds=3.0), Again(seconds=6.0), Again(seconds=12.0)]
    reason = code.name.title().replace("_", "")
    assert retry(limits, attempts(*[code] * 5)) == GiveUp(reason=reason, message="why (5 attempts)")


@pytest.mark.parametrize("code", FIRST, ids=lambda code: code.name)
def test_one_attempt_allowed_is_no_repetition(code: ExitCode) -> None:
    decision = retry(LIMITS.model_copy(update={"attempts": 1, "interruptions": 1}), attempts(code))
    assert isinstance(decision, GiveUp)


def test_interruptions_have_a_limit_and_waits_of_their_own() -> None:
    stop = ExitCode.INTERRUPTED
    waits = [retry(LIMITS, attempts(*[stop] * n)) for n in (1, 2, 3)]
    assert waits == [Again(seconds=0.0), Again(seconds=1.5), Again(seconds=3.0)]
    assert retry(LIMITS, attempts(stop, stop, stop, stop)) == GiveUp(
        reason="TooManyInterruptions", message="interrupted 4 times; the last time: why"
    )


def test_interruptions_are_not_failures_nor_failures_interruptions() -> None:
    stop, full = ExitCode.INTERRUPTED, ExitCode.OUT_OF_MEMORY
    assert retry(LIMITS, attempts(stop, full, stop, stop, full)) == Again(seconds=3.0)
    assert retry(LIMITS, attempts(full, full, stop)) == Again(seconds=0.0)
    assert retry(LIMITS, attempts(full, stop, full, stop, full)) == GiveUp(
        reason="OutOfMemory", message="why (3 attempts)"
    )


def test_different_failures_count_together_and_the_last_one_names_the_reason() -> None:
    codes = (ExitCode.STORE_UNREACHABLE, ExitCode.OUT_OF_DISK, ExitCode.INTERNAL)
    assert retry(LIMITS, attempts(*codes)) == GiveUp(reason="Internal", message="why (3 attempts)")


@pytest.mark.parametrize("code", [c for c, d in FIRST.items() if isinstance(d, GiveUp)], ids=lambda code: code.name)
def test_what_a_person_must_mend_is_final_after_any_history(code: ExitCode) -> None:
    decision = retry(LIMITS, attempts(ExitCode.INTERRUPTED, ExitCode.INTERNAL, code))
    assert decision == FIRST[code]


def test_the_default_limits_allow_three_attempts_and_twenty_interruptions() -> None:
    fail, stop = ExitCode.INTERNAL, ExitCode.INTERRUPTED
    assert isinstance(retry(Limits(), attempts(fail, fail)), Again)
    assert isinstance(retry(Limits(), attempts(fail, fail, fail)), GiveUp)
    assert isinstance(retry(Limits(), attempts(*[stop] * 19)), Again)
    assert isinstance(retry(Limits(), attempts(*[stop] * 20)), GiveUp)
