"""Phase 0 as tasks: pin the parents, and diagnose every tensor."""

from darwinmerge.checkpoint.compatible import require_base, require_compatible
from darwinmerge.errors import BadInput
from darwinmerge.merge.recipe import Pins
from darwinmerge.mri.table import diagnose, names_of, require_finite, spread, table_digest, to_parquet
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.results import MriSummary, ResolveSummary
from darwinmerge.pipeline.tasks import MriInputs
from darwinmerge.publish.licences import require_shareable
from darwinmerge.store import Ref, layout

WARNINGS, WARNING = 8, 200  # how many are kept, and of how many letters: a summary is small


def resolve(place: Place) -> tuple[ResolveSummary, tuple[Ref, ...]]:
    """Check that parents and base belong together and may be merged, and pin them by the SHA-256 of their files."""
    father, mother = place.parents()
    require_shareable(place)
    warnings = require_compatible(father, mother)
    base = place.base()
    if base:
        require_base(base, father, mother)
    summary = ResolveSummary(
        commits=place.commits(),
        warnings=tuple(warning[:WARNING] for warning in warnings[:WARNINGS]),
        pins=Pins(father=father.pin, mother=mother.pin, base=base.pin if base else ""),
        father_bytes=sum(located.info.nbytes for located in father.tensors.values()),
        mother_bytes=sum(located.info.nbytes for located in mother.tensors.values()),
        base_bytes=sum(located.info.nbytes for located in base.tensors.values()) if base else 0,
    )
    return summary, ()


def mri(inputs: MriInputs, place: Place) -> tuple[MriSummary, tuple[Ref, ...]]:
    """Diagnose every tensor of both parents into a Parquet table."""
    father, mother = place.pinned(inputs.pins)
    total, rows = len(names_of(father, mother)), []
    for row in diagnose(father, mother, inputs.mri):
        rows.append(row)
        place.step(len(rows), total)
    require_finite(rows)
    if not any(row.presence == "both" for row in rows):
        raise BadInput(
            f"father and mother don't differ in any tensor that both have; there is nothing to merge ({mother})"
        )
    digest = table_digest(rows)
    found = spread(rows)
    present = [row.presence for row in rows]
    summary = MriSummary(
        table=digest,
        tensors=len(rows),
        differing=present.count("both"),
        identical=present.count("identical"),
        one_sided=present.count("only-in-father") + present.count("only-in-mother"),
        not_weights=present.count("not-a-weight"),
        degenerate=sum(row.flag == "degenerate" for row in rows),
        spread=found,
        informative=found >= inputs.mri.min_spread,
    )
    return summary, (place.leave(layout.table(digest), to_parquet(rows)),)
