"""Whether model folders can be parents, and one their base: whole weights, one architecture, one tokenizer."""

import re
from functools import partial

import numpy as np

from darwinmerge.checkpoint import config, tokenizer
from darwinmerge.checkpoint.dtypes import DTYPES
from darwinmerge.checkpoint.folder import Elements, ModelFolder, blocks, threads
from darwinmerge.errors import BadInput
from darwinmerge.parallel import in_order

PACKED = re.compile(  # tensors that GPTQ, AWQ, bitsandbytes, compressed-tensors, FP8 and MXFP4 put beside or in place
    r"(\.(qweight|qzeros|g_idx|SCB)|[._]weight_(packed|scale|scale_inv|scale_2|zero_point|shape|format)"
    r"|\.weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*)|_proj_(blocks|scales))$"
)
SHOWN = 20  # fields named in a message
BF16_INFINITE = np.uint16(0x7F80)  # the exponent's bits: all set in NaN and infinities
REMEDY = "name what both parents are fine-tunes of, or leave spec.parents.base out"


def require_compatible(father: ModelFolder, mother: ModelFolder) -> tuple[str, ...]:
    """Refuse parents whose configurations or tokenizers differ in what they mean; tell what else differs.

    Returns:
        What a person should know though it stops nothing, a line each.

    Raises:
        BadInput: naming every field and file that differs, or what shows that the weights are quantised.
    """
    for folder in (father, mother):
        _require_plain(folder)
    where = f"father {father}, mother {mother}"
    fields = config.differences(father.config, mother.config)
    refused = [field.text for field in fields if not field.told]
    if refused:
        raise BadInput(
            f"parents differ in config.json, though their tensors are to be mixed: {_listed(refused)} ({where}); take "
            "fine-tunes of one base, or, where a field only concerned training, make it equal in a copy of the folder"
        )
    others, told = tokenizer.differences(father, mother)
    if others:
        raise BadInput(
            f"parents have different tokenizers: {_listed(others)} ({where}); take fine-tunes of one base, or, if "
            "Mother was trained with Father's tokenizer, copy its files into her folder"
        )
    return (*(f"config.json: {field.text}" for field in fields if field.told), *told)


def require_base(base: ModelFolder, father: ModelFolder, mother: ModelFolder) -> None:
    """Refuse a base that the parents can't have come from: another architecture, tensors missing, shaped otherwise or
    not finite. All three are as `aligned` and `aligned_base` give them.

    Only its weights are used, so what else a config says may differ, as it does between a base and fine-tunes that were
    given a longer context or a chat's tokens; and so may the tokenizer. Every weight is read once.

    Raises:
        BadInput: naming the tensor and the remedy.
    """
    if base.on:
        raise BadInput(f"base {base}: an adapter on {base.on}; a base is a whole model: {REMEDY}")
    _require_plain(base)
    types = [config.model_type(folder.config) for folder in (base, father)]
    if types[0] != types[1]:
        raise BadInput(f"base {base} is a model of type {types[0]!r}, its fine-tune {father} of {types[1]!r}; {REMEDY}")
    shared = [name for name in father.tensors if name in mother.tensors and DTYPES[father.info(name).dtype].weight]
    for name in shared:
        if name not in base.tensors:
            raise BadInput(f"tensor {name}: both parents have it, base {base} lacks it; {REMEDY}")
        shape, wanted = base.info(name).shape, father.info(name).shape
        if shape != wanted:
            raise BadInput(f"tensor {name}: base {base} has shape {shape}, father {wanted}; {REMEDY}")
    jobs = (partial(_broken, base.elements(name), part) for name in shared for part in blocks(base.elements(name)))
    named = (name for name in shared for _ in blocks(base.elements(name)))
    for name, broken in zip(named, in_order(jobs, threads(base)), strict=True):
        if broken:
            raise BadInput(
                f"tensor {name}: {broken} of base {base}'s elements are NaN or infinite; that checkpoint is broken: "
                "download it again"
            )


def _broken(elements: Elements, part: slice) -> int:
    """How many of some elements are NaN or infinite."""
    bits = elements[part]
    if elements.dtype == "BF16":
        return int(np.count_nonzero((bits.view(np.uint16) & BF16_INFINITE) == BF16_INFINITE))
    return int(np.count_nonzero(~np.isfinite(bits)))


def _require_plain(folder: ModelFolder) -> None:
    found = config.quantisation(folder.config)
    remedy = "give the unquantised model"
    if found:
        raise BadInput(f"{folder}: its weights are quantised (config.json has {found}); {remedy}")
    for name, located in folder.tensors.items():
        dtype = located.info.dtype
        if PACKED.search(name):
            raise BadInput(f"{folder}: tensor {name} ({dtype}) belongs to quantised weights; {remedy}")
        if name.endswith(".weight") and not DTYPES[dtype].weight:
            raise BadInput(f"{folder}: tensor {name} is a weight of {dtype}: quantised or packed; {remedy}")


def _listed(lines: list[str]) -> str:
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more
