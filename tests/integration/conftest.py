"""A small real world: the tiny Qwen3.5 pair, two of its skills as lm-eval tasks, and one undisturbed run of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from darwinmerge.store import Store, open_store
from darwinmerge.store.layout import CHILD_RUN
from tests.hub import Hub, hub

SKILLS = ("skill_a", "skill_b")
TIMES_AND_PLACES = (
    "costs/",
    "commits/",
    "digests/",
    "logs/",
    "experiment.json",
    "run.json",
    "summary.",
    "report.",
)  # they differ from run to run


@dataclass(frozen=True)
class World:
    """A folder with a manifest whose store is `store` in it."""

    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder / "merge.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def objects(self) -> dict[str, bytes]:
        """What its store holds; see `lasting`."""
        return lasting(open_store(str(self.store)))

    def edit(self, *path: str, value: object) -> None:
        """Set a field of the manifest's spec."""
        document = yaml.safe_load(self.manifest.read_text())
        place = document["spec"]
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
        self.manifest.write_text(yaml.safe_dump(document, sort_keys=False))


def lasting(store: Store) -> dict[str, bytes]:
    """What must be equal between two runs of one experiment, byte for byte."""
    keys = [stat.key for stat in store.list("")]
    return {
        key: store.read(key) for key in keys if not key.startswith(TIMES_AND_PLACES) and not key.endswith(CHILD_RUN)
    }


def darwin(*arguments: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the `darwin` command as a user would."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=timeout, check=False)


def command(*arguments: str | Path) -> list[str]:
    """The command line of `darwin`."""
    return [str(Path(sys.executable).with_name("darwin")), *map(str, arguments)]


def make_world(folder: Path, material: Path) -> World:
    """A manifest for the tiny pair in `folder`: two generations of three children."""
    pair = material / "parents" / "tiny-qwen35"
    (folder / "tasks").mkdir(parents=True)
    for skill in SKILLS:
        shutil.copy(pair / f"{skill}.jsonl", folder / "tasks")
        task = {
            "task": skill,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": f"{skill}.jsonl"}},
            "output_type": "multiple_choice",
            "test_split": "test",
            "doc_to_text": "text",
            "doc_to_target": "gold",
            "doc_to_choice": "choices",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1.0},
        }
        (folder / "tasks" / f"{skill}.yaml").write_text(yaml.safe_dump(task))
    rows = {"search": {"rows": 64}, "verdict": {"rows": 150}}
    spec = {
        "parents": {who: {"uri": str(pair / who)} for who in ("father", "mother")},
        "search": {"steps": 40},
        "evolution": {"steps": 2, "candidates": 3},
        "evaluation": {
            "taskFolder": "tasks",
            "chunk": 32,
            "threads": 1,
            "finalists": 2,
            "tasks": [{"name": skill, **rows} for skill in SKILLS],
        },
        "store": {"uri": "store"},
        "seed": 1,
    }
    document = {
        "apiVersion": "darwinmerge.io/v1alpha1",
        "kind": "DarwinMerge",
        "metadata": {"name": "tiny"},
        "spec": spec,
    }
    world = World(folder)
    world.manifest.write_text(yaml.safe_dump(document, sort_keys=False))
    return world


@pytest.fixture
def world(tmp_path: Path, material: Path) -> World:
    """A manifest that nobody has run yet."""
    return make_world(tmp_path / "world", material)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, material: Path) -> World:
    """A run that nothing disturbed; tests look at it and don't change it."""
    world = make_world(tmp_path_factory.mktemp("undisturbed") / "world", material)
    run = darwin("run", world.manifest)
    assert run.returncode == 0, run.stdout + run.stderr
    (world.folder / "stdout").write_text(run.stdout)
    return world


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may go online, and nothing needs to."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setitem(os.environ, name, "1")


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """An empty hub that this process and those that it starts find by their environment."""
    from huggingface_hub import constants

    with hub() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.endpoint)
        monkeypatch.setattr(constants, "ENDPOINT", found.endpoint)
        template = found.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield found
