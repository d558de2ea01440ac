"""The operator at scale: 10, 100, 200 and 1,000 experiments at once, on nodes and workers that are pretended.

A real API server, real controllers and the real operator, in a process of its own; but Pods are played by KWOK, with
`scale_stages.yaml`, since no machine runs thousands. What is measured is the operator and what it asks of the API
server, never a worker. KUBECONFIG names the cluster; its pretended nodes have the taint `kwok.x-k8s.io/node`.

Experiments of the curve start where two candidates each are due, since all that comes before is the same few Jobs:
their ledgers are written first. Their exports never end, so that all of them are there, each with a Job, at the end.
"""

import argparse
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT, Goal, commit, load, machine, versions
from kubernetes import client, config
from scale_runs import IMAGE, Json, Kind, Notes, Operator

sys.path.insert(0, str(ROOT))

from darwinmerge.pipeline.plan import plan
from darwinmerge.pipeline.results import Result
from darwinmerge.pipeline.tasks import candidate_of
from darwinmerge_operator import job as jobs
from darwinmerge_operator.api import Api
from darwinmerge_operator.crd import crd
from darwinmerge_operator.ledger import Ledger, to_data
from darwinmerge_operator.resource import GROUP, PLURAL, VERSION, from_api
from tests.unit.plan_world import World

LIVE = 200  # experiments, of which the time from event to Job has a goal
PACES = (("15s", "30s"), ("40s", "80s"))  # that a candidate takes, at least and at most; of other counts, the last


def prepare(api: client.ApiClient, namespace: str, kinds: Sequence[Kind]) -> None:
    """Create experiments, and the ledgers of those that aren't to start from nothing."""
    ask, requests = client.CustomObjectsApi(api), Api(api)
    client.CoreV1Api(api).create_namespace({"metadata": {"name": namespace}})
    for kind in kinds:
        for name in kind.names():
            made = ask.create_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, kind.manifest(name, namespace)
            )
            if kind.seeded:
                requests.write_ledger(_ledger(made))


def _ledger(made: Json) -> Json:
    """The ledger of an experiment whose first candidates are due."""
    x, world = from_api(made).experiment(), World()
    results: dict[str, Result] = {}
    ready = plan(x, results).ready
    while not any(candidate_of(task.inputs) for task in ready):
        results.update({task.id: world.answer(task) for task in ready})
        ready = plan(x, results).ready
    name, namespace = made["metadata"]["name"], made["metadata"]["namespace"]
    metadata = {
        "name": f"{name}.ledger",
        "namespace": namespace,
        "labels": {"app.kubernetes.io/name": "darwinmerge", f"{jobs.LABEL}/experiment": name},
        "ownerReferences": [jobs.Owner(name=name, uid=made["metadata"]["uid"]).reference],
    }
    data = to_data(Ledger(results=results, recalling=False, image=IMAGE, generation=1))
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data}


def curve(api: client.ApiClient, kind: Kind, folder: Path) -> Json:
    """All of one size: from the operator's start to the last candidate, and a second start with all of it there."""
    namespace = f"darwin-scale-{secrets.token_hex(3)}"
    say(f"{kind.count} experiments: creating them in {namespace}")
    prepare(api, namespace, [kind])
    total = kind.count * kind.candidates
    before, busy = load(), _busy()
    operator = Operator(namespace, folder)

    def all_done(notes: Notes) -> bool:
        return sum(map(len, notes.candidates().values())) >= total

    operator.until(all_done, 600 + total)
    used = _busy() - busy
    operator.until(lambda notes: _jobs(notes) >= total + 2 * kind.count, 600)  # reports and exports
    operator.until(Notes.calm, 600)  # what is told and removed after the last one
    notes = operator.stop()
    say(f"{kind.count} experiments: starting the operator again")
    again = Operator(namespace, folder)
    again.until(lambda notes: len({line["look"] for line in notes.of() if "look" in line}) >= kind.count, 300)
    time.sleep(6)
    second = again.stop()
    found = _curve(kind, operator.started, notes) | {
        "restart_seconds": round(_when_all_looked_at(second, kind.count) - again.started, 1),
        "restart_writes": sum(second.writes(kind.names()).values()),
        "restart_peak_bytes": max(line["peak"] for line in second.lines if "peak" in line),
        "load_before": before,
        "machine_cpu_seconds": round(used, 1),  # of all its programs, until the last candidate was told of
        **_sizes(api, namespace),
    }
    client.CoreV1Api(api).delete_namespace(namespace)
    return found


