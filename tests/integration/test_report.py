"""The report of a real run, at every moment of it: it says what the store says, and needs nothing but itself."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from darwinmerge.errors import ExitCode
from darwinmerge.experiment.experiment import Experiment
from darwinmerge.pipeline.claim import held, noted
from darwinmerge.pipeline.known import Results
from darwinmerge.pipeline.plan import plan, walk
from darwinmerge.pipeline.results import Done, HealthSummary, Rejected, Result, ScoreSummary, TaskId
from darwinmerge.pipeline.tasks import Stage, candidate_of
from darwinmerge.report.facts import gather
from darwinmerge.report.origins import serve
from darwinmerge.report.page import page
from darwinmerge.report.state import costs_of
from darwinmerge.report.summary import build
from darwinmerge.store import FileStore, Store, layout, open_store
from tests.integration.conftest import World, darwin

pytestmark = pytest.mark.timeout(600)

HOSTILE = "</title><script>alert(1)</script>"
VOID = {"meta"}


class Read(HTMLParser):
    """A page as a browser takes it: elements, what they refer to, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        self.references += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += f"{data} "


@dataclass(frozen=True)
class Finished:
    """A run that has ended, and its page."""

    experiment: Experiment
    results: Results
    store: Store
    text: str


@pytest.fixture(scope="session")
def run(undisturbed: World) -> Finished:
    store = open_store(str(undisturbed.store))
    experiment = noted(store)
    results = held(experiment, store)
    return Finished(experiment, results, store, page(experiment, results, store))


def test_each_task_s_cost_is_read_once(run: Finished) -> None:
    reads: Counter[str] = Counter()

    class Counting(FileStore):
        def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
            reads[key] += 1
            return super().read(key, start, stop)

    page(run.experiment, run.results, Counting(Path(run.experiment.where.store)))
    costs = [stat.key for stat in run.store.list(layout.COSTS)]
    assert costs
    assert [reads[key] for key in costs] == [1] * len(costs)


def moments(run: Finished) -> Iterator[dict[TaskId, Result]]:
    """What was known whenever another kind of task came to be ready, from nothing on."""
    known: dict[TaskId, Result] = {}
    before: set[Stage] = set()
    while True:
        ready = plan(run.experiment, known).ready
        stages = {task.stage for task in ready}
        if stages != before:
            yield dict(known)
        before = stages
        if not ready:
            return
        known[ready[0].id] = run.results[ready[0].id]


def dots(text: str) -> list[str]:
    """Titles of the dots in the wide picture of the generations."""
    wide = text[text.index('id="by-generation-wide') :]
    titles = re.findall(r"<title>(.*?)</title>", wide[: wide.index("</svg>")])
    return [title for title in titles if title.startswith("generation")]


def test_it_says_the_verdict_and_the_scores_of_the_summary(run: Finished) -> None:
    seen, costs = walk(run.experiment, run.results), costs_of(run.store)
    summary, words = build(run.experiment, seen, run.store, costs), Read(run.text).words
    assert summary.verdict
    assert summary.verdict.label in words
    for model in summary.models:
        assert f"{model.verdict_score:.3f}" in words
        for task in (*model.search, *model.verdict):
            assert f"{task.value:.3f} {task.low:.3f} to {task.high:.3f}" in words
    for versus in (summary.verdict.vs_father, summary.verdict.vs_mother, summary.verdict.vs_linear):
        assert f"{versus.difference:+.3f}" in words
    for pair in summary.pairs:
        assert f"{pair.task} against" in words
    assert summary.child
    assert summary.child.sha256 in words


def test_every_candidate_is_a_dot_with_its_place_score_and_genes(run: Finished) -> None:
    seen = walk(run.experiment, run.results)
    found = dots(run.text)
    assert len(found) == sum(len(generation.results) for generation in seen.generations) == 6
    for task in (task for generation in seen.generations for task in generation.tasks):
        candidate = candidate_of(task.inputs)
        assert candidate
        own = [t for t in found if t.startswith(f"generation {candidate.generation}, candidate {candidate.index + 1}:")]
        assert len(own) == 1
        assert f"attn {candidate.genome.attn:.3f}" in own[0]
    assert sum("the winner" in title for title in found) == 1


