"""What the report says of the child's making: accounts, cost, provenance, and what to do with it."""

import shlex
from typing import Any

import yaml

from darwinmerge import hub
from darwinmerge.checkpoint.commits import at_commits
from darwinmerge.experiment.experiment import Who
from darwinmerge.report.facts import NAMES, Facts
from darwinmerge.report.lines import megabytes, stays
from darwinmerge.report.markup import Html, code, details, element, html, paragraph, section, table
from darwinmerge.report.sections import lacking
from darwinmerge.uri import claim_of, in_pod

ACCOUNTS = {
    "merged": "of both parents, by the recipe",
    "transplanted-father": "copied from Father: the prescription is extreme",
    "transplanted-mother": "copied from Mother: the prescription is extreme",
    "identical": "the same in both parents",
    "only-in-father": "kept: only Father has it",
    "only-in-mother": "kept: only Mother has it",
    "not-a-weight": "copied: no weight",
}


def costs(facts: Facts) -> Html:
    """Tensors by account, and what the run has cost."""
    child, resolved, export = facts.summary.child, facts.seen.resolved, facts.seen.export
    parts = []
    if child:
        accounts = [(str(account), ACCOUNTS[account], f"{count:,}") for account, count in child.accounts.items()]
        accounts.append(("all", "every tensor of both parents, once", f"{sum(child.accounts.values()):,}"))
        parts.append(table(("account", "what became of them", "tensors"), accounts, words=2))
    else:
        parts.append(lacking(facts, "a child", "it is written once the search has ended"))
    told = f"{facts.summary.questions:,} questions were asked."
    if resolved:
        told += f" Father has {megabytes(resolved.father_bytes)}, Mother {megabytes(resolved.mother_bytes)}"
        told += f", the child {megabytes(export.bytes)}." if export else "."
    parts.append(paragraph(told))
    stages = facts.summary.stages
    lines = [(c.stage, c.tasks, f"{c.seconds:,.1f}", megabytes(c.peak_bytes) if c.peak_bytes else "-") for c in stages]
    lines.append(("all", sum(c.tasks for c in stages), f"{sum(c.seconds for c in stages):,.1f}", ""))
    if stages:
        parts.append(table(("stage", "tasks", "seconds", "peak memory"), lines))
        parts.append(
            paragraph(
                "Seconds of the attempts that finished a task, added up; attempts that were cut off are not in it."
            )
        )
    return section("cost", "Accounts and cost", *parts)


def provenance(facts: Facts) -> Html:
    """What the child comes from, down to the bytes."""
    x, child, resolved = facts.experiment, facts.summary.child, facts.seen.resolved
    lines: list[tuple[object, object]] = [("store", facts.summary.store), ("seed", x.spec.seed)]
    for name, (place, base) in _places(facts).items():
        lines.append((NAMES[name], place))
        if base:
            lines.append((f"{NAMES[name]} is an adapter on", base))
        if resolved:
            lines.append((f"{NAMES[name]}'s pin", element("code", getattr(resolved.pins, name))))
    if child:
        lines += [
            ("child", f"{child.path}; it stays in the store, {stays(x)}" if child.withheld else child.path),
            *([("on the hub", child.hub)] if child.hub else []),
            ("recipe", element("code", child.recipe)),
            ("written by", f"Darwin {child.version}"),
        ]
        lines += [(f"SHA-256 of {file}", element("code", sha)) for file, sha in list(child.files.items())[:8]]
        if len(child.files) > 8:
            lines.append(("more files", f"{len(child.files) - 8}; darwin.json beside the child has them all"))
    lines += [(f"scored with {name}", value) for name, value in facts.summary.environment.items()]
    text = (
        "A pin is the SHA-256 over all files of a model. The child's weights are a function of the parents, the recipe "
        "and the seed, bit for bit on any machine; scores repeat only with the same device, software and threads."
    )
    warnings = resolved.warnings if resolved else ()
    said = element("ul", *(element("li", warning) for warning in warnings)) if warnings else html()
    return section("provenance", "Provenance", paragraph(text), table(("", ""), lines, words=2), said)


def _places(facts: Facts) -> dict[Who, tuple[str, str]]:
    """Where parents and base lie, and what an adapter is on, if the manifest says; on a hub, at the run's commits."""
    where = at_commits(facts.experiment.where, facts.seen.resolved.commits if facts.seen.resolved else {})
    return {who: where.parent(who) for who in where.models}


def again(facts: Facts) -> Html:
    """How to make the child again, and how to check it."""
    text = (
        "Save these settings, all that differ from the defaults, as merge.yaml. The store is a new one: with the old "
        "one, Darwin tells what it knows already."
    )
    parts = [paragraph(text), details("merge.yaml", code(_manifest(facts))), code("darwin run merge.yaml")]
    if facts.summary.child:
        words = []
        for who, (place, base) in _places(facts).items():
            words += [f"--{who}", place, *([f"--{who}-base", base] if base else [])]
        where = shlex.join(words)
        parts.append(
            paragraph(
                "Or check the child that is there: its files, its parents, its recipe, and every byte that they give."
            )
        )
        parts.append(code(f"darwin verify {shlex.quote(facts.summary.child.path)} \\\n  {where}"))
    return section("again", "Make it again", *parts)


