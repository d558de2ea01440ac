"""How models are asked: few-shot, generation, chat templates, groups, code, other engines; each on real models."""

import json
import re
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from darwinmerge.errors import BadConfiguration, BadInput, EvaluatorFailed, ExitCode
from darwinmerge.evaluation.answers import Answers, read_answers
from darwinmerge.evaluation.harness import Benchmark
from darwinmerge.evaluation.lm_task import digest_of
from darwinmerge.experiment.experiment import experiment_of
from darwinmerge.experiment.load import load
from darwinmerge.pipeline.claim import claim
from darwinmerge.pipeline.place import Place
from darwinmerge.pipeline.plan import plan
from darwinmerge.pipeline.results import Done, Result, ScoreSummary, TaskId
from darwinmerge.pipeline.tasks import ScoreInputs
from darwinmerge.pipeline.worker import exit_code, perform
from darwinmerge.store import open_store
from tests.integration.conftest import SKILLS, World, darwin
from tests.integration.test_kill import Run, keys, wait_until

Json = dict[str, Any]


def father(world: World, known: Mapping[TaskId, Result] | None = None) -> tuple[ScoreSummary, Answers]:
    """Father's score on search rows, by the shortest way there from what is known."""
    x = experiment_of(load(world.manifest), world.folder)
    store = open_store(x.where.store)
    claim(x, store)
    place = Place(x.where, store, threading.Event(), lambda done, total: None)
    results = dict(known or {})
    while True:
        for task in plan(x, results).ready:
            wanted = not isinstance(task.inputs, ScoreInputs) or task.inputs.model.model == "father"
            if wanted and task.id not in results:
                found = results[task.id] = perform(task, task.id, place, last_try=False)
                if isinstance(found, Done) and isinstance(found.summary, ScoreSummary):
                    return found.summary, read_answers(store, found.summary.answers)


