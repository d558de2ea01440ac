"""`spec.evaluation`: the benchmark, its rows, and how models are asked."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from darwinmerge.experiment.fields import Arguments, Word
from darwinmerge.experiment.types import DECIMAL, Count, Frozen, Positive

NOT_MODEL_ARGS = (
    *("pretrained", "peft", "delta", "lora_local_path", "tokenizer", "tokenizer_revision"),
    *("revision", "subfolder", "hf_overrides", "trust_remote_code"),
)
NOT_MODEL_ARGS_BECAUSE = "which model is scored, with which tokenizer and no code of its own, is the run's to say"
TASK_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$"


class SearchRows(Frozen):
    """Rows that the search may see."""

    splits: Annotated[tuple[Word, ...], Field(max_length=3)] = ()
    """Splits of the task's data set, by its own names; default: training and validation where the task has them,
    else the test split, of which the verdict's rows are first taken out."""
    rows: Count | Literal["All"] = "All"
    """How many rows score a candidate."""
    fresh: Count | Literal["Same"] = "Same"
    """How many further rows score the finalists again; Same: as many as `rows`, where that many are left."""


class VerdictRows(Frozen):
    """Rows kept for the verdict, which the search never sees."""

    split: Word = ""
    """A split of the task's data set; default: test, else validation."""
    rows: Count | Literal["All", "Half"] = "All"
    """How many rows; All of the split where the search uses other splits, else Half of it."""


class BenchmarkTask(Frozen):
    """One lm-eval task."""

    name: Annotated[str, Field(pattern=TASK_NAME, max_length=96)]
    """The name of a task or group of tasks as lm-eval knows it, or as a YAML file in `evaluation.taskFolder` declares
    it. Of a group each task is asked, with the weight that the group gives it."""
    metric: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+,[A-Za-z0-9_-]+$", max_length=128)] = "acc,none"
    """The metric's key as lm-eval writes it, for example `acc_norm,none`; a mean over questions within 0..1."""
    weight: Positive = 1.0
    """Weight of this task in the fitness and in the verdict."""
    num_fewshot: Annotated[int, Field(ge=0, le=64)] = 0
    """Examples before each question; never taken from verdict rows."""
    gen_kwargs: Arguments = ""
    """Arguments of text generation over the task's own, as lm-eval takes them: `max_gen_toks=64,temperature=0`."""
    group_by: Word = ""
    """A column: rows with an equal value in it stay on one side of the partition between search and verdict."""
    search: SearchRows = SearchRows()
    """Rows for the search."""
    verdict: VerdictRows = VerdictRows()
    """Rows for the verdict."""


class Evaluation(Frozen):
    """How children, parents and the plain average are benchmarked: one harness, the same rows for all."""

    tasks: Annotated[tuple[BenchmarkTask, ...], Field(min_length=1, max_length=16)]
    """The benchmark."""
    task_folder: Annotated[str, Field(max_length=1024)] = ""
    """A folder with lm-eval task YAML of your own, relative to the manifest; lm-eval's tasks are known besides."""
    allow_code: Annotated[tuple[Word, ...], Field(max_length=64)] = ()
    """Names of tasks that may run code: functions (`!function`) or classes that their YAML brings, a data set's own
    loader (`trust_remote_code`), answers of the model (`unsafe_code`). What is not named here is refused."""
    model: Word = "hf"
    """lm-eval's name of what runs the models: `hf` changes the weights of one resident model, with no disk; any other,
    `vllm` for example, gets each model as a folder."""
    model_args: Arguments = ""
    """Arguments of that model as lm-eval takes them: `gpu_memory_utilization=0.8,max_model_len=4096`."""
    chat_template: bool = False
    """Prompts go through the chat template of Father's tokenizer."""
    template_args: Arguments = ""
    """Arguments of the chat template: `enable_thinking=false`."""
    system_instruction: Annotated[str, Field(max_length=4096)] = ""
    """What stands before each prompt, as the system's turn where there is a chat template."""
    fewshot_as_multiturn: bool = True
    """With a chat template: each example is a turn of its own, as lm-eval has it."""
    samples: Literal["Finals", "Candidates"] = "Finals"
    """Whose answers are kept in lm-eval's own `samples_*.jsonl`: those of parents, average, finalists and verdict, or
    every candidate's too. Scores in lm-eval's `results_*.json` are kept for all."""
    finalists: Annotated[int, Field(ge=1, le=16)] = 3
    """The best candidates are scored again on fresh search rows, and the winner is chosen on all their rows."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Dtype in which models are run; auto: as Father's config says. It doesn't change the child's own dtypes."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    """Requests a forward pass; part of the experiment, because padding moves log-likelihoods."""
    chunk: Annotated[int, Field(ge=1, le=100000)] = 64
    """Questions that are scored and stored together; an interrupted evaluation goes on after its last chunk."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    """CPU threads of a worker; part of the experiment, because threads move log-likelihoods."""
    alpha: Annotated[float, Field(gt=0, lt=0.5), DECIMAL] = 0.05
    """Level of the verdict's two-sided test."""
    min_difference: Annotated[float, Field(gt=0, lt=1), DECIMAL] = 0.05
    """The smallest difference from a parent that matters to you; `darwin validate` warns where the verdict's rows are
    too few to see it."""

    @model_validator(mode="after")
    def _of_the_engine_alone(self) -> Self:
        taken = re.search(rf"(^|,)({'|'.join(NOT_MODEL_ARGS)})=", self.model_args)
        if taken:
            raise ValueError(f"modelArgs can't hold {taken[2]}: {NOT_MODEL_ARGS_BECAUSE}")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [task.name for task in self.tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"task named more than once: {', '.join(twice)}; raise its weight instead")
        return self
