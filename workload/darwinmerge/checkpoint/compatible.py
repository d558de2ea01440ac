"""Whether two model folders can be parents: one architecture, one tokenizer."""

from collections.abc import Mapping
from typing import Any

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.errors import BadInput

IRRELEVANT = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures")
TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")


def require_compatible(father: ModelFolder, mother: ModelFolder) -> None:
    """Refuse parents whose configurations or tokenizers differ in what they mean.

    Raises:
        BadInput: naming every field and file that differs.
    """
    for folder in (father, mother):
        if "quantization_config" in folder.config:
            raise BadInput(
                f"{folder.path}: its weights are quantised (quantization_config); give the unquantised model"
            )
    fields = _different(father.config, mother.config)
    if fields:
        raise BadInput(
            f"parents differ in config.json, though their tensors are to be mixed: {'; '.join(fields)} "
            f"(father {father.path}, mother {mother.path}); take fine-tunes of one base"
        )
    files = [name for name in TOKENIZER if father.file_digests.get(name) != mother.file_digests.get(name)]
    if files:
        raise BadInput(
            f"parents have different tokenizers ({', '.join(files)}): {father.path}, {mother.path}; take fine-tunes of "
            "one base, or copy Father's tokenizer files over if only their form differs"
        )


def _different(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> list[str]:
    lines = []
    for key in sorted({*one, *other} - set(IRRELEVANT)):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += _different(a, b, f"{path}{key}.")
        elif a != b:
            lines.append(f"{path}{key}: father {a!r}, mother {b!r}")
    return lines
