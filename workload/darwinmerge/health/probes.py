"""The texts that activations are looked at on: a few, ours, and always the same.

They are of several kinds, since a layer may be idle in one of them. What they say doesn't matter: it is asked how far
two layers' outputs lie from each other on one input, not whether an answer is right.
"""

from typing import Any

PROBES = (
    "The river rises in the hills north of the town, turns east below the old mill, and reaches the sea two days "
    "later, slow and brown from the fields that it has crossed on its way.",
    "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n"
    "    return total / len(values)\n\n\nprint(mean([1.0, 2.0, 4.0]))\n",
    "Question: A train leaves at 9:40 and arrives at 12:05. How long is the journey? Answer: From 9:40 to 12:00 it is "
    "2 hours and 20 minutes, and 5 more make 2 hours and 25 minutes.",
    "Zwei Freunde gingen durch den Wald. Il pleuvait depuis le matin, y nadie sabía el camino de vuelta; so they sat "
    "down under a tree and waited for the rain to end.",
)
GOLDEN = 0.6180339887498949  # multiples of it, less their whole part, lie evenly between 0 and 1
LENGTH = 32  # tokens of each that are used, at most


def tokens(tokenizer: Any) -> list[list[int]]:
    """The probes as token ids, one row a probe, all of one length: so nothing is padded and nothing masked.

    The last row is no text but tokens from all over the vocabulary: a tokenizer made for something else than prose may
    have one token for all of it, or none.
    """
    rows = [row for probe in PROBES if (row := list(tokenizer(probe)["input_ids"]))]
    length = min((LENGTH, *map(len, rows)))
    spread = [int(len(tokenizer) * (i * GOLDEN % 1)) for i in range(length)]
    return [*(row[:length] for row in rows), spread]
