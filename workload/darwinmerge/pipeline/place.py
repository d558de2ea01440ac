"""What a stage finds at hand: the parents, the store, what earlier tasks left in it, and a way to say how far it is.

Kept between tasks, so that a worker opens its parents, its benchmark and its model once.
"""

import hashlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from darwinmerge import hub
from darwinmerge.checkpoint.commits import settled
from darwinmerge.checkpoint.digests import Digests
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.checkpoint.pair import aligned, aligned_base
from darwinmerge.errors import BadInput, Interrupted
from darwinmerge.experiment.experiment import SIDES, Bindings, Who
from darwinmerge.merge.recipe import Mixing, Pins, Recipe, child_recipe, linear_recipe
from darwinmerge.mri.table import TensorRow, from_parquet
from darwinmerge.pipeline.tasks import ChildModel, LinearModel, Model, Terms
from darwinmerge.search.genome import Genome
from darwinmerge.store import Ref, Store, fetch, layout

if TYPE_CHECKING:
    from darwinmerge.evaluation.foldered import Foldered
    from darwinmerge.evaluation.harness import Benchmark
    from darwinmerge.evaluation.questions import Prompting
    from darwinmerge.evaluation.resident import Resident

Tell = Callable[[int, int], None]  # done, of


def opened(parent: tuple[str, str], store: Store) -> ModelFolder:
    """A parent or the base, as `Bindings.parent` has it, at the commits of the store's experiment.

    Raises:
        DarwinError: see `open_model`.
    """
    uri, base = parent
    return open_model(settled(uri, store), Digests(store), base, partial(settled, store=store))


