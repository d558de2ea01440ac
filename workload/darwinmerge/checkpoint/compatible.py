"""Whether two model folders can be parents: whole weights, one architecture, one tokenizer."""

import re

from darwinmerge.checkpoint import config, tokenizer
from darwinmerge.checkpoint.dtypes import DTYPES
from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.errors import BadInput

PACKED = re.compile(  # tensors that GPTQ, AWQ, bitsandbytes, compressed-tensors, FP8 and MXFP4 put beside or in place
    r"(\.(qweight|qzeros|g_idx|SCB)|[._]weight_(packed|scale|scale_inv|scale_2|zero_point|shape|format)"
    r"|\.weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\..*)|_proj_(blocks|scales))$"
)
SHOWN = 20  # fields named in a message


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
