"""One look at a run, and what follows from it: observe, decide, apply, tell. All that is decided is decided elsewhere.

The order makes a crash at any point harmless: what Jobs told is in the ledger before they are deleted, and events and
status are told last, from the ledger alone. Whoever else has written in between wins, and the run is looked at again.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from urllib3.exceptions import HTTPError

from darwinmerge import __version__
from darwinmerge.errors import BadConfiguration
from darwinmerge_operator import tell, view
from darwinmerge_operator.api import Api, Busy, Conflict, Gone, Key, Object, Refused
from darwinmerge_operator.crd import pruned
from darwinmerge_operator.decide import decide
from darwinmerge_operator.decision import Decision, Halt, Seen
from darwinmerge_operator.figures import figures_of, told_of
from darwinmerge_operator.ledger import Ledger
from darwinmerge_operator.metrics import Metrics
from darwinmerge_operator.remembered import Remembered
from darwinmerge_operator.resource import Spec, from_api
from darwinmerge_operator.run import Run, about, as_told
from darwinmerge_operator.seen import seconds
from darwinmerge_operator.status import Status
from darwinmerge_operator.waits import expired
from darwinmerge_operator.workqueue import Postponed

RESYNC_SECONDS = 60.0  # after which an unfinished run is looked at, whatever was or wasn't heard of it
UNSERVED_SECONDS = 600.0  # after which servers that were refused for long are applied again
REFUSED_AGAIN_SECONDS = 15.0
log = logging.getLogger(__name__)


class Reconciler:
    """Carries runs on."""

    def __init__(
        self,
        api: Api,
        image: str,
        kueue: bool = False,
        remembered: Remembered | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Runs of one API server; those that it accepts use the workers' image `image` until they end.

        With `kueue`, Kueue is asked why it holds a run; its Workloads may then be listed.
        """
        self._api, self._image, self._kueue, self._clock = api, image, kueue, clock
        self._remembered = remembered or Remembered()
        self._metrics = metrics or Metrics(__version__)

    def __call__(self, key: Key) -> float | None:
        """Do what is to be done for a run now; gives seconds after which it is to be looked at again.

        Raises:
            Postponed: the API server doesn't answer as it should, or somebody else has written meanwhile.
        """
        try:
            with self._metrics.look():
                try:
                    return self._look(key)
                except (Conflict, Gone) as error:  # for /metrics, no error
                    self._remembered.forget(key)
                    changed = Postponed(f"changed meanwhile: {error}")
        except (ConnectionError, HTTPError) as error:
            raise Postponed(str(error), error.seconds if isinstance(error, Busy) else 0.0) from error
        raise changed

    def _look(self, key: Key) -> float | None:
        try:
            found = self._remembered.run(key) or self._remembered.keep_run(key, self._api.run(*key))
        except Gone:
            found = None
        if not found or found["metadata"].get("deletionTimestamp"):
            self._remembered.forget(key)
            self._metrics.board.forget(key)
            return None  # what it owned goes with it
        return self._reconcile(found)

    def _reconcile(self, found: Object) -> float | None:
        now, before = self._clock(), view.read(found.get("status"))
        try:
            resource = from_api({**found, "spec": pruned(found["spec"], Spec)})
        except BadConfiguration as error:
            status = view.refused(found["metadata"]["generation"], str(error), before, now)
            self._tell(found, before, status, ())
            self._restate((found["metadata"]["namespace"], found["metadata"]["name"]), status)
            return None
        run = Run(self._api, self._remembered, found, resource, self._kueue)
        if before and run.has_ended(before):
            self._remembered.forget(run.key)
            return self._settle(run, before, now)
        try:
            ledger, version = run.ledger(before, self._image, now)
        except Refused as error:
            halt = Halt(reason="LedgerRefused", message=str(error))
            decision = Decision(ledger=as_told(before, self._image, now), halts=(halt,))
            status = view.status_of(run.seen(decision.ledger, now), decision, before)
            self._tell(found, before, status, ())
            self._restate(run.key, status)
            return RESYNC_SECONDS
        seen = run.seen(ledger, now)
        decision = decide(seen)
        writes = run.differs(decision.ledger, ledger, version)
        if run.from_memory and not writes and (decision.remove or decision.start):
            # a write would show whether this is the ledger still; what is done without one, is done by a fresh one
            self._remembered.forget_ledger(run.key)
            return self._reconcile(found)
        refused = (run.write(decision.ledger, version) if writes else None) or run.apply(decision)
        if refused:
            decision = decision.model_copy(update={"halts": (*decision.halts, refused)})
        served = run.serve(decision.walk_of(seen.experiment)) if decision.outcome else None
        status = view.status_of(seen, decision, before, served)
        self._count(run.key, found, seen, decision, status)
        self._tell(found, before, status, tell.events_of(before, status, seen, decision))
        again = _serving_due(status, now) if decision.outcome else [RESYNC_SECONDS]
        again += [REFUSED_AGAIN_SECONDS] if refused else []
        again += [decision.again_in] if decision.again_in is not None else []
        return min(again, default=None)

    def _settle(self, run: "Run", status: Status, now: float) -> float | None:
        """Remove old Jobs of a run that has ended, and serve its child: nothing sets it going again."""
        unserved = run.resource.spec.cluster.serve is not None and not view.holds(status, "Served")
        known = self._metrics.board.get(run.key)
        ledger = run.stored() if unserved or not known else None  # after a start, once
        seen = run.seen(ledger or Ledger(), now)
        waits: list[float] = []
        old = expired(seen.jobs, run.resource.spec.cluster.ttl_seconds_after_finished, now, waits)
        run.delete([job.name for job in old])
        decision = Decision(ledger=seen.ledger, remove=tuple(job.name for job in old))
        told = known.told if known else told_of(seen.ledger, decision.walk_of(seen.experiment))
        if unserved and (served := run.serve(decision.walk_of(seen.experiment))):
            before, status = status, view.with_served(status, served, now)
            self._tell(run.found, before, status, tell.served(before, status))
            waits += _serving_due(status, now)
        self._metrics.board.put(run.key, figures_of(run.found, seen, decision, status, told))
        return min(waits, default=None)

    def _count(self, key: Key, found: Object, seen: Seen, decision: Decision, status: Status) -> None:
        """For /metrics."""
        told = told_of(decision.ledger, decision.walk_of(seen.experiment))
        self._metrics.board.put(key, figures_of(found, seen, decision, status, told))
        for job in seen.jobs:
            ended = [pod.finished_at for pod in job.pods if pod.finished_at]
            if job.told and ended and job.name in decision.remove:  # it is gone at the next look
                self._metrics.stage_took(job.stage, max(ended) - job.created)

    def _restate(self, key: Key, status: Status) -> None:
        """For /metrics: a run of which nothing new can be seen, and that stands otherwise now."""
        if known := self._metrics.board.get(key):
            self._metrics.board.put(key, known.model_copy(update={"status": status}))

    def _tell(self, found: Object, before: Status | None, status: Status, events: tuple[tell.Event, ...]) -> None:
        metadata = found["metadata"]
        for event in events:
            log.info("%s: %s", event.reason, event.message, extra=about((metadata["namespace"], metadata["name"])))
            try:
                self._api.post_event(metadata["namespace"], tell.manifest(event, found, self._clock()))
            except Conflict:
                continue  # told before a crash
            except (Refused, ConnectionError) as error:  # the status matters more
                log.warning("the event isn't taken: %s", error, extra=about((metadata["namespace"], metadata["name"])))
        if view.differs(before, status):
            written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
            patched = self._api.patch_status(found, merge_patch(found.get("status") or {}, written))
            self._remembered.keep_run((metadata["namespace"], metadata["name"]), patched)


def _serving_due(status: Status, now: float) -> list[float]:
    """Seconds after which servers that are refused are applied again: the longer they have been, the more."""
    found = view.condition(status, "Served")
    if not found or found.reason != "Refused":
        return []
    waited = now - (seconds(found.last_transition_time) or now)
    return [min(max(RESYNC_SECONDS, waited), UNSERVED_SECONDS)]


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch that makes `new` of `old`."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(name), dict):
            if deeper := merge_patch(old[name], value):
                patch[name] = deeper
        elif old.get(name) != value:
            patch[name] = value
    return patch
