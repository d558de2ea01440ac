"""The examples that belong together say the same."""

from pathlib import Path

import yaml

from darwinmerge.experiment.experiment import science_of
from darwinmerge.experiment.load import load
from darwinmerge_operator.resource import from_api

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_for_a_cluster_is_the_experiment_of_the_one_for_a_laptop() -> None:
    here = load(EXAMPLES / "smollm2.yaml")
    there = from_api(yaml.safe_load((EXAMPLES / "smollm2-cluster.yaml").read_text()))
    assert there.metadata.name == here.metadata.name
    assert science_of(there.experiment().spec) == science_of(here.spec)
