"""What to do about a run, from what the cluster shows of it: a pure function, level-triggered, whatever came before.

The ledger that a decision gives is written before anything else is done: a Job is only deleted once what it told is
safe, and a Job that was created twice is harmless, since its worker answers from the store.
"""

from collections.abc import Sequence
from itertools import accumulate

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.types import Frozen
from darwinmerge.pipeline.known import Outcome, Walk
from darwinmerge.pipeline.orders import Order, Orders, Part, order
from darwinmerge.pipeline.plan import walk
from darwinmerge.pipeline.retention import spent
from darwinmerge.pipeline.retry import GiveUp, retry, without_report
from darwinmerge.pipeline.tasks import ScoreInputs, Task
from darwinmerge.store import layout
from darwinmerge_operator.decision import Decision, Halt, Seen
from darwinmerge_operator.job import Start, Verb
from darwinmerge_operator.learn import learn
from darwinmerge_operator.ledger import Ledger, Try, key_of
from darwinmerge_operator.seen import SeenJob
from darwinmerge_operator.waits import MAX_DISRUPTIONS, expired, halts_of, late_for, pending_of, resting_of

RECALLED = 12  # tasks that one recall Job asks for: their answers fit into few messages
ORDERED_BYTES = 80_000  # of a Job's orders: they fit into a variable


