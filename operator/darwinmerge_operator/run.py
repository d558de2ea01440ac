"""One DarwinMerge as the API server has it: what is read of it, and what is written."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from darwinmerge.errors import BadConfiguration
from darwinmerge.pipeline.known import Walk
from darwinmerge.pipeline.results import Done, ResolveSummary
from darwinmerge_operator import job as jobs
from darwinmerge_operator import view
from darwinmerge_operator.api import Api, Conflict, Exists, Gone, Key, Object, Refused
from darwinmerge_operator.decision import Decision, Halt, Policy, Seen
from darwinmerge_operator.known import What
from darwinmerge_operator.ledger import Ledger, from_data, ledger_name, to_data
from darwinmerge_operator.remembered import Remembered
from darwinmerge_operator.resource import KIND, RETRY, DarwinMerge
from darwinmerge_operator.seen import SeenJob, seen_jobs, words_of
from darwinmerge_operator.serving import kept_back, of_run
from darwinmerge_operator.status import Status
from darwinmerge_operator.waits import REFUSED_SECONDS

log = logging.getLogger(__name__)


class Run:
    """A run, as the API server has it."""

    def __init__(self, api: Api, remembered: Remembered, found: Object, resource: DarwinMerge, kueue: bool) -> None:
        metadata = found["metadata"]
        self.api, self.remembered, self.found, self.resource, self.kueue = api, remembered, found, resource, kueue
        self.namespace, self.name = metadata["namespace"], metadata["name"]
        self.key = (self.namespace, self.name)
        self.owner = jobs.Owner(name=self.name, uid=metadata["uid"])
        self.about = about(self.key)
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
        return ledger or as_told(before, image, now), found["metadata"]["resourceVersion"] if found else None

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
        if why := kept_back(self.resource, walked):
            return "False", "Withheld", why
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
        """Delete Jobs by name; one that is gone is as good."""
        for name in names:
            log.info("delete Job %s", name, extra=self.about)
            self.api.delete_job(self.namespace, name)

    def _owns(self, found: Mapping[str, Any]) -> bool:
        return any(owner["uid"] == self.owner.uid for owner in found["metadata"].get("ownerReferences", []))


def as_told(before: Status | None, image: str, now: float) -> Ledger:
    """What a status says of a ledger that isn't there, or can't be had; without a status, that of a run that begins."""
    if before is None or not before.image:
        return Ledger(image=image)
    handled, active = before.last_handled_retry_at, before.active_seconds
    return Ledger(active_seconds=active, active_until=now, retried_at=handled, image=before.image)


def about(key: Key) -> dict[str, str]:
    """The fields of a log line that is about a run."""
    return {"namespace": key[0], "darwinmerge": key[1]}