def test_the_winner_is_named_among_the_finalists_with_those_that_it_is_tied_with(run: Finished) -> None:
    seen = walk(run.experiment, run.results)
    first, *others = [found for _, found in sorted(seen.finalists.items())]
    assert f"on their {first.n} search and fresh questions together: " in Read(run.text).words
    assert Read(run.text).words.count(", the winner") == 1
    answers = {other.answers for other in others}
    level: dict[TaskId, Result] = dict(run.results)
    for task, result in run.results.items():
        if isinstance(result, Done) and isinstance(result.summary, ScoreSummary) and result.summary.answers in answers:
            summary = result.summary.model_copy(update={"score": first.score})
            level[task] = result.model_copy(update={"summary": summary})
    words = Read(page(run.experiment, level, run.store)).words
    tied = f"tied with {len(others)} other{'s' * (len(others) > 1)}; the one ahead on search rows was taken"
    assert f"together: {first.score:.3f}, the winner ({tied})" in words


def test_as_long_as_nothing_is_chosen_there_is_a_best_so_far_and_no_winner(run: Finished) -> None:
    searching = [known for known in moments(run) if walk(run.experiment, known).generations]
    unfinished = [known for known in searching if not walk(run.experiment, known).winner][-1]
    words = Read(page(run.experiment, unfinished, run.store)).words
    assert "winner" not in words
    assert "The star is the best so far." in words
    assert "The star is the winner." in Read(run.text).words


def test_a_square_has_as_much_colour_as_its_prescription_is_away_from_one_half(run: Finished) -> None:
    found = re.findall(r"fill-opacity: ([\d.]+)[^<]*><title>[^:]*: (0\.\d{5});", run.text)
    assert len(found) > 10
    for depth, ratio in found:
        assert float(depth) == pytest.approx(abs(float(ratio) - 0.5) / 0.02, abs=0.001)


def test_it_loads_nothing_and_runs_nothing(run: Finished) -> None:
    read = Read(run.text)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(read.tags)
    assert all(reference.startswith("#") for reference in read.references)
    assert "@import" not in run.text
    assert re.findall(r"url\((?!#)", run.text) == []


def test_it_is_well_formed_and_no_name_is_given_twice(run: Finished) -> None:
    assert Read(run.text).open == []
    names = re.findall(r' id="([^"]*)"', run.text)
    assert len(names) == len(set(names))
    pictures = re.findall(r"<svg .*?</svg>", run.text, re.DOTALL)
    assert len(pictures) == 10
    for picture in pictures:
        ElementTree.fromstring(picture)


def test_the_same_store_gives_the_same_bytes(run: Finished) -> None:
    assert page(run.experiment, run.results, run.store) == run.text


def test_it_can_be_drawn_at_any_moment_and_says_what_is_not_there_yet(run: Finished) -> None:
    told = []
    for known in moments(run):
        read = Read(page(run.experiment, known, run.store))
        assert read.open == []
        assert read.tags.count("section") == 11
        told.append(read.words.count("There isn't"))
    assert told == sorted(told, reverse=True)
    assert told[0] > 6
    assert told[-1] == 0


def rejected(run: Finished, message: str) -> dict[TaskId, Result]:
    """The results, but every candidate was rejected."""
    results = dict(run.results)
    for generation in walk(run.experiment, run.results).generations:
        for task in generation.tasks:
            candidate = candidate_of(task.inputs)
            results[task.id] = Rejected(task=task.id, reason="NonFiniteScores", message=message, candidate=candidate)
    return results


def test_a_run_that_failed_says_why_and_shows_what_was_rejected(run: Finished) -> None:
    text = page(run.experiment, rejected(run, f"log-likelihoods are NaN {HOSTILE}"), run.store)
    words = Read(text).words
    assert "Failed: NoCandidate: every candidate was rejected" in words
    assert "ended before there was a verdict" in words
    assert "There isn't" not in words
    assert {title.partition(": ")[2].partition(";")[0] for title in dots(text)} == {"rejected, NonFiniteScores"}
    assert HOSTILE in words
    assert "script" not in Read(text).tags


def test_health_tells_of_every_block_how_far_its_output_lies_from_its_parents(run: Finished) -> None:
    section = run.text[run.text.index('id="layers-wide') :]
    titles = re.findall(
        r"<title>(layer \d: \S+ from the nearer parent's, which are \S+ apart)</title>", unescape(section)
    )
    assert len(titles) == 2 * 4  # wide and narrow, four layers
    assert "the same is said next by Father and child in" in section


