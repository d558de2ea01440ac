"""The report: one HTML file that needs nothing else, of a run that is finished, has failed, or still goes.

It loads nothing and runs nothing, so that it can be mailed, archived and opened anywhere, and what a manifest or a
store says is escaped. The same store gives the same bytes.
"""

from importlib.resources import files

from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.known import Results
from darwinmerge.report import compared, origins, sections
from darwinmerge.report.facts import gather
from darwinmerge.report.markup import Html, element, html
from darwinmerge.store import Store

PARTS = (
    sections.fitness,
    sections.genes,
    sections.mri,
    sections.health,
    compared.questions,
    compared.scores,
    origins.costs,
    origins.provenance,
    origins.again,
    origins.serve,
    origins.reading,
)


def page(experiment: Experiment, results: Results, store: Store) -> str:
    """The report of a run as far as it is.

    Raises:
        BadInput: an object that the results refer to is gone, or damaged.
    """
    facts = gather(experiment, results, store)
    style = Html(files("darwinmerge.report").joinpath("page.css").read_text())
    body = html(sections.head(facts), *(part(facts) for part in PARTS))
    foot = element("footer", f"Drawn by Darwin from the store {facts.summary.store}; darwin report draws it anew.")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{element("title", f"{experiment.name}: Darwin")}
<style>
{style}</style>
</head>
<body>
{element("main", body, foot)}
</body>
</html>
"""
