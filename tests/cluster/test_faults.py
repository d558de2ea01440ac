"""Whatever befalls a run, it ends as if nothing had: the same child, nothing lost, nothing computed twice.

What befalls Pods, operators and the store strikes one run, one after the other. Each of these faults, and those that
last longest (twenty suspensions, the API server or the node away), has a run of its own in the slow cases (`make
faults`). Whatever it was, nobody storms the API server, and no secret stands in what anybody could have read meanwhile.
"""

from collections.abc import Callable

import pytest

from darwinmerge_operator.crd import crd
from tests.cluster.conftest import Kubernetes, until
from tests.cluster.faults import FAULTS, TWO_OPERATORS, Fault, Scene, everything, out_of_memory, suspended_often
from tests.cluster.operated import Operator, Run, computed_twice, storing
from tests.cluster.outcomes import MOST_IN_A_MINUTE, Asked
from tests.cluster.overheard import overheard
from tests.integration.conftest import World

pytestmark = pytest.mark.cluster

APART = ("staged/", ".", "logs/", "costs/", "summary.", "report.", "digests/")  # replaced or dropped as a run goes on
LONG = (everything, out_of_memory, suspended_often)  # which need Jobs to come: one for each model
ALONE = [pytest.param(fault, marks=pytest.mark.slow, id=fault.__name__) for fault in FAULTS]


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("befalls", [pytest.param(everything, id="everything"), *ALONE])
def test_a_run_ends_as_if_nothing_had_befallen_it(
    befalls: Fault,
    kubernetes: Kubernetes,
    images: tuple[str, str],
    small_run: Callable[[str], Run],
    on_one_machine: World,
    record_property: Callable[[str, object], None],
) -> None:
    run = small_run(befalls.__name__)
    run.document["spec"]["cluster"]["candidatesPerJob"] = 1 if befalls in LONG else 4
    operator, second = (Operator(kubernetes, run.namespace, release) for release in ("first", "second"))
    scene = Scene(kubernetes, run, operator, second, images)
    asked = Asked(run.namespace)
    operator.install(*images)
    try:
        with storing(run) as store, overheard(kubernetes, run.namespace) as heard:
            run.apply()
            befalls(scene)
            scene.keep()
            run.wait("Complete")
        for counted in (*asked.counted().items(), *scene.told.items()):
            record_property(*counted)
        assert run.lasting() == on_one_machine.objects()
        written = {key: when for key, when in scene.kept.items() if not key.startswith(APART)}
        assert written.items() <= run.stored().items(), "what was stored stays as it was"
        assert computed_twice(run, store) == []
        assert until(lambda: not [job for job in run.jobs() if not job["status"].get("failed")])
        assert len([event for event in run.events() if event["reason"] == "Completed"]) == 1
        assert asked.most is None or asked.most <= MOST_IN_A_MINUTE * (2 if befalls in TWO_OPERATORS else 1)
        heard.assert_no_secret(run)
    finally:
        kubernetes.apply(crd())
        run.delete()
        operator.uninstall()
