"""What the report says of the verdict and of the way to it, section by section, at any time of a run.

Each section begins with what one sees and how sure it is. What isn't there yet is said, instead of an empty picture.
"""

from datetime import UTC, datetime
from functools import partial

from darwinmerge.health.compare import agreement_of
from darwinmerge.pipeline.results import Comparison
from darwinmerge.report.evolution import dots, draw_fitness, draw_genes
from darwinmerge.report.facts import NAMES, REFERENCES, Facts
from darwinmerge.report.judgement import draw_verdict
from darwinmerge.report.layers import draw_health, draw_mri, reach
from darwinmerge.report.lines import sentence, ties
from darwinmerge.report.markup import Html, details, element, html, paragraph, section, table
from darwinmerge.report.svg import figure
from darwinmerge.search.genome import GENES

COLOURS = {"ChildBeatsBoth": "good", "Worse": "bad"}
WORST = 10  # tensors that are listed


def lacking(facts: Facts, what: str, when: str) -> Html:
    """What stands in place of something that isn't there."""
    ended = facts.state.state == "Failed"
    text = f"The run ended before there was {what}." if ended else f"There isn't {what} yet: {when}."
    return element("p", text, class_="lacking")


def head(facts: Facts) -> Html:
    """Name, state, and the verdict in a sentence and a picture."""
    verdict, health = facts.seen.verdict, facts.seen.health
    parts = [element("h1", facts.experiment.name), _state(facts)]
    if health and health.status == "Fail":
        flagged = f" ({', '.join(health.flagged)})" if health.flagged else ""
        parts.append(
            element(
                "p",
                f"The health check failed{flagged}: the child was not published, and should not be used.",
                class_="alarm",
            )
        )
    if not verdict:
        parts.append(lacking(facts, "a verdict", "it is made once the search has ended, on rows that are kept for it"))
        return element("header", *parts, _so_far(facts))
    said = sentence(verdict)
    parts.append(
        element(
            "p",
            element("strong", verdict.label, class_=COLOURS.get(verdict.label, "")),
            f" {said[0].upper()}{said[1:]}.",
            class_="verdict",
        )
    )
    level, sure = f"{verdict.alpha:g}", f"{100 * (1 - verdict.alpha):.4g}\N{NO-BREAK SPACE}%"
    looks = "" if verdict.looks == 1 else f" This is look {verdict.looks} at these questions, so the level is stricter."
    text = (
        f"Judged on {verdict.n:,} questions that the search never saw, by a two-sided sign-flip test at level {level} "
        f"on the paired differences.{looks}"
    )
    caption = (
        f"First each model's own mean, with its 95 % interval; then the child's difference from each, with its {sure} "
        "interval. Models are compared question by question, so the differences decide, and they are surer than two "
        "means side by side."
    )
    alt = "; ".join(f"child minus {NAMES[name]} {_difference(c)}" for name, c in _versus(facts))
    return element("header", *parts, paragraph(text), figure("verdict", alt, caption, partial(draw_verdict, facts)))


def _state(facts: Facts) -> Html:
    far, state = facts.state.progress, facts.state
    updated = f"; last result {datetime.fromtimestamp(state.updated, UTC):%Y-%m-%d %H:%M} UTC" if state.updated else ""
    count = f"generation {far.step} of {far.steps}, {far.candidates} of {far.candidates_total} candidates"
    if state.state == "Failed" and state.outcome:
        return element(
            "p", f"Failed: {state.outcome.reason}: {state.outcome.message} ({count}{updated})", class_="alarm"
        )
    if state.state == "Complete":
        rejected = f", {far.rejected} rejected" if far.rejected else ""
        return element(
            "p", f"Complete: {far.step} generations, {far.candidates} candidates{rejected}{updated}", class_="state"
        )
    stage = "" if far.stage.startswith("generation") else f"{far.stage}; "
    return element("p", f"Not finished: {stage}{count}{updated}", class_="state")