class Place:
    """The world of one worker."""

    def __init__(self, where: Bindings, store: Store, stop: threading.Event, tell: Tell) -> None:
        """A place for tasks of one experiment; `tell` hears of progress, `stop` asks for an end."""
        self.where, self.store, self._stop, self.tell = where, store, stop, tell
        self._parents: tuple[ModelFolder, ModelFolder] | None = None
        self._base: ModelFolder | None = None
        self._tables: dict[str, tuple[TensorRow, ...]] = {}
        self._benchmark: Benchmark | None = None
        self._resident: tuple[Terms, Resident] | None = None
        self._foldered: Foldered | None = None
        self._prompting: Prompting | None = None

    def pause(self) -> None:
        """A point between two pieces of work, where a stage can stop with nothing lost.

        Raises:
            Interrupted: somebody asked for it.
        """
        if self._stop.is_set():
            raise Interrupted("stopped between two pieces of work; the same command goes on from here")

    def step(self, done: int, total: int) -> None:
        """Tell how far a stage is, between two pieces of its work; see `pause`."""
        self.tell(done, total)
        self.pause()

    def parents(self) -> tuple[ModelFolder, ModelFolder]:
        """Father and Mother, opened once, their tensors by Father's names."""
        if self._parents is None:
            self._parents = aligned(self._opened("father"), self._opened("mother"))
        return self._parents

    def base(self) -> ModelFolder | None:
        """The base, if there is one, opened once, its tensors by Father's names."""
        if self._base is None and self.where.base:
            self._base = aligned_base(self._opened("base"), *self.parents())
        return self._base

    def sources(self, pins: Pins) -> tuple[ModelFolder, ...]:
        """All that a merge reads: Father, Mother and, if there is one, the base, unchanged since the run began.

        Raises:
            BadInput: one of them has changed since.
        """
        base = self.base() if pins.base else None
        if base is None:
            return self.pinned(pins)
        _require_unchanged("base", base, pins.base)
        return (*self.pinned(pins), base)

    def origins(self) -> dict[str, str]:
        """Where parents and base are read, by whose they are; `fatherBase` is what he is on, where he is an adapter.

        As the manifest has it, or as the adapter names it; on a hub, at this experiment's commit.
        """
        found = {str(who): settled(self.where.parent(who)[0], self.store) for who in self.where.models}
        on = {f"{who}Base": folder.on for who, folder in zip(SIDES, self.parents(), strict=True)}
        return found | {who: uri for who, uri in on.items() if uri}

    def commits(self) -> dict[str, str]:
        """The commits that models on a hub are read at, by whose they are as in `origins`."""
        return {who: hub.parse(uri).revision for who, uri in self.origins().items() if uri.startswith("hf://")}

    def _opened(self, who: Who) -> ModelFolder:
        try:
            return opened(self.where.parent(who), self.store)
        except BadInput as error:
            raise BadInput(f"spec.parents.{who}.uri: {error}") from None

    def pinned(self, pins: Pins) -> tuple[ModelFolder, ModelFolder]:
        """Father and Mother, if they are still what they were when the run began.

        Raises:
            BadInput: one of them has changed since.
        """
        father, mother = self.parents()
        for who, folder, pin in (("father", father, pins.father), ("mother", mother, pins.mother)):
            _require_unchanged(who, folder, pin)
        return father, mother

    def table(self, digest: str) -> tuple[TensorRow, ...]:
        """The MRI table of `digest`."""
        if digest not in self._tables:
            self._tables[digest] = from_parquet(fetch(self.store, layout.table(digest)), digest)
        return self._tables[digest]

    def recipe(self, model: Model, table: str, pins: Pins, mixing: Mixing, seed: int) -> Recipe:
        """What becomes of every tensor in `model`."""
        rows = self.table(table)
        if isinstance(model, ChildModel):
            return self.child(model.genome, table, pins, mixing, seed)
        share = model.share if isinstance(model, LinearModel) else {"father": 0.0, "mother": 1.0}[model.model]
        return linear_recipe(rows, share, pins, mixing.merge)

    def child(self, genome: Genome, table: str, pins: Pins, mixing: Mixing, seed: int) -> Recipe:
        """The recipe of a genome."""
        return child_recipe(self.table(table), genome, pins, mixing, seed)

    def benchmark(self, allow_code: tuple[str, ...]) -> "Benchmark":
        """lm-eval's tasks, loaded once; those named may run code."""
        from darwinmerge.evaluation.harness import Benchmark

        if self._benchmark is None:
            self._benchmark = Benchmark(self.where.task_folder, allow_code)
        return self._benchmark

    def prompting(self, terms: Terms, pins: Pins) -> "Prompting":
        """How questions become prompts, told once; with a chat template it is that of Father's tokenizer."""
        from darwinmerge.evaluation.questions import Prompting

        if self._prompting is None:
            template = None
            if terms.chat_template:
                from darwinmerge.evaluation.resident import chat_template

                template = chat_template(self.pinned(pins)[0], terms.template_args)
            self._prompting = Prompting(terms.system_instruction, terms.fewshot_as_multiturn, template)
        return self._prompting

    def embodied(self, recipe: Recipe, terms: Terms, pins: Pins) -> Any:
        """lm-eval's model with the weights of `recipe`: of its staged child, if there is one, else merged in memory.

        The model is loaded once, and given other weights from then on.
        """
        from darwinmerge.publish.staged import is_staged, staged

        if terms.model != "hf":
            return self._from_folder(recipe, terms, pins)
        if self._resident and self._resident[0] == terms and self._resident[1].recipe == recipe.id:
            return self._resident[1].lm
        if is_staged(self.store, recipe.id):
            try:
                return self._become(recipe, terms, pins, staged(self.store, recipe.id))
            except (BadInput, FileNotFoundError):
                if is_staged(self.store, recipe.id):
                    raise
                # else another runner has scored it meanwhile, and dropped it
        return self._become(recipe, terms, pins, None)

    def _become(self, recipe: Recipe, terms: Terms, pins: Pins, child: ModelFolder | None) -> Any:
        """The model with the weights of `child`, which is staged, or else merged in memory."""
        parents = (child, child) if child else self.sources(pins)
        if self._resident is None or self._resident[0] != terms:
            from darwinmerge.evaluation.resident import Resident

            for source in parents if child is None else ():
                source.files.keep()  # for one candidate after the other
            self._resident = (terms, Resident(parents[0], terms, self.where.device))
        resident = self._resident[1]
        if child:
            resident.hold(child, recipe.id)
        else:
            resident.become(recipe, *parents)
        return resident.lm

    def _from_folder(self, recipe: Recipe, terms: Terms, pins: Pins) -> Any:
        from darwinmerge.evaluation.foldered import Foldered

        if self._foldered is None:
            self._foldered = Foldered(terms, self.where.device)
        self._foldered.become(recipe, self.sources(pins), lambda done, total: self.pause())
        return self._foldered.lm

    def stage(self, recipe: Recipe, pins: Pins) -> None:
        """Write the child of `recipe` into the store, shard by shard; what is there already stays."""
        from darwinmerge.publish.staged import write_staged

        write_staged(self.store, recipe, self.sources(pins), self.step)

    def leave(self, key: str, data: bytes) -> Ref:
        """Leave an object for later tasks; one that is there already stays, and is referred to as it is."""
        if not self.store.create(key, data):
            data = self.store.read(key)
        return Ref(key=key, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def _require_unchanged(who: str, folder: ModelFolder, pin: str) -> None:
    if folder.pin != pin:
        raise BadInput(
            f"{who} {folder} has changed since this run began (pin {folder.pin[:16]}, was {pin[:16]}); "
            "restore it, or begin a new run in another store"
        )
