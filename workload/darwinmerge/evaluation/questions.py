"""Questions of one task as lm-eval asks them: its prompts, requests, filters and metrics, our rows and chunks.

The requests of a whole row set are built once, in order (lm-eval's few-shot sampler draws document after document),
and sent in chunks that the experiment fixes, so that a resumed evaluation sends the same batches as an undisturbed one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from darwinmerge.errors import BadConfiguration
from darwinmerge.evaluation.rows import content_hash
from darwinmerge.experiment.benchmark import BenchmarkTask

FEWSHOT_SEED = 1234  # lm-eval's own default

Responses = Sequence[Sequence[Any]]  # a list a document


@dataclass(frozen=True)
class Prompting:
    """How a question becomes a prompt, besides what its task says."""

    system_instruction: str = ""
    fewshot_as_multiturn: bool = True
    template: Callable[..., str] | None = None  # from turns to a prompt


class _Examples:
    """lm-eval's sampler of few-shot examples, which never takes the question that is asked for one."""

    def __init__(self, plain: Any, pool: Sequence[Any]) -> None:
        self._plain = plain.replace_df(pool)
        plain._loaded = True  # `fewshot_indices` have been applied to the pool, and aren't again
        self._pool = {content_hash(document) for document in pool}
        self.asked: Any = None

    def sample(self, n: int, eval_doc: Any = None, **more: Any) -> Any:
        """Examples; see lm-eval's `ContextSampler`. A question that is no example is drawn for as lm-eval does."""
        own = content_hash(self.asked) in self._pool
        return self._plain.sample(n, eval_doc=self.asked if own else eval_doc, **more)


class Questions:
    """Documents of one task with their requests, to be asked chunk by chunk."""

    def __init__(
        self, task: Any, wanted: BenchmarkTask, documents: Sequence[Any], pool: Sequence[Any], prompting: Prompting
    ) -> None:
        """Build the requests of `documents`, with few-shot examples out of `pool`."""
        from lm_eval.utils import simple_parse_args_string

        self.task, self._wanted, self.documents = task, wanted, documents
        self._results: dict[str, list[dict[str, Any]]] = {}
        if wanted.gen_kwargs:
            task.set_config("generation_kwargs", simple_parse_args_string(wanted.gen_kwargs), update=True)
        task.set_fewshot_seed(FEWSHOT_SEED)
        plain = task.sampler
        task.sampler = examples = _Examples(plain, pool)
        try:
            self.requests = [self._requests(number, examples, prompting) for number in range(len(documents))]
        finally:
            task.sampler = plain

    def _requests(self, number: int, examples: _Examples, prompting: Prompting) -> list[Any]:
        task, document, chat = self.task, self.documents[number], prompting.template is not None
        examples.asked = document
        context = task.fewshot_context(
            document,
            num_fewshot=self._wanted.num_fewshot,
            system_instruction=prompting.system_instruction or None,
            apply_chat_template=chat,
            fewshot_as_multiturn=prompting.fewshot_as_multiturn and chat,
            chat_template=prompting.template,
            gen_prefix=task.doc_to_prefix(document),
        )
        built = task.construct_requests(
            doc=document,
            ctx=context,
            metadata=(self._wanted.name, number, task.config.repeats),
            apply_chat_template=chat,
            chat_template=prompting.template,
        )
        return built if isinstance(built, list) else [built]

    def ask(self, model: Any, start: int, stop: int) -> list[list[Any]]:
        """A model's responses to documents `start` to `stop` (exclusive), a list a document."""
        asked = [
            request for requests in self.requests[start:stop] for request in requests for _ in range(request.repeats)
        ]
        kinds = {request.request_type for request in asked}
        responses: dict[int, Any] = {}
        for kind in sorted(kinds):
            of_kind = [(i, request) for i, request in enumerate(asked) if request.request_type == kind]
            answers = getattr(model, kind)([request for _, request in of_kind], disable_tqdm=True)
            responses |= {i: answer for (i, _), answer in zip(of_kind, answers, strict=True)}
        flat = iter(responses[i] for i in range(len(asked)))
        return [[next(flat) for r in requests for _ in range(r.repeats)] for requests in self.requests[start:stop]]

    def answer(self, responses: Responses) -> None:
        """Give the requests their responses, and have the task's own filters applied to them."""
        for requests, given in zip(self.requests, responses, strict=True):
            answers = iter(given)
            for request in requests:
                request.resps = [_tuple(next(answers)) for _ in range(request.repeats)]
                request.filtered_resps = {}
        self._results.clear()
        self.task._instances = [request for requests in self.requests for request in requests]
        self.task.apply_filters()

    def results(self, key: str) -> list[dict[str, Any]]:
        """All that the task's own code, run once, makes of each document's answers, filtered by `key`."""
        if key not in self._results:
            pairs = zip(self.documents, self.requests, strict=True)
            self._results[key] = [
                self.task.process_results(doc, [r.filtered_resps[key] for r in requests]) for doc, requests in pairs
            ]
        return self._results[key]

    def metric(self, responses: Responses) -> list[float]:
        """The metric of each document, from all its responses, by the task's own filters and code."""
        name, _, key = self._wanted.metric.partition(",")
        self.answer(responses)
        values = [float(result[name]) for result in self.results(key)]
        outside = next((value for value in values if not 0 <= value <= 1), None)
        if outside is not None:
            raise BadConfiguration(
                f"task {self._wanted.name}: metric {self._wanted.metric} gives {outside:g} for a question; only means "
                "over questions of values within 0..1 can be weighed against each other"
            )
        return values


def finite(responses: Responses) -> bool:
    """False if any log-likelihood among the responses is NaN or infinite: argmax over NaN would still score."""
    numbers = (x for given in responses for response in given for x in _numbers(response))
    return all(math.isfinite(x) for x in numbers)


def _numbers(response: Any) -> list[float]:
    values = response if isinstance(response, list | tuple) else [response]
    return [x for x in values if isinstance(x, float)]


def _tuple(response: Any) -> Any:
    return tuple(response) if isinstance(response, list) else response
