"""Whatever befalls a run, it ends as if nothing had: the same child, nothing lost, nothing computed twice.

All faults strike one run, one after the other; each strikes a run of its own in the slow cases (`make faults`).
"""

from collections.abc import Callable

import pytest

from darwinmerge_operator.crd import crd
from tests.cluster.conftest import Kubernetes, until
from tests.cluster.faults import FAULTS, Fault, Scene, everything
from tests.cluster.operated import Operator, Run
from tests.integration.conftest import World

pytestmark = pytest.mark.cluster

APART = ("staged/", ".", "logs/", "costs/", "summary.", "report.", "digests/")  # replaced or dropped as a run goes on
ALONE = [pytest.param(fault, marks=pytest.mark.slow, id=fault.__name__) for fault in FAULTS]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("befalls", [pytest.param(everything, id="everything"), *ALONE])
def test_a_run_ends_as_if_nothing_had_befallen_it(
    befalls: Fault,
    kubernetes: Kubernetes,
    images: tuple[str, str],
    small_run: Callable[[str], Run],
    on_one_machine: World,
) -> None:
    run = small_run(befalls.__name__)
    operator, second = (Operator(kubernetes, run.namespace, release) for release in ("first", "second"))
    scene = Scene(kubernetes, run, operator, second, images)
    operator.install(*images)
    try:
        run.apply()
        befalls(scene)
        before = run.stored()
        run.wait("Complete")
        assert run.lasting() == on_one_machine.objects()
        written = {key: when for key, when in before.items() if not key.startswith(APART)}
        assert written.items() <= run.stored().items()
        assert until(lambda: not [job for job in run.jobs() if not job["status"].get("failed")])
        assert len([event for event in run.events() if event["reason"] == "Completed"]) == 1
    finally:
        kubernetes.apply(crd())
        run.delete()
        operator.uninstall()
