"""One look at a run, and what follows from it: observe, decide, apply, tell. All that is decided is decided elsewhere.

The order makes a crash at any point harmless: what Jobs told is in the ledger before they are deleted, and events and
status are told last, from the ledger alone. Whoever else has written in between wins, and the run is looked at again.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from darwinmerge.errors import BadConfiguration
from darwinmerge.pipeline.tasks import Done, ResolveSummary
from darwinmerge_operator import job as jobs
from darwinmerge_operator import tell, view
from darwinmerge_operator.api import Api, Conflict, Exists, Gone, Object, Refused
from darwinmerge_operator.crd import pruned
from darwinmerge_operator.decide import REFUSED_SECONDS, Decision, Halt, Policy, Seen, decide, expired
from darwinmerge_operator.ledger import Ledger, from_data, to_data
from darwinmerge_operator.resource import GROUP, KIND, DarwinMerge, from_api
from darwinmerge_operator.seen import SeenJob, seen_jobs
from darwinmerge_operator.status import Status

RETRY = f"{GROUP}/retry-requested-at"  # annotation: any new value is another try for whatever failed
RESYNC_SECONDS = 60.0  # after which an unfinished run is looked at, whatever was or wasn't heard of it
REFUSED_AGAIN_SECONDS = 15.0

Key = tuple[str, str]  # namespace and name
log = logging.getLogger(__name__)


class Reconciler:
    """Carries runs on."""

    def __init__(self, api: Api, image: str, clock: Callable[[], float] = time.time) -> None:
        """Runs of one API server; those that it accepts use the workers' image `image` until they end."""
        self._api, self._image, self._clock = api, image, clock

    def __call__(self, key: Key) -> float | None:
        """Do what is to be done for a run now; gives seconds after which it is to be looked at again."""
        try:
            found = self._api.run(*key)
        except Gone:
            return None  # what it owned goes with it
        if found["metadata"].get("deletionTimestamp"):
            return None
        try:
            return self._reconcile(found)
        except Conflict as error:
            log.info("changed meanwhile, looking again: %s", error, extra=_about(key))
            return random.uniform(0.2, 1.0)

    def _reconcile(self, found: Object) -> float | None:
        now, before = self._clock(), view.read(found.get("status"))
        try:
            resource = from_api({**found, "spec": pruned(found["spec"])})
        except BadConfiguration as error:
            status = view.refused(found["metadata"]["generation"], str(error), before, now)
            self._tell(found, before, status, ())
            return None
        run = _Run(self._api, found, resource)
        if run.has_ended(before):
            return run.settle(now)
        try:
            ledger, version = run.ledger(before, self._image, now)
        except Refused as error:
            decision = Decision(ledger=Ledger(), halts=(Halt(reason="LedgerRefused", message=str(error)),))
            self._tell(found, before, view.status_of(run.seen(decision.ledger, now), decision, before), ())
            return RESYNC_SECONDS
        seen = run.seen(ledger, now)
        decision = decide(seen)
        refused = run.write(decision.ledger, ledger, version) or run.apply(decision)
        if refused:
            decision = decision.model_copy(update={"halts": (*decision.halts, refused)})
        status = view.status_of(seen, decision, before)
        self._tell(found, before, status, tell.events_of(before, status, seen, decision))
        again = [RESYNC_SECONDS] if not decision.outcome else []
        again += [REFUSED_AGAIN_SECONDS] if refused else []
        again += [decision.again_in] if decision.again_in is not None else []
        return min(again, default=None)

    def _tell(self, found: Object, before: Status | None, status: Status, events: tuple[tell.Event, ...]) -> None:
        metadata = found["metadata"]
        for event in events:
            log.info("%s: %s", event.reason, event.message, extra=_about((metadata["namespace"], metadata["name"])))
            try:
                self._api.post_event(metadata["namespace"], tell.manifest(event, found, self._clock()))
            except Conflict:
                continue  # told before a crash
            except (Refused, ConnectionError) as error:  # the status matters more
                log.warning("the event isn't taken: %s", error, extra=_about((metadata["namespace"], metadata["name"])))
        if view.differs(before, status):
            written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
            self._api.patch_status(found, merge_patch(found.get("status") or {}, written))