def asked(world: World) -> list[Json]:
    """What lm-eval's own files say was asked and answered on search rows."""
    files = sorted((world.store / "lm-eval").rglob("samples_*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def tasks(world: World, **changes: Any) -> None:
    """Change the manifest's tasks."""
    document = yaml.safe_load(world.manifest.read_text())
    world.edit("evaluation", "tasks", value=[task | changes for task in document["spec"]["evaluation"]["tasks"]])


def change(world: World, task: str, **changes: Any) -> None:
    """Change a task's file."""
    path = world.folder / "tasks" / f"{task}.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


# ---- few-shot


@pytest.mark.slow
def test_killed_between_chunks_five_examples_give_the_same_prompts_and_log_likelihoods(
    world: World, tmp_path: Path
) -> None:
    tasks(world, numFewshot=5, search={"rows": 48}, verdict={"rows": 48})
    world.edit("evaluation", "chunk", value=16)
    world.edit("evolution", value={"steps": 1, "candidates": 2})
    quiet = World(tmp_path / "quiet")
    shutil.copytree(world.folder, quiet.folder)
    undisturbed = Run(quiet)
    undisturbed.story()
    assert undisturbed.process.wait() == 0

    run = Run(world)
    for chunks in (1, 8, 20):

        def reached(chunks: int = chunks) -> bool:
            return sum(key.startswith("scores/") for key in keys(world.store)) >= chunks

        wait_until(reached)
        run.kill("runner")
        run = Run(world)
    run.story()
    assert run.process.wait() == 0
    assert world.objects() == quiet.objects()  # prompts are in lm-eval/samples_*, log-likelihoods there and in scores/
    assert all(line["arguments"]["gen_args_0"]["arg_0"].count("\n\n") == 5 for line in asked(world))


def test_a_question_is_never_an_example_of_itself_nor_is_one_of_the_verdict(world: World) -> None:
    tasks(world, numFewshot=5)
    father(world)
    (rows,) = (world.store / "rows").iterdir()
    verdict = {
        (rows["task"], row["position"]) for rows in json.loads(rows.read_text())["tasks"] for row in rows["verdict"]
    }
    texts = {
        skill: [json.loads(line)["text"] for line in (world.folder / "tasks" / f"{skill}.jsonl").open()]
        for skill in SKILLS
    }
    kept = {texts[task][position] for task, position in verdict}
    for line in asked(world):
        *examples, question = line["arguments"]["gen_args_0"]["arg_0"].split("\n\n")
        assert len(examples) == 5
        for example in examples:
            assert not any(example.startswith(text) for text in kept | {question})


def test_more_examples_than_there_are_is_said(world: World) -> None:
    tasks(world, numFewshot=60, search={"rows": 5}, verdict={"rows": 360})
    with pytest.raises(BadInput, match=r"task skill_a: numFewshot 60, and \d+ examples are left"):
        father(world)


# ---- generation, chat templates


def generative(world: World) -> None:
    for skill in SKILLS:
        change(
            world,
            skill,
            output_type="generate_until",
            doc_to_target="{{choices[gold]}}",
            doc_to_choice=None,
            generation_kwargs={"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
            metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        )
    tasks(world, metric="exact_match,none", search={"rows": 20}, verdict={"rows": 20})


def test_a_generative_task_is_scored_by_what_the_model_writes(world: World) -> None:
    generative(world)
    score, answers = father(world)
    assert [task.metric for task in answers.tasks] == ["exact_match,none"] * 2
    lines = asked(world)
    assert all(isinstance(line["resps"][0][0], str) for line in lines)
    right = [line["filtered_resps"][0] == line["target"] for line in lines]
    assert right == [bool(line["exact_match"]) for line in lines]
    assert score.score == pytest.approx(sum(right) / len(right))


def test_generation_takes_the_manifests_arguments_over_the_tasks(world: World) -> None:
    generative(world)
    tasks(world, genKwargs="max_gen_toks=3")
    father(world)
    assert {line["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"] for line in asked(world)} == {3}


def test_a_tasks_arguments_are_no_change_of_its_file(world: World) -> None:
    """They are the manifest's, and stand in lm-eval's task object from the first questions on."""
    generative(world)
    tasks(world, genKwargs="max_gen_toks=3")
    spec = load(world.manifest).spec
    benchmark = Benchmark(str(world.folder / "tasks"))
    sets = benchmark.row_sets(spec.evaluation.tasks, spec.seed)
    task, rows = spec.evaluation.tasks[0], sets.tasks[0]
    asked = [benchmark.questions(task, sets, chosen).requests for chosen in (rows.search, rows.verdict)]
    assert {request[0].args[1]["max_gen_toks"] for requests in asked for request in requests} == {3}


@pytest.mark.parametrize("arguments", ["do_sample=true", "temperature=0.7"])
def test_sampled_answers_are_refused_since_they_never_repeat(world: World, arguments: str) -> None:
    generative(world)
    for skill in SKILLS:
        change(world, skill, generation_kwargs={"until": ["\n"], "max_gen_toks": 8})
    tasks(world, genKwargs=arguments)
    with pytest.raises(BadConfiguration, match=r"task skill_a: it samples its answers.*genKwargs: do_sample=false"):
        father(world)


TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if loud %}!{% endif %}<reply> "


def templated(world: World) -> None:
    """Parents whose tokenizer has a chat template."""
    document = yaml.safe_load(world.manifest.read_text())
    for who, parent in document["spec"]["parents"].items():
        folder = world.folder / who
        shutil.copytree(parent["uri"], folder)
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TEMPLATE}))
        world.edit("parents", who, value={"uri": str(folder)})
    tasks(world, numFewshot=1, search={"rows": 4}, verdict={"rows": 4})
    world.edit("evaluation", "chatTemplate", value=True)
    world.edit("evaluation", "systemInstruction", value="Be brief.")


def prompts(world: World) -> list[str]:
    return [line["arguments"]["gen_args_0"]["arg_0"] for line in asked(world)]


