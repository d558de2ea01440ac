"""The model card: honest about the verdict, right for the hub's own reader, and safe from what parents' folders say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard

from darwinmerge.checkpoint.folder import ModelFolder
from darwinmerge.evaluation.answers import Answers, TaskAnswers
from darwinmerge.evaluation.rows import Row, RowSets, TaskRows
from darwinmerge.evaluation.verdict import compare, label
from darwinmerge.experiment.benchmark import BenchmarkTask
from darwinmerge.experiment.merging import Merge
from darwinmerge.merge.recipe import Mixing, Pins, child_recipe
from darwinmerge.pipeline.known import Generation, Walk
from darwinmerge.pipeline.results import HealthSummary, ScoreSummary, VerdictSummary
from darwinmerge.pipeline.tasks import PublishInputs, Terms
from darwinmerge.publish.card import card
from darwinmerge.publish.card_head import Findings
from darwinmerge.publish.licences import forbids
from darwinmerge.publish.lineage import Ancestor, Licence, ancestor
from darwinmerge.publish.record import Record
from darwinmerge.search.genome import Genome
from tests.build import normal, table, tensor, write_model

APACHE = Licence(id="apache-2.0")
ENV = {"lm_eval": "0.4.13", "transformers": "5.24.0", "torch": "2.13.0", "device": "cpu", "hardware": "x86_64 AVX512"}
MODELS = ("father", "mother", "linear", "child")


def row(split: str, number: int) -> Row:
    return Row(split=split, position=number, content=f"{split}{number}", question=f"{split}{number}")


def answers(right: int, of: int = 40) -> Answers:
    """So many right answers to the one task's questions."""
    values = tuple([1.0] * right + [0.0] * (of - right))
    names = tuple(f"test{number}" for number in range(of))
    task = TaskAnswers(task="nouns", metric="acc,none", weight=1, higher_is_better=True, rows=names, values=values)
    return Answers(recipe="r", sets=("verdict",), env=ENV, tasks=(task,))


def findings(
    father: int = 20,
    mother: int = 22,
    linear: int = 30,
    child: int = 36,
    finalists: int = 3,
    tied: int = 0,
    dataset: tuple[str, str] = ("json", ""),
    parents: tuple[Ancestor, Ancestor] | None = None,
) -> Findings:
    """What is known of a child that answers `child` of 40 questions, its parents and their average as many as that."""
    scored = dict(zip(MODELS, (answers(right) for right in (father, mother, linear, child)), strict=True))
    of_child = scored["child"]
    versus = {name: compare(of_child.oriented(), scored[name].oriented(), [1.0], 0.05, 0) for name in MODELS[:3]}
    rows = TaskRows(
        task="nouns",
        higher_is_better=True,
        search=tuple(row("train", number) for number in range(10)),
        fresh=tuple(row("validation", number) for number in range(5)),
        verdict=tuple(row("test", number) for number in range(40)),
    )
    inputs = PublishInputs(
        title="tiny",
        recipe="r",
        weights="w",
        verdict=VerdictSummary(
            label=label(versus),
            n=40,
            alpha=0.05,
            looks=1,
            answers="a",
            **{f"vs_{name}": comparison for name, comparison in versus.items()},
        ),
        health=HealthSummary(table="t", status="Flagged", layers=4, flagged=("2: Interference",)),
        rows="rows",
        scores={},
        terms=Terms(
            tasks=(BenchmarkTask(name="nouns", num_fewshot=3),), dtype="auto", batch_size=8, chunk=8, threads=1
        ),
        candidates=12,
        finalists=finalists,
        tied=tied,
        destination="",
    )
    pins = Pins(father="f" * 64, mother="m" * 64)
    genome = Genome.of([0.5, 0.4, 0.6, 0.5, 1.0, 0.8])
    mixing = Mixing(mri_weight=0.7, merge=Merge())
    recipe = child_recipe(table(), genome, pins, mixing, 1)
    record = Record(
        genome=genome,
        mixing=mixing,
        table="t",
        father={},
        mother={},
        pins=pins,
        recipe=recipe,
        recipe_id=recipe.id,
        accounts=recipe.accounts(),
        files={},
        version="0.1.0",
    )
    both = parents or (Ancestor(name="org/father", licence=APACHE), Ancestor(name="org/mother", licence=APACHE))
    asked = {"nouns": dataset}
    return Findings(inputs, record, both, RowSets(tasks=(rows,)), scored, asked)


def head(found: Findings) -> dict[str, Any]:
    """The card's head, as the hub's own library reads it."""
    data: Any = ModelCard(card(found)).data
    told: dict[str, Any] = data.to_dict()
    return told