def _manifest(facts: Facts) -> str:
    """The experiment as a manifest that works from any folder, its store a new one."""
    x = facts.experiment
    spec: dict[str, Any] = x.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    places = _places(facts).items()
    spec["parents"] = {who: {"uri": uri, **({"base": base} if base else {})} for who, (uri, base) in places}
    spec["store"] = spec["store"] | {"uri": f"runs/{x.name}-again"}
    spec.pop("output", None)
    if x.where.task_folder:
        spec["evaluation"]["taskFolder"] = x.where.task_folder
    document = {
        "apiVersion": "darwinmerge.io/v1alpha1",
        "kind": "DarwinMerge",
        "metadata": {"name": x.name},
        "spec": spec,
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip()


def serve(facts: Facts) -> Html:
    """How to use the child."""
    title, child = "Serve it", facts.summary.child
    if not child:
        return section("serve", title, lacking(facts, "a child", "it is written once the search has ended"))
    whole = "The child is a Hugging Face folder, with Father's configuration and tokenizer"
    place, python, shell = child.path, "", ""
    parts: list[Html] = []
    if child.hub:
        there = hub.parse(child.hub)
        place, python, shell = there.model, f", revision={there.revision!r}", f" --revision {there.revision}"
        parts.append(
            paragraph(f"{whole}. It is on the hub, which wants HF_TOKEN where it is private, and in {child.path}.")
        )
    else:
        parts.append(paragraph(f"{whole}."))
    if place.startswith("s3://"):
        parts.append(code(f"aws s3 cp --recursive {shlex.quote(place)} child"))
        place = "child"
    elif claim := claim_of(place):
        place = in_pod(place)
        parts.append(paragraph(f"It lies on the volume claim {claim}, mounted in a Pod as workers mount it:"))
    quoted = shlex.quote(place)
    parts.append(
        code(
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f'model = AutoModelForCausalLM.from_pretrained({place!r}{python}, dtype="auto")',
            f"tokenizer = AutoTokenizer.from_pretrained({place!r}{python})",
        )
    )
    parts.append(code(f"vllm serve {quoted}{shell}", f"python -m sglang.launch_server --model-path {quoted}{shell}"))
    parts.append(
        paragraph(
            "In a cluster the operator runs vLLM, where the manifest has ",
            element("code", "spec.cluster.serve: {}"),
            " and the operator's chart ",
            element("code", "serving.enabled=true"),
            ".",
        )
    )
    return section("serve", title, *parts)


def reading(facts: Facts) -> Html:
    """What the words of this page mean."""
    alpha, seen = f"{facts.experiment.spec.evaluation.alpha:g}", facts.seen
    rows = ", ".join(f"{c.task} {c.search:,} + {c.fresh:,} fresh" for c in seen.rows.counts) if seen.rows else ""
    verdicts = ", ".join(f"{c.task} {c.verdict:,}" for c in seen.rows.counts) if seen.rows else ""
    terms = (
        (
            "Search rows",
            f"The questions that chose the child{f': {rows}' if rows else ''}. The best of many candidates looks "
            "better on them than it is. Fresh rows are further ones of the same side, asked of the finalists only.",
        ),
        (
            "Verdict rows",
            f"The questions that judge it{f': {verdicts}' if verdicts else ''}. No candidate was asked one of them, "
            "none shares its text or group with a search row, and none is an example in a prompt.",
        ),
        (
            "Better, NotDifferent, Worse",
            f"Better and Worse: if the two models were equally good, so great a difference would come up in less than "
            f"{alpha} of all such experiments (less, from the second look on). NotDifferent doesn't mean equal: it "
            "means that these rows can't tell. The interval says how great the difference may be.",
        ),
        (
            "The label",
            "ChildBeatsBoth: Better than both parents. BeatsFather, BeatsMother: Better than one, and NotDifferent "
            "from the other. Worse: Worse than at least one parent. NoSignificantDifference: neither. The plain "
            "average has no part in the label, but a child that isn't Better than it was not worth the search.",
        ),
        (
            "Look",
            "How often these verdict rows have been looked at. A run that is lengthened after its verdict looks again, "
            "and has one more chance to be lucky, so each look halves the level.",
        ),
        (
            "What it is about",
            "These tasks, asked in this way. Nothing here says how the child does at anything else. A metric of which "
            "less is better is turned around in means, differences and wins.",
        ),
    )
    listed = html(*(html(element("dt", term), element("dd", meaning)) for term, meaning in terms))
    return section("reading", "How to read this", element("dl", listed))