class _Wanted(Frozen):
    verb: Verb
    stage: str
    part: str
    key: str
    orders: tuple[Order, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """What attempts at its orders are counted by; `key` is the first one's."""
        return tuple(key_of(one.id, self.part) for one in self.orders) or (self.key,)


def decide(seen: Seen) -> Decision:
    """The next steps of a run."""
    ledger = learn(seen.ledger, seen.jobs, seen.now)
    known = {"generation": seen.generation, "retried_at": seen.retry_requested or ledger.retried_at}
    asked = ledger.generation > 0 and any(getattr(ledger, name) != value for name, value in known.items())
    if asked:  # by a retry request, or by another spec: whatever failed gets another chance
        ledger = ledger.forgive()
    ledger = ledger.model_copy(update=known)
    now = walk(seen.experiment, ledger.results)
    again = ledger.again() if asked and ledger.finished and not now.outcome else ledger  # steps were raised
    again = _reports_given_up(again, now, seen)
    if again is not ledger:
        ledger, now = again, walk(seen.experiment, again.results)
    left = any(job.part == "finish" and job.done for job in seen.jobs)  # the summary
    ledger = ledger.model_copy(update={"finished": bool(now.outcome) and (ledger.finished or left)})
    if all(task.id in ledger.missed for task in now.ready):
        ledger = ledger.model_copy(update={"recalling": False})  # the store has no more to tell
    waits: list[float] = []
    active = [job for job in seen.jobs if not job.finished and not job.leaving and not any(p.lost for p in job.pods)]
    spare = [job for job in seen.jobs if not job.leaving and (job.complete or any(p.lost for p in job.pods))]
    halts: list[Halt] = []
    if now.outcome and ledger.finished:
        spare += expired(seen.jobs, seen.policy.ttl, seen.now, waits)
        return _decision(ledger, now, spare, outcome=now.outcome, waits=waits)
    late = late_for(ledger, seen, waits)
    if seen.policy.suspend or late:
        ledger = _ended(ledger, active, seen.now)
        return _decision(ledger, now, spare + active, halts=[late] if late else [], waits=waits)
    # after a change, what doesn't run is made anew as it is described now; and what was ended is gone only when it is
    idle = [job for job in active if (asked and not job.runs) or ledger.ours(job.key, job.attempt)]
    ledger, spare, active = _ended(ledger, idle, seen.now), spare + idle, [job for job in active if job not in idle]
    wanted = _wanted(seen, ledger, now)
    worn = [want for want in wanted if len(ledger.disrupted.get(want.key, ())) >= MAX_DISRUPTIONS]
    keep = {want.key for want in wanted if want not in worn}
    # while the store is asked what is known, nobody can say that a task isn't wanted any more
    unwanted = [job for job in active if keep.isdisjoint(job.keys) and not (ledger.recalling and job.part != "recall")]
    resting = resting_of(seen, waits)
    spare = [job for job in spare + unwanted if job not in resting]
    active = [job for job in active if job not in unwanted]
    halts += [_worn(want, ledger) for want in worn] + halts_of(seen, active, waits)
    start: list[Start] = []
    free = [want.key for want in wanted if want.stage in ("recall", "report")]  # small, and no reason to wait
    room = seen.policy.parallelism - sum(job.key not in free for job in active)
    if resting:
        room = room - len(resting) if active else 0
    given = {key for job in active for key in job.keys}
    wanted = [want for want in wanted if want not in worn and want.key not in given]
    for want in _together(wanted, seen, ledger, room):
        ruling = _ruling(seen, ledger, want, waits)
        if isinstance(ruling, Halt):
            halts.append(ruling)
        elif ruling is not None and (want.key in free or room > 0):
            room -= want.key not in free
            drop = _drop(seen, ledger)
            ledger = ledger.model_copy(update={"dropped": (*ledger.dropped, *drop)})
            start.append(_start(seen, ledger, want, ruling, drop))
    return _decision(ledger, now, spare, start, halts, pending=pending_of(active, seen.now), waits=waits)


def _reports_given_up(ledger: Ledger, now: Walk, seen: Seen) -> Ledger:
    """A report that can't be drawn counts as one: no run waits for a person because of it."""
    for task in now.ready:
        key = key_of(task.id, "all")
        attempts = ledger.counted(key)
        ruling = retry(seen.experiment.limits, attempts) if attempts else None
        worn = len(ledger.disrupted.get(key, ())) >= MAX_DISRUPTIONS
        why = ruling.message if isinstance(ruling, GiveUp) else "the cluster took its Pods away" if worn else ""
        result = without_report(task, why) if why else None
        if result:
            ledger = ledger.model_copy(update={"results": {**ledger.results, task.id: result}})
    return ledger


def _decision(
    ledger: Ledger,
    now: Walk,
    remove: Sequence[SeenJob],
    start: Sequence[Start] = (),
    halts: Sequence[Halt] = (),
    pending: str = "",
    outcome: Outcome | None = None,
    waits: Sequence[float] = (),
) -> Decision:
    return Decision(
        ledger=ledger,
        remove=tuple(sorted({job.name for job in remove})),
        start=tuple(start),
        halts=tuple(halts),
        pending=pending,
        outcome=outcome,
        again_in=max(0.0, min(waits)) if waits else None,
        walked=now,
    )


def _ended(ledger: Ledger, ours: Sequence[SeenJob], now: float) -> Ledger:
    """Jobs that we end are nobody's fault; their numbers are used up."""
    for job in ours:
        attempt = Try(number=job.attempt, exit=ExitCode.INTERRUPTED, message="ended by us", at=now, ours=True)
        ledger = ledger.having(job.key, attempt)
    return ledger


def _wanted(seen: Seen, ledger: Ledger, now: Walk) -> list[_Wanted]:
    """Jobs that should be there, by priority."""
    if now.outcome:
        return [_Wanted(verb="work", stage="finish", part="finish", key=key_of("finish", "finish"))]
    if ledger.recalling:
        unknown = [order(task) for task in now.ready if task.id not in ledger.missed]
        asked = tuple(unknown[: _fitting(unknown, RECALLED)])
        return [_Wanted(verb="recall", stage="recall", part="recall", key=key_of(asked[0].id, "recall"), orders=asked)]
    return [_of(task, seen, ledger) for task in now.ready]


def _together(wanted: Sequence[_Wanted], seen: Seen, ledger: Ledger, room: int) -> list[_Wanted]:
    """The same, but scores of which no attempt has failed go several to a Job, whose worker loads models once.

    No more than leave something for each Job that there is room for. What has failed is tried by itself: then it is
    clear what failed again.
    """
    fresh = {
        want.key: want.orders[0]
        for want in wanted
        if (want.stage, want.part) == ("score", "all") and not ledger.counted(want.key)
    }
    size, left, together = min(seen.policy.candidates, -(-len(fresh) // max(room, 1))), list(fresh.values()), []
    for want in wanted:
        if want.key not in fresh:
            together.append(want)
        elif left and want.orders[0] == left[0]:
            count = _fitting(left, size)
            together.append(want.model_copy(update={"orders": tuple(left[:count])}))
            left = left[count:]
    return together


def _fitting(orders: Sequence[Order], most: int) -> int:
    """How many of them, from the first on, one Job may have: one at least."""
    sizes = accumulate(len(one.model_dump_json(by_alias=True).encode()) for one in orders[:most])
    return max(1, sum(size < ORDERED_BYTES for size in sizes))


def _of(task: Task, seen: Seen, ledger: Ledger) -> _Wanted:
    part: Part = "all"
    staged = seen.policy.execution == "Staged" and isinstance(task.inputs, ScoreInputs)
    if staged and isinstance(task.inputs, ScoreInputs) and task.inputs.model.model in ("child", "linear"):
        part = "evaluate" if task.id in ledger.merged else "merge"
    key = key_of(task.id, part)
    last_try = any(one.exit == ExitCode.EVALUATOR_FAILED for one in ledger.tries.get(key, ()))  # forgiven ones too
    stage = {"merge": "merge", "evaluate": "eval"}.get(part, task.stage)
    return _Wanted(verb="work", stage=stage, part=part, key=key, orders=(order(task, part, last_try),))


def _ruling(seen: Seen, ledger: Ledger, want: _Wanted, waits: list[float]) -> int | Halt | None:
    """The number of the next attempt, higher than that of any before; or why there is none, or none yet."""
    attempts = ledger.counted(want.key)
    if attempts:
        again = retry(seen.experiment.limits, attempts)
        if isinstance(again, GiveUp):
            return Halt(reason=again.reason, message=f"{want.stage}: {again.message}", final=True)
        due = max(t.at for t in ledger.tries[want.key]) + again.seconds - seen.now
        if due > 0:
            waits.append(due)
            return None
    observed = [job.attempt for job in seen.jobs if not set(job.keys).isdisjoint(want.keys)]
    return 1 + max([ledger.last(*want.keys), *observed])


def _start(seen: Seen, ledger: Ledger, want: _Wanted, attempt: int, drop: tuple[str, ...]) -> Start:
    x = seen.experiment
    orders = Orders(
        where=x.where,
        claim=x if want.stage == "report" or (want.verb == "recall" and not ledger.results) else None,
        orders=want.orders,
        drop="All" if want.part == "finish" else drop,
        finish=x if want.part == "finish" else None,
    )
    return Start(verb=want.verb, stage=want.stage, part=want.part, orders=orders, attempt=attempt)


def _drop(seen: Seen, ledger: Ledger) -> tuple[str, ...]:
    if seen.policy.execution != "Staged":
        return ()
    gone = spent(seen.experiment, ledger.results)
    return () if gone == "All" else tuple(sorted({recipe[: layout.SHORT] for recipe in gone} - set(ledger.dropped)))


def _worn(want: _Wanted, ledger: Ledger) -> Halt:
    count = len(ledger.disrupted[want.key])
    message = f"{want.stage}: the cluster took {count} Pods away; what they stored is kept"
    return Halt(reason="TooManyDisruptions", message=message, final=True)
