"""One look at a run, and what follows from it: observe, decide, apply, tell. All that is decided is decided elsewhere.

The order makes a crash at any point harmless: what Jobs told is in the ledger before they are deleted, and events and
status are told last, from the ledger alone. Whoever else has written in between wins, and the run is looked at again.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from darwinmerge.errors import BadConfiguration
from darwinmerge.pipeline.tasks import Done, ResolveSummary
from darwinmerge_operator import job as jobs
from darwinmerge_operator import tell, view
from darwinmerge_operator.api import Api, Conflict, Gone, Object, Refused
from darwinmerge_operator.crd import pruned
from darwinmerge_operator.decide import REFUSED_SECONDS, Decision, Halt, Policy, Seen, decide
from darwinmerge_operator.ledger import Ledger, from_data, to_data
from darwinmerge_operator.resource import GROUP, DarwinMerge, from_api
from darwinmerge_operator.seen import seen_jobs
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
        ledger, version = run.ledger(before)
        ledger = ledger.model_copy(update={"image": ledger.image or (before.image if before else "") or self._image})
        seen = run.seen(ledger, now)
        decision = decide(seen)
        if decision.ledger.model_copy(update={"active_since": ledger.active_since}) != ledger or version is None:
            run.write(decision.ledger, version)
        for name in decision.remove:
            log.info("delete Job %s", name, extra=run.about)
            self._api.delete_job(run.namespace, name)
        refused = run.start(decision)
        if refused:
            decision = decision.model_copy(update={"halts": (*decision.halts, *refused)})
        status = view.status_of(seen, decision, before)
        self._tell(found, before, status, tell.events_of(before, status, seen, decision))
        if decision.outcome:
            return decision.again_in
        again = min(RESYNC_SECONDS, REFUSED_AGAIN_SECONDS if refused else RESYNC_SECONDS)
        return again if decision.again_in is None else min(again, decision.again_in)

    def _tell(self, found: Object, before: Status | None, status: Status, events: tuple[tell.Event, ...]) -> None:
        metadata = found["metadata"]
        for event in events:
            log.info("%s: %s", event.reason, event.message, extra=_about((metadata["namespace"], metadata["name"])))
            try:
                self._api.post_event(metadata["namespace"], tell.manifest(event, found, self._clock()))
            except Conflict:
                continue  # told before a crash
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

    def ledger(self, before: Status | None) -> tuple[Ledger, str | None]:
        """What is remembered, and its version; lost, only what the status says: the rest is asked of the store."""
        found = self.api.ledger(self.namespace, _ledger_name(self.name))
        if found and not self._owns(found):
            raise Conflict(f"ConfigMap {_ledger_name(self.name)} is of an earlier run of this name")
        ledger = from_data(found.get("binaryData")) if found else None
        if ledger is None and before:
            if before.active_seconds:
                log.warning("the ledger is lost; the store is asked for what is done", extra=self.about)
            ledger = Ledger(active_seconds=before.active_seconds, retried_at=before.last_handled_retry_at)
        return ledger or Ledger(), found["metadata"]["resourceVersion"] if found else None

    def write(self, ledger: Ledger, version: str | None) -> None:
        """Remember; only what was looked at is replaced."""
        metadata = {
            "name": _ledger_name(self.name),
            "namespace": self.namespace,
            "labels": {"app.kubernetes.io/name": "darwinmerge", f"{jobs.LABEL}/experiment": self.name},
            "ownerReferences": [self.owner.reference],
            **({"resourceVersion": version} if version else {}),
        }
        data = to_data(ledger)
        self.api.write_ledger({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data})

    def seen(self, ledger: Ledger, now: float) -> Seen:
        """The run as the cluster shows it."""
        found = [job for job in self.api.jobs(self.namespace, self.name) if self._owns(job)]
        pods = self.api.pods(self.namespace, self.name) if found else []
        shown = seen_jobs(found, pods, {}, now)
        if any(not job.pods and not job.finished and now - job.created >= REFUSED_SECONDS for job in shown):
            shown = seen_jobs(found, pods, self.api.refusals(self.namespace), now)
        metadata = self.found["metadata"]
        return Seen(
            experiment=self.resource.experiment(),
            policy=Policy.of(self.resource.spec.cluster),
            generation=metadata["generation"],
            retry_requested=metadata.get("annotations", {}).get(RETRY, ""),
            ledger=ledger,
            jobs=shown,
            now=now,
        )

    def start(self, decision: Decision) -> tuple[Halt, ...]:
        """Create Jobs; why the API server takes none of them."""
        cluster, ledger = self.resource.spec.cluster, decision.ledger
        image = cluster.image or ledger.image
        summaries = [result.summary for result in ledger.results.values() if isinstance(result, Done)]
        sizes = [s.father_bytes + s.mother_bytes for s in summaries if isinstance(s, ResolveSummary)]
        for start in decision.start:
            manifest = jobs.job(start, self.owner, cluster, image, max(sizes, default=0))
            name = manifest["metadata"]["name"]
            try:
                self.api.create_job(self.namespace, manifest)
            except Conflict:
                log.info("Job %s is there already", name, extra=self.about)  # created before a crash, or by another
            except Refused as error:
                return (Halt(reason="JobRefused", message=f"{name}: {error}"),)
            else:
                log.info("create Job %s", name, extra=self.about)
        return ()

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


def _ledger_name(run: str) -> str:
    return f"{run}.ledger"  # no run's name has a dot, nor has a ConfigMap that somebody called after one


def _about(key: Key) -> dict[str, str]:
    return {"namespace": key[0], "darwinmerge": key[1]}
