"""Whether two `config.json` mean one architecture.

Tensors of equal shapes can mean different things: a head count, an epsilon, a rotary base are in the config only.
The rule is closed: a field is ignored (IGNORED), makes no other child and is told (TOLD), or must be equal. A
field that only one config has is told too, not refused: its class's default is meant, and each version of the
libraries writes more fields than the last.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

IGNORED = frozenset(  # of the file, of training, or of how a library runs the model
    {
        *("_name_or_path", "architectures", "transformers_version", "torch_dtype", "dtype", "use_cache"),
        *("_attn_implementation", "_attn_implementation_autoset", "attn_implementation", "auto_map", "unsloth_version"),
        *("unsloth_fixed", "gradient_checkpointing", "use_flash_attn", "pretraining_tp", "torchscript", "return_dict"),
        *("output_attentions", "output_hidden_states", "output_router_logits", "router_aux_loss_coef", "problem_type"),
        *("initializer_range", "initializer_factor", "pad_token_id", "id2label", "label2id"),
    }
)
IGNORED_ENDS = ("dropout", "_pdrop", "dropout_prob", "dropout_rate")  # training again
TOLD = frozenset({"max_position_embeddings", "bos_token_id", "eos_token_id"})  # Father's is the child's
DERIVED = frozenset({"head_dim", "layer_types", "num_key_value_heads"})  # null: worked out from other fields
ROPE = ("rope_theta", "partial_rotary_factor")  # at the top in older files, in `rope_parameters` in newer ones
SHOWN = 60  # characters of a value in a message


class Difference(NamedTuple):
    """A field in which the parents' configs differ."""

    field: str  # its path, such as text_config.rms_norm_eps
    text: str  # both values
    told: bool  # only to be told; else the parents don't fit together


def differences(father: Mapping[str, Any], mother: Mapping[str, Any]) -> list[Difference]:
    """Fields that differ and aren't ignored, in order.

    Where one is the text model of the other, `text_config` is compared with the whole of the text model's config.
    """
    composite = [isinstance(config.get("text_config"), Mapping) for config in (father, mother)]
    if composite == [True, False]:
        return [_note(father, "father", "mother"), *_compare(_text_of(father), _alone(mother), "text_config.")]
    if composite == [False, True]:
        return [_note(mother, "mother", "father"), *_compare(_alone(father), _text_of(mother), "text_config.")]
    return list(_compare(father, mother, ""))


def model_type(config: Mapping[str, Any]) -> str:
    """The type of a model, or of the text model that is a part of it."""
    text = config.get("text_config")
    return str(_alone(text if isinstance(text, Mapping) else config)["model_type"])


def quantisation(config: Mapping[str, Any]) -> str:
    """Path of the field that says that the weights are quantised; empty if none does."""
    for key, value in config.items():
        if key in ("quantization_config", "compression_config") and value:
            return key
        if isinstance(value, Mapping) and (found := quantisation(value)):
            return f"{key}.{found}"
    return ""


def _note(composite: Mapping[str, Any], who: str, other: str) -> Difference:
    text = f"{who} is a composite model ({composite.get('model_type')}), {other} a text model: text_config is compared"
    return Difference("text_config", text, True)


def _text_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The text model's part of a composite config; tying is what the composite says, which comes first."""
    text = {**config["text_config"]}
    if "tie_word_embeddings" in config:
        text["tie_word_embeddings"] = config["tie_word_embeddings"]
    return _alone(text)


def _alone(config: Mapping[str, Any]) -> dict[str, Any]:
    """A text model's config, its type without the ending by which transformers tells it from the composite."""
    return {**config, "model_type": str(config.get("model_type", "")).removesuffix("_text")}


def _compare(father: Mapping[str, Any], mother: Mapping[str, Any], path: str) -> Iterator[Difference]:
    whole = path == "" or path.endswith("_config.")  # of a model, not a group of fields within
    a, b = (_spelled_alike(father), _spelled_alike(mother)) if whole else (father, mother)
    for key in sorted({*a, *b}):
        if key in IGNORED or key.endswith(IGNORED_ENDS):
            continue
        one, other = a.get(key), b.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _compare(one, other, f"{path}{key}.")
        elif one != other:
            missing = key not in a or key not in b or (key in DERIVED and None in (one, other))
            yield Difference(path + key, _values(path + key, a, b, key), missing or key in TOLD)


def _spelled_alike(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with its rotary fields in one place, `rope_parameters`, whichever version wrote it.

    Without any the type is `default`: a parent with scaled positions then differs from one without, by name.
    """
    fields = dict(config)
    found = {key: fields.pop(key) for key in ROPE if key in fields}
    for key in ("rope_scaling", "rope_parameters"):
        value = fields.pop(key, None)
        found |= value if isinstance(value, Mapping) else {}
    kind = found.pop("type", "default")
    nested = any(isinstance(value, Mapping) for value in found.values())  # one set of them a layer type
    fields["rope_parameters"] = found if nested else {"rope_type": kind, **found}
    return fields


def _values(path: str, a: Mapping[str, Any], b: Mapping[str, Any], key: str) -> str:
    one, other = a.get(key), b.get(key)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        at = next(i for i, (x, y) in enumerate(zip(one, other, strict=True)) if x != y)
        return f"{path}[{at}]: father {_short(one[at])}, mother {_short(other[at])}"
    texts = [_short(side[key]) if key in side else "has none" for side in (a, b)]
    return f"{path}: father {texts[0]}, mother {texts[1]}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
