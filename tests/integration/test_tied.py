"""Parents with tied embeddings that store the output head too: the child that is scored is the one exported."""

from pathlib import Path
from typing import Any

import pytest

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.checkpoint.pair import aligned
from darwinmerge.evaluation.resident import name_map
from darwinmerge.experiment.manifest import Mri
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge.recipe import Mixing, Pins, child_recipe
from darwinmerge.mri.table import diagnose
from darwinmerge.search.genome import Genome
from tests.build import Tensor, merged_tensor, tensor, write_model

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def tied_model(path: Path, seed: int, stores_head: bool) -> ModelFolder:
    import torch
    import transformers

    library: Any = transformers  # its types don't know its own configurations
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config: Any = library.LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=True)
    config.dtype = torch.bfloat16
    torch.manual_seed(seed)
    model: Any = library.LlamaForCausalLM(config)
    held: dict[str, Tensor] = {name: tensor(w.detach().numpy()) for name, w in model.state_dict().items()}
    if not stores_head:
        del held[HEAD]
    return write_model(path, held, **{**config.to_dict(), "architectures": ["LlamaForCausalLM"]})


@pytest.mark.parametrize(("his", "hers"), [(True, False), (False, True), (True, True)])
def test_a_child_of_tied_parents_is_tied_in_memory_and_on_disk(tmp_path: Path, his: bool, hers: bool) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    father, mother = aligned(tied_model(tmp_path / "f", 1, his), tied_model(tmp_path / "m", 2, hers))
    resident: Any = AutoModelForCausalLM.from_pretrained(father.path)
    names = name_map(father, resident.state_dict())
    assert HEAD not in names
    assert names[EMBED] == EMBED

    genome = Genome(ratio=0.5, attn=0.5, ffn=0.5, embed=0.5, density_a=1.0, density_b=0.5)
    rows = list(diagnose(father, mother, Mri()))
    recipe = child_recipe(rows, genome, Pins(father="f", mother="m"), Mixing(mri_weight=0.7, merge=Merge()), 1)
    made = {}
    for decision in recipe.decisions:
        bits, dtype = merged_tensor(decision, recipe, father, mother)
        made[decision.name] = Tensor(dtype, father.info(decision.name).shape, bits)
    child = write_model(tmp_path / "child", made, **father.config)
    loaded: Any = AutoModelForCausalLM.from_pretrained(child.path)
    assert loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()
    assert loaded.lm_head.weight.view(torch.int16).detach().numpy().tobytes() == child.bits(EMBED).tobytes()
