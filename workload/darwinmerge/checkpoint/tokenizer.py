"""Whether two model folders turn text into the same tokens.

Row 17 of an embedding is a token; where 17 is another token in the other parent, their mixture means nothing.
`tokenizer.json` decides where both have it, by what it says, not by its bytes: libraries write the same tokenizer
in many forms (merges as strings or as pairs, options left out or null), and training leaves its truncation and
padding in it. Without it the files of older tokenizers must be equal.
"""

import json
from collections.abc import Mapping
from typing import Any

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.errors import BadInput

FAST = "tokenizer.json"
SLOW = ("tokenizer.model", "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
OF_A_CALL = ("version", "truncation", "padding")  # sections of tokenizer.json that change no token
DECIDING = ("add_bos_token", "add_eos_token", "add_prefix_space", "do_lower_case", "split_special_tokens")
IN_CONFIG_ONLY_FORM = (  # fields of tokenizer_config.json that repeat tokenizer.json, or concern how it is run
    *("added_tokens_decoder", "tokenizer_class", "backend", "is_local", "name_or_path", "use_fast", "tokenizer_file"),
    *("padding_side", "truncation_side", "model_max_length", "processor_class", "legacy", "special_tokens_map_file"),
)


def differences(father: ModelFolder, mother: ModelFolder) -> tuple[list[str], list[str]]:
    """How the tokenizers of two folders differ: what makes other tokens, and what only must be told.

    Raises:
        BadInput: a tokenizer file isn't JSON.
    """
    refused = _vocabularies(father, mother)
    told = []
    a, b = ({k: v for k, v in _json(folder, CONFIG).items() if v is not None} for folder in (father, mother))
    for key in sorted({*a, *b} - {*IN_CONFIG_ONLY_FORM}):
        if a.get(key) != b.get(key) and key in DECIDING and key in a and key in b:
            refused.append(f"{CONFIG}: {key}: father {a[key]!r}, mother {b[key]!r}")
        elif a.get(key) != b.get(key):
            told.append(f"{CONFIG}: {key} differs; the child has Father's")
    if _bytes(father, TEMPLATE) != _bytes(mother, TEMPLATE):
        told.append(f"{TEMPLATE} differs; the child has Father's")
    return refused, told


def _vocabularies(father: ModelFolder, mother: ModelFolder) -> list[str]:
    fast = [FAST in folder.files.sizes for folder in (father, mother)]
    if all(fast):
        return _fast(_parsed(father), _parsed(mother))
    lines = []
    for name in SLOW:
        one, other = _bytes(father, name), _bytes(mother, name)
        if one != other and not (any(fast) and None in (one, other)):
            lines.append(f"{name}: {_held(one, other)}")
    shared = any(name in father.files.sizes and name in mother.files.sizes for name in SLOW)
    if any(fast) and not shared:
        lines.append(f"{FAST}: only {'father' if fast[0] else 'mother'} has it, and no older file is in both")
    return lines


def _held(one: bytes | None, other: bytes | None) -> str:
    if one is None or other is None:
        return f"only {'mother' if one is None else 'father'} has it"
    return "differs"


def _parsed(folder: ModelFolder) -> dict[str, Any]:
    """A tokenizer.json, its sections in one form."""
    document = {key: value for key, value in _json(folder, FAST).items() if key not in OF_A_CALL}
    model = document.pop("model", None)
    model = model if isinstance(model, dict) else {}
    vocab, merges, added = model.pop("vocab", {}), model.pop("merges", []), document.pop("added_tokens", [])
    try:
        if isinstance(vocab, list):  # a unigram model's: token and score in order of ids
            tokens = {str(token): [number, score] for number, (token, score) in enumerate(vocab)}
        else:
            tokens = dict(vocab)
        pairs = [tuple(merge.split(" ", 1) if isinstance(merge, str) else merge) for merge in merges or ()]
        specials = {int(token["id"]): _plain(token) for token in added or ()}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        where = f"{folder}/{FAST}"
        raise BadInput(f"{where}: not a tokenizer's vocabulary ({type(error).__name__}); download it again") from None
    plain: dict[str, Any] = _plain(document)
    return {**plain, "model": _plain(model), "vocab": tokens, "merges": pairs, "added_tokens": specials}


def _fast(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    lines = []
    for key in ("vocab", "added_tokens", "merges"):
        if a[key] == b[key]:
            continue
        sizes = f"father has {len(a[key]):,}, mother {len(b[key]):,}"
        if key == "merges":
            pairs = enumerate(zip(a[key], b[key], strict=False))
            at = next((i for i, (x, y) in pairs if x != y), min(len(a[key]), len(b[key])))
            lines.append(f"{FAST}: merges: {sizes}; the first that differs is number {at}")
        else:
            first = next(entry for entry in _in_order(a[key], b[key]) if a[key].get(entry) != b[key].get(entry))
            values = (_value(side[key].get(first)) for side in (a, b))
            lines.append(f"{FAST}: {key}: {sizes}; the first that differs is {first!r}: {' and '.join(values)}")
    others = sorted({*a, *b} - {"vocab", "added_tokens", "merges"})
    return lines + [f"{FAST}: {key} differs" for key in others if a.get(key) != b.get(key)]


def _in_order(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> list[Any]:
    """Tokens of both, in Father's order, then Mother's."""
    return list({**dict.fromkeys(a), **dict.fromkeys(b)})


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return repr(value.get("content", value)) if isinstance(value, Mapping) else str(value)


def _plain(value: Any) -> Any:
    """A JSON value without the options that are off, which some writers leave out and others write."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items() if entry is not None and entry is not False}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def _bytes(folder: ModelFolder, name: str) -> bytes | None:
    return folder.read(name) if name in folder.files.sizes else None


def _json(folder: ModelFolder, name: str) -> dict[str, Any]:
    """A JSON object in a file of the folder; empty where there is no such file."""
    text = _bytes(folder, name)
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{folder}/{name}: not JSON ({type(error).__name__}); download it again") from None
    if not isinstance(value, dict):
        raise BadInput(f"{folder}/{name}: not a JSON object; download it again")
    return value