def _so_far(facts: Facts) -> Html:
    """What the search rows say as long as the verdict rows haven't spoken."""
    far = facts.state.progress
    if far.best is None:
        return html()
    known = ", ".join(f"{NAMES[name]} {score:.3f}" for name, score in far.parents.items())
    beside = f", beside {known}" if known else ""
    return paragraph(
        f"So far the best child has {far.best:.3f} on the search rows{beside}. It was chosen on these rows, which "
        "flatters it: this says nothing yet about whether it is better."
    )


def _versus(facts: Facts) -> list[tuple[str, Comparison]]:
    verdict = facts.seen.verdict
    return (
        list(zip(REFERENCES, (verdict.vs_father, verdict.vs_mother, verdict.vs_linear), strict=True)) if verdict else []
    )


def _difference(c: Comparison) -> str:
    return f"{c.difference:+.3f} ({c.low:+.3f} to {c.high:+.3f}), p = {c.p:.2g}, {c.result}"


def fitness(facts: Facts) -> Html:
    """Fitness by generation."""
    title = "Fitness by generation"
    found = dots(facts)
    if not found and not facts.seen.parents:
        return section(
            "fitness", title, lacking(facts, "a score", "parents and children are asked after the diagnosis")
        )
    counts = facts.seen.rows.counts if facts.seen.rows else ()
    rows = sum(count.search for count in counts)
    text = (
        f"A dot is a child, merged for real and asked the {rows:,} search questions. The child is chosen on these, so "
        "its score here flatters it."
    )
    if facts.scale:
        text += (
            f" Asked other questions of the kind, each of these scores would move by up to about {facts.scale[1]:.3f} "
            "(95 %). All are asked the same ones, so that differences between dots are surer than that, but not sure: "
            "the best few are therefore asked fresh questions too."
        )
    caption = "Point at a dot for its genes. Lines are Father, Mother and their plain average on the same questions."
    alt = f"{len(found)} candidates by generation; {_so_far_words(facts)}"
    drawn = figure("by-generation", alt, caption, partial(draw_fitness, facts))
    return section("fitness", title, paragraph(text), drawn, _finalists(facts))


def _so_far_words(facts: Facts) -> str:
    best = facts.state.progress.best
    return f"the best scores {best:.3f}" if best is not None else "none has a score yet"


def _finalists(facts: Facts) -> Html:
    if not facts.seen.finalists:
        return html()
    ordered = [found for _, found in sorted(facts.seen.finalists.items())]
    won = f", the winner{ties(facts.seen.tied, len(ordered))}"
    scores = "; ".join(f"{x.score:.3f}{won if x.candidate == facts.summary.winner else ''}" for x in ordered)
    rows = f"their {ordered[0].n:,} search and fresh questions together"
    return paragraph(f"Finalists, best on search rows first, on {rows}: {scores}.")


def genes(facts: Facts) -> Html:
    """The genomes of all candidates, and the best among them."""
    title = "The genes of all children"
    search = facts.seen.search
    if not search or not any(dot.score is not None for dot in dots(facts)):
        return section("genes", title, lacking(facts, "a measured genome", "the first come with generation 1"))
    text = (
        "Each dot is a child: the value of a gene, and its score on the search rows. A gene that matters shows as a "
        "slope or a hump; with so few children, a cloud is the usual sight, and no proof that the gene does nothing."
    )
    inert = [gene for gene in GENES if gene not in search.active]
    genome = dict(zip(GENES, dots(facts)[0].genome.values(), strict=True))
    fixed = ", ".join(f"{gene} at {genome[gene]:g}" for gene in inert)
    drawn = (
        figure(
            "gene-values",
            f"scores against {', '.join(search.active)}",
            f"The star is {facts.rank}.",
            partial(draw_genes, facts),
        )
        if search.active
        else html()
    )
    told = [paragraph(text), drawn]
    if facts.best:
        values = zip(GENES, facts.best.genome.values(), strict=True)
        own = ", ".join(f"{gene} {value:.3f}" for gene, value in values if gene in search.active)
        place = f"candidate {facts.best.index + 1} of generation {facts.best.generation}"
        told.append(paragraph(f"{facts.rank.capitalize()} is {place}: {own}."))
    if fixed:
        told.append(paragraph(f"Without effect on this pair, so fixed and not searched: {fixed}."))
    return section("genes", title, *told)