def result(found: Findings) -> EvalResult:
    """The card's one result, as the hub's own library reads it."""
    data: Any = ModelCard(card(found)).data
    (told,) = data.eval_results
    assert isinstance(told, EvalResult)
    return told


def licensed(father: Licence, mother: Licence) -> Findings:
    return findings(parents=(Ancestor(name="a", licence=father), Ancestor(name="b", licence=mother)))


def folder(path: Path, readme: str = "", **config: Any) -> ModelFolder:
    """A model folder with a card of its own."""
    write_model(path, {"model.norm.weight": tensor(normal(0, 4))}, **config)
    if readme:
        (path / "README.md").write_text(readme)
    return ModelFolder(path)


def test_the_same_findings_give_the_same_card() -> None:
    assert card(findings()) == card(findings())


def test_a_child_that_beats_both_says_so_first() -> None:
    assert "# tiny\n\n> **This child beats both its parents.** On 40 questions" in card(findings())


def test_a_child_that_beats_nobody_says_so_first() -> None:
    assert "# tiny\n\n> **This child has not been shown to beat both its parents.**" in card(findings(child=23))
    assert "# tiny\n\n> **This child is no improvement.**" in card(findings(father=39, child=30))


def test_a_child_behind_the_plain_average_says_so_though_it_beats_both_parents() -> None:
    text = card(findings(linear=40, child=34))
    assert "the child is better than both parents; it is worse than the plain average." in text


def test_a_base_is_named_where_the_parents_are() -> None:
    plain = findings()
    pins = plain.record.pins.model_copy(update={"base": "b" * 64})
    mixing = Mixing(mri_weight=0.7, merge=Merge(method="Ties", lambda_=0.5), base=True)
    recipe = child_recipe(table(), plain.record.genome, pins, mixing, 1)
    record = plain.record.model_copy(update={"pins": pins, "mixing": mixing, "recipe": recipe})
    found = replace(plain, record=record, base=Ancestor(name="org/base", licence=APACHE))
    assert head(found)["base_model"] == ["org/father", "org/mother", "org/base"]
    text = card(found)
    assert f"| base | `org/base` | `{'b' * 64}` | `apache-2.0` | - |" in text
    assert "Ties with a base, lambda 0.5, MRI weight 0.7, mask seed 0, density 0.8, of Father's task vector 1." in text
    assert "--base BASE" in text
    assert "| base |" not in card(plain) and "--base" not in card(plain)


@pytest.mark.parametrize(
    ("hub", "python", "shell"),
    [
        ("", '"CHILD"', "CHILD"),
        ("hf://org/child@main", '"org/child"', "org/child"),
        ("hf://org/child@v1", '"org/child", revision="v1"', "org/child --revision v1"),
    ],
)
def test_a_card_on_a_hub_says_how_the_child_is_called_there(hub: str, python: str, shell: str) -> None:
    plain = findings()
    text = card(replace(plain, inputs=plain.inputs.model_copy(update={"hub": hub})))
    assert f"AutoTokenizer.from_pretrained({python})" in text
    assert f"vllm serve {shell}\n" in text


@pytest.mark.parametrize(
    ("licence", "forbidden"),
    [
        (Licence(id="cc-by-nd-4.0"), True),
        (Licence(id="cc-by-nc-nd-3.0"), True),
        (Licence(id="other", name="My No-Derivatives Licence"), True),
        (Licence(id="cc-by-nc-sa-4.0"), False),
        (Licence(id="apache-2.0"), False),
        (Licence(id="llama3.1"), False),
        (Licence(id="other", name="tongyi-qianwen-brand"), False),
        (Licence(), False),
    ],
)
def test_licences_that_forbid_to_share_what_is_made_from_a_model(licence: Licence, forbidden: bool) -> None:
    assert forbids(licence) == forbidden


def test_the_hub_reads_parents_and_licence() -> None:
    told = head(findings())
    assert told["base_model"] == ["org/father", "org/mother"]
    assert told["base_model_relation"] == "merge"
    assert told["library_name"] == "transformers"
    assert told["pipeline_tag"] == "text-generation"
    assert told["license"] == "apache-2.0"
    assert {"merge", "darwin"} <= set(told["tags"])


def test_a_parent_that_the_hub_does_not_know_is_replaced_by_what_it_is_made_from_and_the_text_says_so() -> None:
    made = Ancestor(name="father", base="org/base"), Ancestor(name="mother", base="org/base")
    mixed = Ancestor(name="org/father", base="org/base"), Ancestor(name="mother", base="org/other")
    for parents, known in ((made, ["org/base"]), (mixed, ["org/father", "org/other"])):
        told = head(findings(parents=parents))
        assert told["base_model"] == known
        assert "base_model_relation" not in told
        assert f"`base_model` of this card names `{known[-1]}` in its place" in card(findings(parents=parents))
    assert "Father's id on the model hub" not in card(findings(parents=mixed))