def test_prompts_go_through_the_chat_template_with_system_turns_and_arguments(world: World) -> None:
    templated(world)
    world.edit("evaluation", "templateArgs", value="loud=true")
    father(world)
    for prompt in prompts(world):
        assert prompt.startswith("<system>Be brief.<user>")
        assert prompt.endswith("!<reply> ")
        assert (prompt.count("<user>"), prompt.count("<assistant>")) == (2, 1)


def test_examples_may_stand_in_one_turn(world: World) -> None:
    templated(world)
    world.edit("evaluation", "fewshotAsMultiturn", value=False)
    father(world)
    assert all((p.count("<user>"), p.count("<assistant>")) == (1, 0) for p in prompts(world))


def test_a_chat_template_that_is_not_there_is_said(world: World) -> None:
    world.edit("evaluation", "chatTemplate", value=True)
    with pytest.raises(BadInput, match=r"father.*its tokenizer has no chat template"):
        father(world)


# ---- groups


def group(world: World, name: str, *members: Any) -> None:
    """A group in the task folder, and the manifest's one task."""
    (world.folder / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump({"group": name, "task": list(members)}))
    world.edit("evaluation", "tasks", value=[{"name": name, "search": {"rows": 20}, "verdict": {"rows": 20}}])


def test_a_task_that_comes_in_twice_is_named(world: World) -> None:
    group(world, "skills", *SKILLS)
    world.edit("evaluation", "tasks", value=[{"name": "skills"}, {"name": "skill_b"}])
    with pytest.raises(BadConfiguration, match="task skill_b comes in twice"):
        father(world)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (("skill_a", "skills"), "task skills: this group holds itself"),
        (({"task": "skill_a", "num_fewshot": 1},), "task skills: this group holds a task without a plain name"),
    ],
)
def test_a_group_that_can_not_be_taken_apart_is_named(world: World, members: tuple[Any, ...], message: str) -> None:
    group(world, "skills", *members)
    with pytest.raises(BadConfiguration, match=message):
        father(world)


@pytest.mark.parametrize(("by_size", "shares"), [(True, [0.75, 0.25]), (False, [0.5, 0.5])])
def test_a_group_is_its_tasks_with_the_groups_weights(world: World, by_size: bool, shares: list[float]) -> None:
    lines = (world.folder / "tasks" / "skill_b.jsonl").read_text().splitlines(keepends=True)
    wanted = len((world.folder / "tasks" / "skill_a.jsonl").read_text().splitlines()) // 3
    (world.folder / "tasks" / "skill_b.jsonl").write_text("".join(lines[:wanted]))
    group = {
        "group": "skills",
        "task": list(SKILLS),
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": by_size}],
    }
    (world.folder / "tasks" / "skills.yaml").write_text(yaml.safe_dump(group))
    world.edit(
        "evaluation",
        "tasks",
        value=[{"name": "skills", "weight": 2, "search": {"rows": 40}, "verdict": {"rows": 40}}],
    )
    score, answers = father(world)
    assert [task.task for task in answers.tasks] == list(SKILLS)
    assert answers.weights == pytest.approx([2 * share for share in shares], abs=0.01)
    assert [len(task.values) for task in answers.tasks] == [30, 10]
    means = [sum(task.values) / len(task.values) for task in answers.tasks]
    assert score.score == pytest.approx(sum(m * s for m, s in zip(means, shares, strict=True)), abs=0.01)


# ---- code


def coded(world: World) -> None:
    (world.folder / "tasks" / "helper.py").write_text("def text(doc):\n    return doc['text'] + ' please'\n")
    path = world.folder / "tasks" / "skill_a.yaml"
    path.write_text(path.read_text().replace("doc_to_text: text", "doc_to_text: !function helper.text"))


def test_a_task_that_brings_code_is_refused_by_name_and_told_how_to_allow_it(world: World) -> None:
    coded(world)
    with pytest.raises(BadConfiguration, match=r"task skill_a: .*doc_to_text: !function.*allowCode"):
        father(world)


