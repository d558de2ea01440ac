"""One look at a run, and what follows from it: observe, decide, apply, tell. All that is decided is decided elsewhere.

The order makes a crash at any point harmless: what Jobs told is in the ledger before they are deleted, and events and
status are told last, from the ledger alone. Whoever else has written in between wins, and the run is looked at again.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from urllib3.exceptions import HTTPError

from darwinmerge import __version__
from darwinmerge.errors import BadConfiguration
from darwinmerge.pipeline.plan import Walk
from darwinmerge.pipeline.tasks import Done, ResolveSummary
from darwinmerge_operator import job as jobs
from darwinmerge_operator import tell, view
from darwinmerge_operator.api import Api, Busy, Conflict, Exists, Gone, Object, Refused
from darwinmerge_operator.crd import pruned
from darwinmerge_operator.decide import REFUSED_SECONDS, Decision, Halt, Policy, Seen, decide, expired
from darwinmerge_operator.figures import figures_of, told_of
from darwinmerge_operator.known import What
from darwinmerge_operator.ledger import Ledger, from_data, ledger_name, to_data
from darwinmerge_operator.metrics import Metrics
from darwinmerge_operator.remembered import Remembered
from darwinmerge_operator.resource import KIND, RETRY, DarwinMerge, Spec, from_api
from darwinmerge_operator.seen import SeenJob, seconds, seen_jobs, words_of
from darwinmerge_operator.serving import of_run
from darwinmerge_operator.status import Status
from darwinmerge_operator.workqueue import Postponed

RESYNC_SECONDS = 60.0  # after which an unfinished run is looked at, whatever was or wasn't heard of it
UNSERVED_SECONDS = 600.0  # after which servers that were refused for long are applied again
REFUSED_AGAIN_SECONDS = 15.0

Key = tuple[str, str]  # namespace and name
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
        run = _Run(self._api, self._remembered, found, resource, self._kueue)
        if before and run.has_ended(before):
            self._remembered.forget(run.key)
            return self._settle(run, before, now)
        try:
            ledger, version = run.ledger(before, self._image, now)
        except Refused as error:
            halt = Halt(reason="LedgerRefused", message=str(error))
            decision = Decision(ledger=_as_told(before, self._image, now), halts=(halt,))
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

    def _settle(self, run: "_Run", status: Status, now: float) -> float | None:
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
            log.info("%s: %s", event.reason, event.message, extra=_about((metadata["namespace"], metadata["name"])))
            try:
                self._api.post_event(metadata["namespace"], tell.manifest(event, found, self._clock()))
            except Conflict:
                continue  # told before a crash
            except (Refused, ConnectionError) as error:  # the status matters more
                log.warning("the event isn't taken: %s", error, extra=_about((metadata["namespace"], metadata["name"])))
        if view.differs(before, status):
            written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
            patched = self._api.patch_status(found, merge_patch(found.get("status") or {}, written))
            self._remembered.keep_run((metadata["namespace"], metadata["name"]), patched)


class _Run:
    """A run, as the API server has it."""

    def __init__(self, api: Api, remembered: Remembered, found: Object, resource: DarwinMerge, kueue: bool) -> None:
        metadata = found["metadata"]
        self.api, self.remembered, self.found, self.resource, self.kueue = api, remembered, found, resource, kueue
        self.namespace, self.name = metadata["namespace"], metadata["name"]
        self.key = (self.namespace, self.name)
        self.owner = jobs.Owner(name=self.name, uid=metadata["uid"])
        self.about = _about(self.key)
        self.from_memory = False  # whether the ledger is

    def ledger(self, before: Status | None, image: str, now: float) -> tuple[Ledger, str | None]:
        """What is remembered, and its version; lost, only what the status says: the rest is asked of the store.

        Raises:
            Refused: an object of this name is somebody else's.
        """
        name = ledger_name(self.name)
        found = self.remembered.ledger(self.key)
        self.from_memory = found is not None and self._owns(found)
        found = found if self.from_memory else self.api.ledger(self.namespace, name)
        if found and not self._owns(found):
            if not any(owner["kind"] == KIND for owner in found["metadata"].get("ownerReferences", [])):
                raise Refused(f"ConfigMap {name} isn't the operator's; remove or rename it")
            raise Conflict(f"ConfigMap {name} is of an earlier run of this name, and goes with it")
        ledger = from_data(found.get("binaryData")) if found else None
        if ledger is None and before and before.image:
            log.warning("the ledger is lost; the store is asked for what is done", extra=self.about)
        if found and not self.from_memory:
            self.remembered.keep_ledger(self.key, found)
        return ledger or _as_told(before, image, now), found["metadata"]["resourceVersion"] if found else None

    def differs(self, ledger: Ledger, before: Ledger, version: str | None) -> bool:
        """Whether a ledger is worth writing: whether there is none, or more has changed than time."""
        times = {name: getattr(before, name) for name in ("active_seconds", "active_until", "gpu_seconds")}
        return not version or ledger.model_copy(update=times) != before

    def write(self, ledger: Ledger, version: str | None) -> Halt | None:
        """Remember what is new; only what was looked at is replaced. Why the API server doesn't take it, if so."""
        metadata = {
            "name": ledger_name(self.name),
            "namespace": self.namespace,
            "labels": {"app.kubernetes.io/name": "darwinmerge", f"{jobs.LABEL}/experiment": self.name},
            "ownerReferences": [self.owner.reference],
            **({"resourceVersion": version} if version else {}),
        }
        data = to_data(ledger)
        try:
            written = self.api.write_ledger(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data}
            )
        except Refused as error:
            return Halt(reason="LedgerRefused", message=str(error))
        self.remembered.keep_ledger(self.key, written)
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
        held = view.in_queue(shown)
        if not self.kueue or held is None or now - held.created < REFUSED_SECONDS:
            return shown
        try:
            workloads = self.api.workloads(self.namespace, held.uid)
        except (Refused, ConnectionError) as error:  # nothing but words depends on it
            log.warning("Kueue doesn't say why it holds %s: %s", held.name, error, extra=self.about)
            return shown
        told = held.model_copy(update={"queue": words_of(workloads)})
        return tuple(told if job is held else job for job in shown)

    def apply(self, decision: Decision) -> Halt | None:
        """Delete and create Jobs; why the API server doesn't take one, if so."""
        self.delete(decision.remove)
        cluster, ledger = self.resource.spec.cluster, decision.ledger
        image = cluster.image or ledger.image
        summaries = [result.summary for result in ledger.results.values() if isinstance(result, Done)]
        sizes = [s.father_bytes + s.mother_bytes + s.base_bytes for s in summaries if isinstance(s, ResolveSummary)]
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

    def serve(self, walked: Walk) -> What | None:
        """Serve the child of a run that has ended: whether that is done; None where there is nothing to serve."""
        manifests = of_run(self.resource, self.owner, walked)
        try:
            for manifest in manifests:
                stands = self.api.stands(self.namespace, manifest)
                if stands and not self._owns(stands):
                    place = f"{manifest['kind']} {manifest['metadata']['name']}"
                    return "False", "Refused", f"{place} isn't this run's; remove it, or give the run another name"
                self.api.apply(self.namespace, manifest)
        except (Refused, Gone) as error:
            return "False", "Refused", str(error)
        names = " and ".join(f"{manifest['kind']} {manifest['metadata']['name']}" for manifest in manifests)
        return ("True", "Applied", f"by {names}") if names else None

    def has_ended(self, before: Status | None) -> bool:
        """Whether it has ended, and nobody has changed it since."""
        ended = any(view.holds(before, kind) for kind in ("Complete", "Failed"))
        return ended and before is not None and before.observed_generation == self.found["metadata"]["generation"]

    def stored(self) -> Ledger | None:
        """What is remembered, if anything is."""
        found = self.api.ledger(self.namespace, ledger_name(self.name))
        return from_data(found.get("binaryData")) if found and self._owns(found) else None

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            log.info("delete Job %s", name, extra=self.about)
            self.api.delete_job(self.namespace, name)

    def _owns(self, found: Mapping[str, Any]) -> bool:
        return any(owner["uid"] == self.owner.uid for owner in found["metadata"].get("ownerReferences", []))


def _as_told(before: Status | None, image: str, now: float) -> Ledger:
    """What a status says of a ledger that isn't there, or can't be had; without a status, that of a run that begins."""
    if before is None or not before.image:
        return Ledger(image=image)
    handled, active = before.last_handled_retry_at, before.active_seconds
    return Ledger(active_seconds=active, active_until=now, retried_at=handled, image=before.image)


def _serving_due(status: Status, now: float) -> list[float]:
    """Seconds after which servers that are refused are applied again: the longer they have been, the more."""
    found = view.condition(status, "Served")
    if not found or found.status == "True":
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


def _about(key: Key) -> dict[str, str]:
    return {"namespace": key[0], "darwinmerge": key[1]}