def mri(facts: Facts) -> Html:
    """The diagnosis as a heat map."""
    title, found, settings = "Model MRI", facts.seen.mri, facts.experiment.spec.mri
    if not found:
        return section("mri", title, lacking(facts, "a diagnosis", "it is the first thing that is made of the parents"))
    text = (
        f"For each tensor the published score of both parents gives a prescription: the share of Mother. "
        f"{found.differing} of {found.tensors} tensors differ between the parents. "
    )
    if found.informative:
        text += f"The prescriptions spread by {found.spread:.2g}, which is enough to call the diagnosis informative"
    else:
        text += (
            f"The prescriptions spread by {found.spread:.2g} only, below {settings.min_spread:g}: the diagnosis is not "
            "informative, and it says of all tensors nearly the same"
        )
    text += ". Whether it predicts anything about quality, nobody has shown."
    full = reach(facts)
    scale = element(
        "p",
        element("span", f"{0.5 - full:.3g}: more of Father", class_="from"),
        element("span", class_="gradient"),
        element("span", f"{0.5 + full:.3g}: more of Mother", class_="to"),
        class_="scale",
    )
    some = "1 tensor has" if found.degenerate == 1 else f"{found.degenerate} tensors have"
    flagged = f" {some} no distribution, which counts as one half." if found.degenerate else ""
    caption = (
        "Size-weighted mean prescription by layer and kind of tensor; grey where no tensor differs; - is what belongs "
        f"to no layer. Point at a square for its figures.{flagged}"
    )
    alt = f"prescriptions by layer and kind, spread {found.spread:.2g}"
    return section("mri", title, paragraph(text), scale, figure("heat", alt, caption, partial(draw_mri, facts)))


def health(facts: Facts) -> Html:
    """The child's layers beside its parents'."""
    title, found, settings = "Health by layer", facts.seen.health, facts.experiment.spec.health
    if not found or not facts.health:
        return section("health", title, lacking(facts, "a health check", "it is made of the child once it is written"))
    opening = {
        "Pass": f"No layer of {found.layers} is out of its parents' range.",
        "Flagged": f"Out of their parents' range: {', '.join(found.flagged)}.",
        "Fail": f"There are values that are not numbers: {', '.join(found.flagged)}.",
    }[found.status]
    text = (
        f"{opening} A layer is flagged where its importance is above {settings.interference:g} times both parents' "
        f"(Interference) or below {settings.function_loss:g} times both (FunctionLoss), where it lies further from "
        f"Father than {settings.displacement:g} times Mother's distance (Displaced), or where its output lies further "
        f"from both parents' than {settings.divergence:g} times their distance from each other (Diverged). This finds "
        "broken merges; it doesn't say how good a model is."
    )
    worst = facts.health.tensors[:WORST]
    listed = table(
        ("tensor", "layer", "delta", "not finite"),
        ((tensor.name, tensor.layer, f"{tensor.delta:+.4f}", tensor.non_finite) for tensor in worst),
        words=2,
    )
    told = details(f"The {len(worst)} worst tensors: the child's score less the better parent's", listed)
    alt = f"health {found.status}: {', '.join(found.flagged) or 'no layer is flagged'}"
    caption = (
        "Importance is the size-weighted mean MRI score of a layer's tensors. The distance says where the merge put "
        "the layer between Father (0) and Mother (1). Of outputs: how far the child's is from the nearer parent's "
        "(dots) and the parents' from each other (line), each layer given Father's input to it, so that damage shows "
        "where it is; 1 is what his layer does. Flagged layers are marked."
    )
    drawn = figure("layers", alt, caption, partial(draw_health, facts))
    return section("health", title, paragraph(text), drawn, paragraph(agreement_of(facts.health)), told)