def test_code_runs_where_the_manifest_allows_it_by_name(world: World) -> None:
    coded(world)
    world.edit("evaluation", "allowCode", value=["skill_a"])
    father(world)
    assert sum(prompt.endswith(" please") for prompt in prompts(world)) == 64


def test_code_that_a_function_calls_is_part_of_the_task(world: World) -> None:
    coded(world)
    found = []
    for words in ("please", "now"):
        (world.folder / "tasks" / "helper.py").write_text(
            f"def asked(text):\n    return text + ' {words}'\n\n\ndef text(doc):\n    return asked(doc['text'])\n"
        )
        wanted = load(world.manifest).spec.evaluation.tasks[0]
        found.append(digest_of(Benchmark(str(world.folder / "tasks"), ("skill_a",)).task(wanted)))
    assert found[0] != found[1]


def scoring(world: World, does: str) -> None:
    """Have skill_a's own code do this instead of scoring an answer."""
    (world.folder / "tasks" / "helper.py").write_text(f"import torch\n\ndef scored(doc, results):\n    {does}\n")
    path = world.folder / "tasks" / "skill_a.yaml"
    path.write_text(path.read_text() + "process_results: !function helper.scored\n")
    world.edit("evaluation", "allowCode", value=["skill_a"])


def test_what_a_tasks_own_code_raises_is_the_evaluators_failure(world: World) -> None:
    scoring(world, "raise RuntimeError('no such choice')")
    with pytest.raises(EvaluatorFailed, match="RuntimeError: no such choice"):
        father(world)


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("torch.empty(1 << 55)", ExitCode.OUT_OF_MEMORY),
        ("raise torch.AcceleratorError('CUDA error: an illegal memory access was encountered')", ExitCode.INTERNAL),
    ],
    ids=["memory", "device"],
)
def test_a_fault_of_the_machine_is_nobodys_score_nor_failure(world: World, does: str, code: ExitCode) -> None:
    scoring(world, does)
    with pytest.raises(RuntimeError) as found:
        father(world)
    assert exit_code(found.value) == code


@pytest.mark.parametrize("asks", [{"unsafe_code": True}, {"dataset_kwargs": {"trust_remote_code": True}}])
def test_running_what_a_model_answers_and_a_data_sets_code_are_refused_too(world: World, asks: Json) -> None:
    change(world, "skill_b", **asks)
    with pytest.raises(BadConfiguration, match=r"task skill_b: .*(unsafe_code|trust_remote_code).*allowCode"):
        father(world)


def test_a_metric_that_would_be_loaded_as_code_is_refused(world: World) -> None:
    evil = world.folder / "tasks" / "evil.py"
    evil.write_text(f"open({str(world.folder / 'ran')!r}, 'w')\n")
    for metric in ({"metric": str(evil)}, {"metric": "someone/evil"}, {"metric": "acc", "hf_evaluate": True}):
        change(world, "skill_a", metric_list=[metric])
        with pytest.raises(BadConfiguration, match=r"task skill_a: it runs code of its own \(.*metric.*allowCode"):
            father(world)
    assert not (world.folder / "ran").exists()


# ---- what may not change while a run lasts


def test_a_task_file_that_changed_since_the_run_began_is_refused(world: World) -> None:
    x = experiment_of(load(world.manifest), world.folder)
    store = open_store(x.where.store)
    claim(x, store)
    place = Place(x.where, store, threading.Event(), lambda done, total: None)
    known = {task.id: perform(task, task.id, place, last_try=False) for task in plan(x, {}).ready}
    change(world, "skill_a", description="Answer this: ")
    with pytest.raises(BadInput, match=r"task skill_a: its file, or lm-eval's, has changed since this run began"):
        father(world, known)


# ---- engines