def test_a_child_that_failed_its_health_check_is_not_recommended(run: Finished) -> None:
    results: dict[TaskId, Result] = dict(run.results)
    for task, result in run.results.items():
        if isinstance(result, Done) and isinstance(result.summary, HealthSummary):
            failed = result.summary.model_copy(update={"status": "Fail", "flagged": ("1: Fail",)})
            results[task] = result.model_copy(update={"summary": failed})
    words = Read(page(run.experiment, results, run.store)).words
    assert "The health check failed (1: Fail): the child was not published, and should not be used." in words
    assert "Complete:" in words


COMMIT = "0123456789abcdef0123456789abcdef01234567"
SERVED = {  # where a child is, and what the page says of its use
    "a folder": (
        {"path": "/models/it's"},
        ['from_pretrained("/models/it\'s", dtype="auto")', "vllm serve '/models/it'\"'\"'s'\n"],
    ),
    "a bucket": (
        {"path": "s3://bucket/child"},
        [
            "aws s3 cp --recursive s3://bucket/child child",
            "from_pretrained('child', dtype=\"auto\")",
            "vllm serve child\n",
        ],
    ),
    "a hub": (
        {"path": "/models/child", "hub": f"hf://org/child@{COMMIT}"},
        [
            "It is on the hub, which wants HF_TOKEN where it is private, and in /models/child.",
            f"AutoModelForCausalLM.from_pretrained('org/child', revision='{COMMIT}', dtype=\"auto\")",
            f"AutoTokenizer.from_pretrained('org/child', revision='{COMMIT}')",
            f"vllm serve org/child --revision {COMMIT}\n",
            f"python -m sglang.launch_server --model-path org/child --revision {COMMIT}",
        ],
    ),
}


@pytest.mark.parametrize(("place", "says"), SERVED.values(), ids=SERVED)
def test_it_says_how_to_serve_the_child_from_where_it_is(run: Finished, place: dict[str, str], says: list[str]) -> None:
    facts = gather(run.experiment, run.results, run.store)
    assert facts.summary.child
    child = facts.summary.child.model_copy(update=place)
    words = Read(str(serve(replace(facts, summary=facts.summary.model_copy(update={"child": child}))))).words
    assert [line for line in says if line not in words] == []
    assert "spec.cluster.serve: {}" in words


def test_the_child_of_the_run_is_served_from_its_folder(run: Finished, undisturbed: World) -> None:
    (child,) = (undisturbed.store / "children").iterdir()
    assert f"vllm serve {child}\n" in Read(run.text).words
    assert (child / "model.safetensors.index.json").exists()


def test_names_and_places_are_text_whatever_they_are(run: Finished) -> None:
    where = run.experiment.where.model_copy(update={"father": HOSTILE, "mother": HOSTILE})
    text = page(run.experiment.model_copy(update={"name": HOSTILE, "where": where}), run.results, run.store)
    read = Read(text)
    assert "script" not in read.tags
    assert read.tags.count("title") == Read(run.text).tags.count("title")
    assert escape(HOSTILE) in text


def test_a_run_without_a_verdict_shows_no_scores_on_verdict_rows(run: Finished) -> None:
    unfinished = [known for known in moments(run) if not walk(run.experiment, known).verdicts][-1]
    assert "verdict rows" in Read(run.text).words
    assert 'id="verdict-wide' not in page(run.experiment, unfinished, run.store)


def test_the_command_draws_beside_a_local_store_wherever_that_lies_now(run: Finished, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(run.store.uri.removeprefix("file://"), copy)
    (copy / "report.html").unlink(missing_ok=True)
    told = darwin("report", copy, "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == {
        "report": str(copy / "report.html"),
        "bytes": (copy / "report.html").stat().st_size,
    }


def test_the_command_writes_where_it_is_told(undisturbed: World, run: Finished, tmp_path: Path) -> None:
    assert darwin("report", undisturbed.manifest, "-o", tmp_path / "page.html").returncode == 0
    assert (tmp_path / "page.html").read_text() == run.text
    assert darwin("report", undisturbed.manifest, "-o", "-").stdout == run.text
    refused = darwin("report", undisturbed.manifest, "-o", tmp_path / "nowhere" / "page.html")
    assert refused.returncode == ExitCode.BAD_CONFIGURATION
    assert "No such file or directory" in refused.stderr
