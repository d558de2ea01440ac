"""The names that one tensor has in several folders.

transformers moved the text model of a composite one from `language_model.model.` to `model.language_model.`, and a
text model by itself has it at `model.`; which of them a file uses depends on who saved it, and when.
"""

FAMILIES = (  # prefixes that mean the same place; within a family the longest that fits is the one meant
    ("model.language_model.", "language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
)
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
HEAD = "lm_head.weight"
NOT_TEXT = ("mtp.", "visual.", "vision_tower.", "multi_modal_projector.", "audio_tower.")  # parts beside the text model


def spellings(name: str) -> tuple[str, ...]:
    """The other names that a tensor called `name` may have; empty where its prefix has no alias."""
    for family in FAMILIES:
        for prefix in family:
            if name.startswith(prefix):
                return tuple(other + name.removeprefix(prefix) for other in family if other != prefix)
    return ()


def outside_text(name: str) -> bool:
    """True for tensors of a composite model that its text model lacks: vision tower, extra prediction heads."""
    return name.removeprefix("model.").startswith(NOT_TEXT)


def is_head(name: str) -> bool:
    """True for the output head, `lm_head.weight`, whatever its prefix."""
    return name == HEAD or HEAD in spellings(name)


def is_embedding(name: str) -> bool:
    """True for the input embedding of the text model."""
    return not outside_text(name) and any(name == end or name.endswith("." + end) for end in EMBEDDINGS)