def test_a_model_that_lm_eval_loads_from_a_folder_answers_as_the_resident_one(world: World, tmp_path: Path) -> None:
    _, resident = father(world)
    world.edit("evaluation", "model", value="huggingface")  # lm-eval's other name of what `hf` is, taken as any engine
    world.edit("evaluation", "modelArgs", value="dtype=bfloat16")
    world.edit("store", "uri", value="other")
    _, loaded = father(World(world.folder))
    assert [task.values for task in loaded.tasks] == [task.values for task in resident.tasks]
    assert loaded.env["model"] == "huggingface"


def test_an_engine_that_lm_eval_does_not_know_is_named(world: World) -> None:
    world.edit("evaluation", "model", value="warp")
    with pytest.raises(BadConfiguration, match=r"spec.evaluation.model: lm-eval has no model 'warp'"):
        father(world)


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ("Free memory on device cuda:0 (1.4/47.4 GiB) on startup is less than desired", ExitCode.OUT_OF_MEMORY),
        ("Model architectures ['TinyForCausalLM'] are not supported for now", ExitCode.BAD_INPUT),
    ],
    ids=["a neighbour has the memory", "it takes no such model"],
)
def test_memory_that_an_engine_does_not_get_is_tried_again_and_a_model_that_it_does_not_take_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch, says: str, code: ExitCode
) -> None:
    def full(*_: object) -> None:
        raise ValueError(says)

    monkeypatch.setattr("lm_eval.models.huggingface.HFLM.create_from_arg_obj", full)
    world.edit("evaluation", "model", value="huggingface")
    with pytest.raises(Exception, match=re.escape(says)) as found:
        father(world)
    assert exit_code(found.value) == code


# ---- lm-eval's own files


def test_lm_evals_own_files_say_what_our_answers_say(world: World) -> None:
    from datasets import load_dataset

    score, answers = father(world)
    (results,) = (world.store / "lm-eval").rglob("results_*.json")
    told = json.loads(results.read_text())
    for task in answers.tasks:
        assert told["results"][task.task]["acc,none"] == pytest.approx(sum(task.values) / len(task.values))
        assert told["n-samples"][task.task]["effective"] == len(task.values)
        (samples,) = (world.store / "lm-eval").rglob(f"samples_{task.task}_*.jsonl")
        rows = load_dataset("json", data_files=str(samples), split="train", cache_dir=str(world.folder / "cache"))
        assert [row["acc"] for row in rows] == list(task.values)
    assert score.recipe.startswith(told["model_name"])


# ---- `darwin validate --benchmark`


def test_validate_counts_the_rows_that_a_data_set_gives(world: World) -> None:
    tasks(world, search={}, verdict={})
    found = darwin("validate", world.manifest, "--benchmark", "--json")
    told = json.loads(found.stdout)
    assert told["verdictRows"] == pytest.approx(400, abs=2)  # half of 400 each, families whole
    assert {row["task"] for row in told["rows"]} == set(SKILLS)
    assert json.loads(darwin("validate", world.manifest, "--json").stdout)["verdictRows"] is None


def test_validate_without_lm_eval_takes_a_group_for_what_it_is(world: World) -> None:
    group(world, "skills", *SKILLS)
    assert darwin("validate", world.manifest).returncode == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "bleu,none"}, "metric bleu,none is not one of its means over questions; allowed: acc,none"),
        ({"verdict": {"rows": 500}}, "verdict asks for 500 rows"),
        ({"name": "skill_c"}, "lm-eval has no such task, and spec.evaluation.taskFolder has: skill_a, skill_b"),
    ],
)
def test_validate_refuses_what_lm_eval_would_and_names_what_is_allowed(
    world: World, changes: Json, message: str
) -> None:
    document = yaml.safe_load(world.manifest.read_text())
    first, second = document["spec"]["evaluation"]["tasks"]
    world.edit("evaluation", "tasks", value=[first | changes, second])
    found = darwin("validate", world.manifest, "--benchmark")
    assert found.returncode in (65, 78)
    assert message in found.stderr
    assert "Traceback" not in found.stderr