def _curve(kind: Kind, started: float, notes: Notes) -> Json:
    names = kind.names()
    done = notes.candidates()
    times = sorted(when for those in done.values() for when in those)
    half = times[len(times) // 2]
    at_half = Counter(sum(when <= half for when in done.get(name, ())) for name in names)
    created = notes.of(verb="POST", kind="jobs", fate="answered")
    first: dict[str, float] = {}
    for line in created:
        first.setdefault(line["run"], line["at"])
    # the first Job of each follows from the start, not from an event
    waits = sorted(line["since"] for line in created if "since" in line and line["at"] > max(first.values()))
    process = [line for line in notes.lines if "rss" in line]
    looks = [line for line in notes.lines if "look" in line]
    writes = notes.writes(names)
    requests = sum("verb" in line for line in notes.lines)
    return {
        "experiments": kind.count,
        "candidates": kind.count * kind.candidates,
        "candidate_takes": f"{kind.seconds} to {kind.at_most}",
        "seconds": round(times[-1] - started, 1),
        "start_seconds": round(max(first.values()) - started, 1),
        "jobs": len(created),
        "event_to_job_p50": _quantile(waits, 0.5),
        "event_to_job_p99": _quantile(waits, 0.99),
        "event_to_job_n": len(waits),
        "done_at_half": {str(number): at_half[number] for number in sorted(at_half)},
        "looks": len(looks),
        "look_p50": _quantile(sorted(line["seconds"] for line in looks), 0.5),
        "look_p99": _quantile(sorted(line["seconds"] for line in looks), 0.99),
        "requests": requests,
        "writes": dict(writes.most_common()),
        "writes_a_run": round(sum(writes.values()) / kind.count, 2),
        "conflicts": len(notes.of(fate="Conflict")),
        "cpu_seconds": round(max(line["cpu"] for line in process), 1),
        "rss_bytes": process[-1]["rss"],
        "peak_bytes": max(line["peak"] for line in process),
    }


def writes_a_candidate(api: client.ApiClient, folder: Path) -> Json:
    """What one candidate more costs: runs of 2 and of 8 candidates side by side; and a whole run, from nothing."""
    namespace, many = f"darwin-scale-{secrets.token_hex(3)}", 6
    short: dict[str, Any] = {"seconds": "3s", "at_most": "4s"}
    kinds = [
        Kind("two", many, 2, 1, **short),
        Kind("eight", many, 8, 1, **short),
        Kind("two-four", many, 2, 4, **short),
        Kind("eight-four", many, 8, 4, **short),
        Kind("whole", many, 2, 1, seeded=False, **short),
    ]
    say(f"{len(kinds)} times {many} experiments for the writes a candidate")
    prepare(api, namespace, kinds)
    operator = Operator(namespace, folder)
    exports = {name for kind in kinds if kind.seeded for name in kind.names()}

    def ended(notes: Notes) -> bool:
        done = notes.candidates()
        scored = all(len(done.get(name, ())) >= kind.candidates for kind in kinds for name in kind.names())
        runs = client.CustomObjectsApi(api).list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL)["items"]
        over = [run for run in runs if (run.get("status") or {}).get("phase") == "Complete"]
        return scored and len(over) >= len(runs) - len(exports)

    operator.until(ended, 600)
    time.sleep(5)
    notes = operator.stop()
    client.CoreV1Api(api).delete_namespace(namespace)
    total = {kind.prefix: sum(notes.writes(kind.names()).values()) / many for kind in kinds}
    return {
        "one_by_one": round((total["eight"] - total["two"]) / 6, 2),
        "four_at_once": round((total["eight-four"] - total["two-four"]) / 6, 2),
        "whole_run": round(total["whole"], 1),
        "whole_run_jobs": sum("whole" in line["run"] for line in notes.of(verb="POST", kind="jobs")) / many,
        "by_kind_eight": {kind: round(n / many, 2) for kind, n in notes.writes(kinds[1].names()).most_common()},
    }