def test_a_name_of_a_folder_is_no_link_to_the_hub() -> None:
    found = findings(parents=(Ancestor(name="father"), Ancestor(name="mother")))
    assert not {"base_model", "base_model_relation"} & head(found).keys()
    assert card(found).count("`base_model` of this card doesn't name it") == 2


def test_the_hub_reads_the_results() -> None:
    told = result(findings(dataset=("allenai/ai2_arc", "ARC-Easy")))
    assert (told.task_type, told.dataset_name, told.dataset_split) == ("text-generation", "nouns", "test")
    assert (told.dataset_type, told.dataset_config) == ("allenai/ai2_arc", "ARC-Easy")
    assert (told.metric_type, told.metric_value, told.verified) == ("acc", 0.9, False)
    assert told.dataset_args == {"rows": 40, "num_fewshot": 3}
    assert told.source_name == "lm-evaluation-harness 0.4.13"


@pytest.mark.parametrize("path", ["json", "", "/home/someone/nouns", "nouns"])
def test_data_that_is_not_the_hub_s_is_not_linked_to_it(path: str) -> None:
    told = result(findings(dataset=(path, "a")))
    assert (told.dataset_type, told.dataset_config, told.dataset_name) == ("custom", None, "nouns")


def test_the_results_are_those_of_the_child_and_not_of_the_best() -> None:
    assert result(findings(linear=40, child=34)).metric_value == 0.85


def test_it_tells_what_each_part_of_the_run_saw() -> None:
    text = card(findings())
    assert "| `nouns` | `acc,none` | 1 | 3 | 10 of `train` | 5 of `validation` | 40 of `test` |" in text
    assert "The search tried 12 children, on its own rows only; the best 3 of them were asked the fresh rows" in text


def test_a_tie_is_told_and_what_decided_it() -> None:
    assert "this one has the best score on both sets together." in card(findings())
    tied = (
        "this one has the best score on both sets together (tied with 1 other; the one ahead on search rows was taken)."
    )
    assert tied in card(findings(tied=1))
    at_once = "this one has the best score (tied with 2 others; the earliest was taken)."
    assert at_once in card(findings(tied=2, finalists=0))


def test_tied_are_those_with_the_winner_s_score_where_it_was_chosen() -> None:
    def scored(score: float, recipe: str) -> ScoreSummary:
        return ScoreSummary(score=score, n=40, recipe=recipe, answers=recipe, env="e")

    results = tuple(scored(score, name) for score, name in ((0.5, "a"), (0.75, "b"), (0.75, "c"), (0.75, "b")))
    searched = Generation(1, (), (), results)
    assert Walk(generations=[searched]).tied == 1
    assert Walk(generations=[searched], finalists={0: scored(0.7, "b"), 1: scored(0.8, "c")}).tied == 0
    assert Walk(finalists={place: scored(0.8, name) for place, name in enumerate("abc")}).tied == 2


def test_without_finalists_it_claims_no_fresh_rows() -> None:
    text = card(findings(finalists=0))
    assert "| 10 of `train` | none | 40 of `test` |" in text
    assert "fresh rows" not in text


@pytest.mark.parametrize("start", ["| `nouns` | 40", "| weighted mean | 40"])
def test_every_model_is_in_the_table_with_its_interval(start: str) -> None:
    found = findings()
    line = next(line for line in card(found).splitlines() if line.startswith(start))
    cells = [cell.strip() for cell in line.strip("|").split("|")][2:]
    assert [cell.partition(" (")[0] for cell in cells] == ["0.500", "0.550", "0.750", "0.900"]
    for cell in cells:
        mean, low, high = (float(word) for word in cell.replace("(", "").replace(")", "").replace(" to ", " ").split())
        assert low < mean < high


def test_flagged_layers_are_told() -> None:
    assert "Health check, layer by layer beside both parents: Flagged (`2: Interference`)." in card(findings())


@pytest.mark.parametrize(
    ("father", "mother"),
    [
        (APACHE, Licence(id="mit")),
        (APACHE, Licence()),
        (Licence(), Licence()),
        (Licence(id="other"), Licence(id="other")),
        (Licence(id="other", name="a"), Licence(id="other", name="b")),
    ],
    ids=["different", "one unknown", "both unknown", "both without a name", "with different names"],
)
def test_licences_that_are_not_known_to_be_one_are_left_to_the_reader(father: Licence, mother: Licence) -> None:
    found = licensed(father, mother)
    assert head(found)["license"] == "other"
    assert "The parents' licences are not known to be one" in card(found)