class _Run:
    """A run, as the API server has it."""

    def __init__(self, api: Api, found: Object, resource: DarwinMerge) -> None:
        metadata = found["metadata"]
        self.api, self.found, self.resource = api, found, resource
        self.namespace, self.name = metadata["namespace"], metadata["name"]
        self.owner = jobs.Owner(name=self.name, uid=metadata["uid"])
        self.about = _about((self.namespace, self.name))

    def ledger(self, before: Status | None, image: str, now: float) -> tuple[Ledger, str | None]:
        """What is remembered, and its version; lost, only what the status says: the rest is asked of the store.

        Raises:
            Refused: an object of this name is somebody else's.
        """
        name = ledger_name(self.name)
        found = self.api.ledger(self.namespace, name)
        if found and not self._owns(found):
            if not any(owner["kind"] == KIND for owner in found["metadata"].get("ownerReferences", [])):
                raise Refused(f"ConfigMap {name} isn't the operator's; remove or rename it")
            raise Conflict(f"ConfigMap {name} is of an earlier run of this name, and goes with it")
        ledger = from_data(found.get("binaryData")) if found else None
        if ledger is None and before and before.image:
            log.warning("the ledger is lost; the store is asked for what is done", extra=self.about)
            handled, active = before.last_handled_retry_at, before.active_seconds
            ledger = Ledger(active_seconds=active, active_until=now, retried_at=handled, image=before.image)
        ledger = ledger or Ledger()
        ledger = ledger.model_copy(update={"image": ledger.image or image})
        return ledger, found["metadata"]["resourceVersion"] if found else None

    def write(self, ledger: Ledger, before: Ledger, version: str | None) -> Halt | None:
        """Remember what is new; only what was looked at is replaced. Why the API server doesn't take it, if so."""
        times = {"active_seconds": before.active_seconds, "active_until": before.active_until}
        if version and ledger.model_copy(update=times) == before:
            return None
        metadata = {
            "name": ledger_name(self.name),
            "namespace": self.namespace,
            "labels": {"app.kubernetes.io/name": "darwinmerge", f"{jobs.LABEL}/experiment": self.name},
            "ownerReferences": [self.owner.reference],
            **({"resourceVersion": version} if version else {}),
        }
        data = to_data(ledger)
        try:
            self.api.write_ledger({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data})
        except Refused as error:
            return Halt(reason="LedgerRefused", message=str(error))
        return None

    def seen(self, ledger: Ledger, now: float) -> Seen:
        """The run as the cluster shows it."""
        metadata = self.found["metadata"]
        return Seen(
            experiment=self.resource.experiment(),
            policy=Policy.of(self.resource.spec.cluster),
            generation=metadata["generation"],
            retry_requested=metadata.get("annotations", {}).get(RETRY, ""),
            ledger=ledger,
            jobs=self.jobs(now),
            now=now,
        )

    def jobs(self, now: float) -> tuple[SeenJob, ...]:
        """Its Jobs, with what is in their way."""
        found = [job for job in self.api.jobs(self.namespace, self.name) if self._owns(job)]
        pods = self.api.pods(self.namespace, self.name) if found else []
        shown = seen_jobs(found, pods, {}, now)
        if any(job.hangs and now - job.waiting_since >= REFUSED_SECONDS for job in shown):
            shown = seen_jobs(found, pods, self.api.warnings(self.namespace), now)
        return shown

    def apply(self, decision: Decision) -> Halt | None:
        """Delete and create Jobs; why the API server doesn't take one, if so."""
        self._delete(decision.remove)
        cluster, ledger = self.resource.spec.cluster, decision.ledger
        image = cluster.image or ledger.image
        summaries = [result.summary for result in ledger.results.values() if isinstance(result, Done)]
        sizes = [s.father_bytes + s.mother_bytes for s in summaries if isinstance(s, ResolveSummary)]
        for start in decision.start:
            name = jobs.job_name(start, self.owner)
            try:
                manifest = jobs.job(start, self.owner, cluster, image, max(sizes, default=0))
                self.api.create_job(self.namespace, manifest)
            except Exists:
                log.info("Job %s is there already", name, extra=self.about)  # created before a crash, or by another
            except (Refused, BadConfiguration) as error:
                return Halt(reason="JobRefused", message=f"{name}: {error}")
            else:
                log.info("create Job %s", name, extra=self.about)
        return None

    def has_ended(self, before: Status | None) -> bool:
        """Whether it has ended, and nobody has changed it since."""
        ended = any(view.holds(before, kind) for kind in ("Complete", "Failed"))
        return ended and before is not None and before.observed_generation == self.found["metadata"]["generation"]

    def settle(self, now: float) -> float | None:
        """Remove old Jobs, and do nothing else: nothing sets a run going again that has ended."""
        waits: list[float] = []
        old = expired(self.jobs(now), self.resource.spec.cluster.ttl_seconds_after_finished, now, waits)
        self._delete([job.name for job in old])
        return min(waits, default=None)

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            log.info("delete Job %s", name, extra=self.about)
            self.api.delete_job(self.namespace, name)

    def _owns(self, found: Mapping[str, Any]) -> bool:
        return any(owner["uid"] == self.owner.uid for owner in found["metadata"].get("ownerReferences", []))


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


def ledger_name(run: str) -> str:
    """The ConfigMap of a run's ledger."""
    return f"{run}.ledger"  # no run's name has a dot, nor has a ConfigMap that somebody called after one


def _about(key: Key) -> dict[str, str]:
    return {"namespace": key[0], "darwinmerge": key[1]}
