"""Models that lm-eval loads from a folder: vLLM, or whatever else it knows, with arguments of the manifest.

Each child is written to scratch and loaded anew, which the resident model (`resident.py`) saves; what another engine
gains in speed has to be worth that.
"""

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.errors import BadConfiguration, BadInput, machine_fault
from darwinmerge.evaluation.harness import quiet
from darwinmerge.merge.recipe import Recipe
from darwinmerge.pipeline.tasks import Terms
from darwinmerge.publish.staged import write_staged
from darwinmerge.store import FileStore, layout


class Foldered:
    """One model at a time, from a folder that goes with it."""

    def __init__(self, terms: Terms, device: str) -> None:
        """For models under `terms`; lm-eval gets `device` where the manifest's arguments name none."""
        quiet()
        import lm_eval.models  # noqa: F401 - it fills the registry
        from lm_eval.api.registry import get_model
        from lm_eval.utils import simple_parse_args_string

        try:
            self._kind = get_model(terms.model)
        except ValueError as error:
            raise BadConfiguration(f"spec.evaluation.model: lm-eval has no model '{terms.model}': {error}") from None
        dtype = {} if terms.dtype == "auto" else {"dtype": terms.dtype}
        own = {"batch_size": terms.batch_size, "device": device, **dtype}
        self._arguments: dict[str, Any] = own | simple_parse_args_string(terms.model_args)
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.lm: Any = None
        self.recipe = ""  # whose child it is now

    def become(self, recipe: Recipe, parents: tuple[ModelFolder, ...], tell: Callable[[int, int], None]) -> None:
        """Load the recipe's child; the one before it goes first.

        Raises:
            BadInput: lm-eval's model doesn't take it.
        """
        if self.recipe == recipe.id:
            return
        self.recipe, self.lm = "", None
        gc.collect()  # before the next one asks for the same memory
        if self._scratch:
            self._scratch.cleanup()
        self._scratch = tempfile.TemporaryDirectory(prefix="darwin-")
        store = FileStore(Path(self._scratch.name))
        write_staged(store, recipe, parents, tell)
        folder = store.root / layout.staged(recipe.id)
        try:
            self.lm = self._kind.create_from_arg_obj({**self._arguments, "pretrained": str(folder)})
        except (TypeError, ValueError, KeyError) as error:
            if machine_fault(error):  # a neighbour has the memory, say
                raise
            raise BadInput(f"spec.evaluation.model {self._kind.__name__} can't load the child: {error}") from error
        self.recipe = recipe.id