def test_a_named_licence_of_both_keeps_name_and_link() -> None:
    both = Licence(id="other", name="yi-license", link="https://example.org/licence")
    told = head(licensed(both, both))
    assert (told["license"], told["license_name"], told["license_link"]) == ("other", both.name, both.link)


def test_languages_are_those_of_both() -> None:
    both = Ancestor(name="a", languages=("en", "fr")), Ancestor(name="b", languages=("de", "en"))
    assert head(findings(parents=both))["language"] == ["en"]
    assert "language" not in head(findings())


HOSTILE = "x\n---\nlicense: mit\n<script>alert(1)</script> | `a` |\n# Title"


def test_what_parents_say_cannot_become_markup_or_metadata() -> None:
    licence = Licence(id="other", name=HOSTILE)
    parents = (Ancestor(name=HOSTILE, licence=licence), Ancestor(name=HOSTILE, licence=licence))
    found = findings(parents=parents)
    told, plain = head(found), findings(parents=(Ancestor(name="a"), Ancestor(name="b")))
    assert "base_model" not in told
    assert (told["license"], told["license_name"]) == ("other", HOSTILE)
    body = card(found).split("\n---\n# tiny\n")[1]
    other = card(plain).split("\n---\n# tiny\n")[1]
    assert [line.count("|") for line in body.splitlines()] == [line.count("|") for line in other.splitlines()]
    assert all("<script>" not in line or line.count("`") % 2 == 0 for line in body.splitlines())
    assert "# Title" not in body.splitlines()


def test_a_parent_is_called_what_its_place_or_itself_surely_says(tmp_path: Path) -> None:
    plain = folder(tmp_path / "father", _name_or_path="org/its-base")
    own = folder(tmp_path / "Model-7B", _name_or_path="org/Model-7B")
    path = folder(tmp_path / "here", _name_or_path="/home/someone/here")
    assert ancestor(str(tmp_path / "father/"), plain).name == "father"
    assert ancestor(str(tmp_path / "Model-7B"), own).name == "org/Model-7B"
    assert ancestor("s3://bucket/models/here/", path).name == "here"
    assert ancestor("hf://org/model@main", plain).name == "org/model"
    assert ancestor("/cache/models--org--model/snapshots/0123abcd", plain).name == "org/model"


def test_a_parent_s_card_tells_licence_languages_and_base(tmp_path: Path) -> None:
    readme = "---\nlicense: apache-2.0\nlanguage: [en, fr]\nbase_model: org/base\n---\n# A model\nlicense: mit\n"
    told = ancestor("a", folder(tmp_path / "a", readme))
    assert (told.licence, told.languages, told.base) == (APACHE, ("en", "fr"), "org/base")


@pytest.mark.parametrize(("listed", "base"), [("[org/base]", "org/base"), ("[org/base, org/other]", "")])
def test_a_card_may_list_what_a_model_is_made_from(tmp_path: Path, listed: str, base: str) -> None:
    assert ancestor("a", folder(tmp_path / "a", f"---\nbase_model: {listed}\n---\n")).base == base


@pytest.mark.parametrize(
    "readme",
    [
        "",
        "license: mit",
        "---\nlicense: [\n---\n",
        "---\n- license\n---\n",
        "---\nlicense: {a: b}\nlanguage: no\n---\n",
        "---\nlicense: 'mit\n  tags: x'\n---\n",
        "---\nmade: 2026-13-45\nlicense: mit\n---\n",
        "---\nlicense: !!python/object/apply:os.system [id]\n---\n",
    ],
    ids=["none", "no head", "broken", "a list", "not words", "two lines", "no date", "a tag that runs code"],
)
def test_a_card_that_tells_nothing_sure_is_no_source(tmp_path: Path, readme: str) -> None:
    assert ancestor("a", folder(tmp_path / "a", readme)) == Ancestor(name="a")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("                 Apache License\n           Version 2.0, January 2004\n", "apache-2.0"),
        ("MIT License\n\nCopyright", "mit"),
        ("All rights reserved, see the MIT License for what this is not", ""),
    ],
)
def test_a_licence_file_counts_where_the_card_is_silent(tmp_path: Path, text: str, known: str) -> None:
    folder(tmp_path / "a", "# A model\n")
    (tmp_path / "a" / "LICENSE").write_text(text)
    assert ancestor("a", ModelFolder(tmp_path / "a")).licence.id == known
