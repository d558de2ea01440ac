"""Whatever befalls a run, it ends as if nothing had: the same child, nothing lost, nothing computed twice.

All faults strike one run, one after the other; each strikes a run of its own in the slow cases (`make faults`).
"""

from typing import Any

import pytest

from darwinmerge_operator.crd import crd
from tests.cluster.conftest import Kubernetes, until
from tests.cluster.faults import FAULTS, Fault, Scene, everything, replace
from tests.cluster.operated import Operator, Run, document
from tests.integration.conftest import World
from tests.s3 import S3

pytestmark = pytest.mark.cluster

APART = ("staged/", ".", "logs/", "costs/", "summary.", "digests/")  # replaced or dropped as a run goes on
ALONE = [pytest.param(fault, marks=pytest.mark.slow, id=fault.__name__) for fault in FAULTS]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("befalls", [pytest.param(everything, id="everything"), *ALONE])
def test_a_run_ends_as_if_nothing_had_befallen_it(
    befalls: Fault,
    kubernetes: Kubernetes,
    merges: Any,
    furnished: str,
    worker_image: str,
    operator_image: str,
    small_world: World,
    on_one_machine: World,
    parents_in_s3: S3,
) -> None:
    images = (operator_image, worker_image)
    operator, second = Operator(kubernetes, furnished, "first"), Operator(kubernetes, furnished, "second")
    run = Run(kubernetes, furnished, parents_in_s3, document(small_world, parents_in_s3, befalls.__name__))
    scene = Scene(kubernetes, run, operator, second, images)
    operator.install(*images)
    try:
        run.apply()
        befalls(scene)
        before = run.stored()
        run.wait("Complete")
        assert run.lasting() == on_one_machine.objects()
        after = run.stored()
        assert {key: after.get(key) for key in before if not key.startswith(APART)} == {
            key: written for key, written in before.items() if not key.startswith(APART)
        }
        assert until(lambda: not [job for job in run.jobs() if not job["status"].get("failed")])
        assert len([event for event in run.events() if event["reason"] == "Completed"]) == 1
    finally:
        replace(kubernetes.of("CustomResourceDefinition"), crd())
        run.delete()
        operator.uninstall()
