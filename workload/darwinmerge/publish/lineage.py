"""What a child's card says of its parents: their names, their licences, their languages.

A folder tells these of itself, in its model card or its place, and nothing of it is checked or pinned. So it is taken
only where it can't mislead: a config's `_name_or_path` names what a model was loaded from, which for a fine-tune is
often its base, and a path of this machine means nothing elsewhere.
"""

import re
from typing import Any

import yaml

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.experiment.types import Frozen
from darwinmerge.uri import MODEL

CARD = "README.md"
LARGEST = 1 << 20  # bytes of a text that is read for what it tells
IN_CACHE = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/")  # where the hub's own client keeps a download
LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # as the hub writes them
TEXTS = {"apache-2.0": r"Apache License\s+Version 2\.0", "mit": r"(The )?MIT License"}  # how licences begin


class Licence(Frozen):
    """A licence in the hub's words; `id` is empty where it isn't known."""

    id: str = ""
    name: str = ""  # where the id is `other`
    link: str = ""


class Ancestor(Frozen):
    """A parent, as far as its folder tells."""

    name: str  # the hub's, where it is known, else the folder's
    licence: Licence = Licence()
    languages: tuple[str, ...] = ()
    base: str = ""  # the model that it says it is made from

    @property
    def hub(self) -> str:
        """Its id on the hub; empty where only its folder's name is known."""
        return self.name if re.fullmatch(MODEL, self.name) else ""


def ancestor(uri: str, folder: ModelFolder) -> Ancestor:
    """What the folder of a parent, which lies at `uri`, tells."""
    head = _head(_text(folder, CARD))
    bases, languages = (_listed(head.get(field)) for field in ("base_model", "language"))
    base = bases[0] if len(bases) == 1 else ""
    return Ancestor(
        name=_name(uri, folder),
        licence=_licence(head, folder),
        languages=languages,
        base=_model(folder.on) or (base if re.fullmatch(MODEL, base) else ""),
    )


def _listed(value: Any) -> tuple[str, ...]:
    """What a card says once, or as a list."""
    return tuple(x for x in (value if isinstance(value, list) else [value]) if isinstance(x, str))


def _model(uri: str) -> str:
    """The name on the hub of what lies at a URI; empty where it isn't there."""
    scheme, _, rest = uri.partition("://")
    return rest.partition("@")[0] if scheme == "hf" else ""


def _name(uri: str, folder: ModelFolder) -> str:
    if _model(uri):
        return _model(uri)
    cached = IN_CACHE.search(uri)
    if cached:
        return "/".join(cached.groups())
    own, said = uri.rstrip("/").rpartition("/")[2], folder.config.get("_name_or_path")
    trusted = isinstance(said, str) and re.fullmatch(MODEL, said) and said.rpartition("/")[2] == own
    return str(said) if trusted else own


def _licence(head: dict[str, Any], folder: ModelFolder) -> Licence:
    found = head.get("license")
    if isinstance(found, str) and LICENCE.fullmatch(found):
        name, link = (x if isinstance(x, str) else "" for x in (head.get("license_name"), head.get("license_link")))
        return Licence(id=found, name=name, link=link if link.startswith("https://") else "")
    beside = next((name for name in folder.files.sizes if name.partition(".")[0] in ("LICENSE", "COPYING")), "")
    text = _text(folder, beside).lstrip()
    return Licence(id=next((name for name, begins in TEXTS.items() if re.match(begins, text)), ""))


def _head(card: str) -> dict[str, Any]:
    """The YAML at the top of a model card; nothing where there is none, or none that can be read."""
    found = re.match(r"---\r?\n(.*?)\r?\n---\s", card, re.DOTALL)
    try:
        head = yaml.safe_load(found[1]) if found else {}
    except (yaml.YAMLError, ValueError, RecursionError):  # a date that is none is a ValueError
        return {}
    return head if isinstance(head, dict) else {}


def _text(folder: ModelFolder, name: str) -> str:
    return folder.read(name).decode(errors="replace") if 0 < folder.files.sizes.get(name, 0) <= LARGEST else ""
