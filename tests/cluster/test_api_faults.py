"""Whatever the API server answers, a run ends as if nothing had been, and nobody storms a server that is in trouble.

The operator runs as a process of this machine, with a proxy between it and the API server. One run meets every fault in
every sort of request, and each kind of fault has a run of its own; the table of faults names the stages that had a Job
when one struck. All of them are slow (`make faults`).
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from darwinmerge_operator.job import LABEL
from tests.cluster.api_proxy import ApiProxy, Cut, Expire, Lose, Rule, Say, Slow, api_proxy
from tests.cluster.conftest import until
from tests.cluster.faults import STAGES
from tests.cluster.operated import Run
from tests.cluster.outcomes import MOST_IN_A_MINUTE
from tests.cluster.overheard import overheard
from tests.integration.conftest import World
from tests.s3 import free_ports

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

PATIENCE = 1200  # seconds: every fault costs time
OFTEN = 0.06  # a look at a run is some ten requests, so that about every second meets a fault
WRITES, READS, WATCHES = "^(POST|PUT|PATCH|DELETE) ", "^GET (?!.*watch=)", "watch=true"
ANSWERS = (Say(429, 1), Say(500), Say(503), Say(503, 1), Slow(1.0), Cut(), Lose())
FAULTS: dict[str, tuple[Rule, ...]] = {
    "nothing": (),
    "conflict": (Rule(WRITES, (Say(409),), 0.4),),
    "too-many-requests": (Rule("", (Say(429, 2), Say(429)), OFTEN),),
    "internal-error": (Rule("", (Say(500),), OFTEN),),
    "unavailable": (Rule("", (Say(503), Say(503, 1)), OFTEN),),
    "slow": (Rule("", (Slow(2.0),), 0.5),),
    "cut": (Rule(WRITES, (Cut(),), OFTEN), Rule(READS, (Cut(),), OFTEN)),
    "lost-answers": (Rule(WRITES, (Lose(),), 0.4),),
    "watches-cut-at-once": (Rule(WATCHES, (Cut(),)),),
    "watches-cut-soon": (Rule(WATCHES, (Cut(2.0),)),),
    "watches-refused-with-410": (Rule(WATCHES, (Say(410),)),),
    "watches-that-begin-with-410": (Rule(WATCHES, (Expire(),)),),
    "watches-unavailable": (Rule(WATCHES, (Say(503), Say(500))),),
}
EVERYTHING = (
    Rule(WATCHES, (Say(410), Cut(5.0), Expire(), Say(503)), every=3),
    Rule(READS, ANSWERS, every=8),
    Rule(WRITES, (Say(409), *ANSWERS), every=8),
)
ALONE = [pytest.param(rules, id=name) for name, rules in FAULTS.items()]


@contextmanager
def operator(proxy: ApiProxy, run: Run, worker_image: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The operator as a process, whose API server is the proxy; it says what it does in `folder`/log."""
    (folder / "kubeconfig").write_text(json.dumps(proxy.kubeconfig()))
    command = [sys.executable, "-m", "darwinmerge_operator.main", f"--worker-image={worker_image}"]
    command += [f"--namespace={run.namespace}", f"--port={free_ports(1)[0]}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, "KUBECONFIG": str(folder / "kubeconfig")}, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("rules", [pytest.param(EVERYTHING, id="everything"), *ALONE])
def test_a_run_ends_as_if_the_api_server_had_always_answered(
    rules: tuple[Rule, ...],
    small_run: Callable[[str], Run],
    on_one_machine: World,
    worker_image: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    fault = request.node.callspec.id
    run = small_run(f"api-{fault}")
    attempts: set[str] = set()
    stages: set[str] = set()  # that had a Job when a fault struck
    struck = 0

    def over() -> bool:
        nonlocal struck
        labels = [job["metadata"]["labels"] for job in run.jobs()]
        attempts.update(label[f"{LABEL}/attempt"] for label in labels)
        if len(proxy.struck) > struck:
            struck = len(proxy.struck)
            stages.update(label[f"{LABEL}/stage"] for label in labels)
        return bool(run.condition("Complete") or run.condition("Failed") or process.poll())

    try:
        with api_proxy() as proxy, overheard(run.kubernetes, run.namespace) as heard:
            proxy.rules = rules
            run.apply()
            with operator(proxy, run, worker_image, tmp_path) as process:
                until(over, PATIENCE, 0.3)
                assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
        most = proxy.most_in_a_minute()
        counted = {"requests": len(proxy.asked), "most": most, "struck": len(proxy.struck)}
        for told in {**counted, "told": f"in {', '.join(sorted(stages))}" if stages else ""}.items():
            record_property(*told)
        heard.texts["log: operator"] = (tmp_path / "log").read_bytes()
        assert run.condition("Complete")
        assert run.lasting() == on_one_machine.objects()
        assert attempts == {"1"}  # nothing was computed twice, or given up
        assert most <= MOST_IN_A_MINUTE
        assert bool(proxy.struck) == bool(rules)
        assert fault != "slow" or stages >= STAGES, "half of all requests are befallen: no stage is without"
        assert b"reconcile failed" not in heard.texts["log: operator"]  # a server in trouble is no defect of ours
        heard.assert_no_secret(run)
    finally:
        run.delete()
