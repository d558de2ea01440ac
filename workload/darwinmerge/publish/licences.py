"""Whether the licences of all that a child is made from let it be shared, as far as model cards tell them.

Only what is said is judged: a licence that forbids derivatives to be shared, in the hub's words or in its own name.
What a licence that isn't known, or asks for conditions, means for a child is for its owner to find out.
"""

import re
from typing import TYPE_CHECKING

from darwinmerge.checkpoint.digests import Digests
from darwinmerge.checkpoint.opening import open_model
from darwinmerge.errors import BadConfiguration
from darwinmerge.publish.lineage import Licence, ancestor

if TYPE_CHECKING:
    from darwinmerge.pipeline.place import Place

FORBIDS = re.compile(r"(^|[-_ ])nd([-_ ]|$)|no-?deriv", re.IGNORECASE)  # cc-by-nd-4.0, cc-by-nc-nd-3.0, ...


def forbids(licence: Licence) -> bool:
    """Whether a licence forbids to share what is made from the model."""
    return any(FORBIDS.search(text) for text in (licence.id, licence.name))


def require_shareable(place: "Place") -> None:
    """Refuse an upload to a hub that a licence forbids: of a parent, the base, or a model that an adapter is on.

    Raises:
        BadConfiguration: naming the model, its licence and the remedy.
    """
    if place.where.hub is None or place.where.hub.ignore_licence:
        return
    folders = dict(zip(("father", "mother"), place.parents(), strict=True))
    for who, uri in place.origins().items():
        folder = folders[who] if who in folders else open_model(uri, Digests(place.store))
        found = ancestor(uri, folder)
        if forbids(found.licence):
            whose, licence = who.replace("Base", "'s base model"), found.licence.name or found.licence.id
            raise BadConfiguration(
                f"spec.output.hub: {whose} {found.name} is under {licence}, which forbids sharing what is made from "
                "it; leave spec.output.hub out, or, with its owner's leave, set spec.output.hub.ignoreLicence: true"
            )