def _busy() -> float:
    """Seconds that this machine's processors have worked, for whatever program, since it was started."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _jobs(notes: Notes) -> int:
    return len(notes.of(verb="POST", kind="jobs", fate="answered"))


def _when_all_looked_at(notes: Notes, count: int) -> float:
    seen: set[str] = set()
    for line in notes.lines:
        if "look" in line:
            seen.add(line["look"])
            if len(seen) == count:
                return float(line["at"])
    return float("inf")


def _sizes(api: client.ApiClient, namespace: str) -> Json:
    """Bytes of ledgers, as they lie there, and of statuses as JSON."""
    kept = client.CoreV1Api(api).list_namespaced_config_map(namespace, label_selector=f"{jobs.LABEL}/experiment").items
    runs = client.CustomObjectsApi(api).list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL)["items"]
    ledgers = [sum(map(len, (one.binary_data or {}).values())) for one in kept]
    statuses = [len(json.dumps(run.get("status") or {}, separators=(",", ":"))) for run in runs]
    return {"ledger_bytes": statistics.median(ledgers), "status_bytes": statistics.median(statuses)}


def _quantile(values: Sequence[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(share * len(values)))], 3) if values else float("nan")


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def connect() -> client.ApiClient:
    """The cluster of KUBECONFIG, with our CRD; exits where it has no pretended nodes."""
    if not os.environ.get("KUBECONFIG"):
        sys.exit("KUBECONFIG is not set: it names a cluster with pretended nodes (kwok.sigs.k8s.io), see README.md")
    api = config.new_client_from_config()
    nodes = client.CoreV1Api(api).list_node().items
    if not any("kwok.x-k8s.io/node" in (node.metadata.annotations or {}) for node in nodes):
        sys.exit("the cluster has no pretended nodes: run KWOK there, with --config benchmarks/scale_stages.yaml")
    definitions = client.ApiextensionsV1Api(api)
    if crd()["metadata"]["name"] not in [
        one.metadata.name for one in definitions.list_custom_resource_definition().items
    ]:
        definitions.create_custom_resource_definition(crd())
        time.sleep(3)  # until it is served
    return api


def goals(found: Json) -> list[Goal]:
    """What was set out for, and what was reached."""
    by = {one["experiments"]: one for one in found["curve"]}
    reached = [Goal("API writes, one candidate more", found["writes"]["one_by_one"], "at most", 4)]
    reached.append(Goal("the same, four at once", found["writes"]["four_at_once"], "at most", 4))
    for one in (one for one in found["curve"] if one["experiments"] == LIVE):
        what = f"event to Job, {LIVE} live, {one['candidate_takes']}"
        reached.append(Goal(f"{what}, p50, s", one["event_to_job_p50"]))
        reached.append(Goal(f"{what}, p99, s", one["event_to_job_p99"], "at most", 2))
    if thousand := by.get(1000):
        reached.append(Goal("start, 1,000 with a Job due each, s", thousand["start_seconds"]))
        reached.append(Goal("start, 1,000 under way, s", thousand["restart_seconds"], "at most", 30))
        most = max(thousand["peak_bytes"], thousand["restart_peak_bytes"])
        reached.append(Goal("memory, 1,000, peak, MB", most / 1e6, "at most", 300))
    return reached


def main() -> None:
    """Measure, and keep it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 200, 1000], help="experiments at once")
    parser.add_argument("--out", type=Path, default=RESULTS / "scale.json", help="where the result goes, as JSON")
    given = parser.parse_args()
    api, before = connect(), load()
    with tempfile.TemporaryDirectory() as folder:
        writes = writes_a_candidate(api, Path(folder))
        print(json.dumps(writes, indent=1))
        sizes = []
        paces = [(count, pace) for count in given.sizes for pace in (PACES if count == LIVE else PACES[-1:])]
        for count, (seconds, at_most) in paces:
            kind = Kind(f"of-{count}-{seconds}", count, seconds=seconds, at_most=at_most)
            sizes.append(curve(api, kind, Path(folder)))
            print(json.dumps(sizes[-1], indent=1), flush=True)
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions("darwinmerge", "kopf", "kubernetes"),
        "kubernetes": client.VersionApi(api).get_code().git_version,
        "load": {"before": before, "after": load()},
        "writes": writes,
        "curve": sizes,
    }
    found["goals"] = [{**goal.__dict__, "met": goal.met} for goal in goals(found)]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["goals"], indent=1))


if __name__ == "__main__":
    main()
