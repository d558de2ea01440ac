"""Scores and answers in lm-eval's own files, `results_*.json` and `samples_*.jsonl`, for tools that read those.

They say what lm-eval itself would have written, but for times, versions of the machine's packages and data files'
places: the same score is the same file everywhere.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from darwinmerge.evaluation.lm_task import config_of
from darwinmerge.evaluation.questions import Prompting, Questions
from darwinmerge.evaluation.rows import Row
from darwinmerge.pipeline.tasks import Terms

Json = dict[str, Any]


def samples(questions: Questions, rows: Sequence[Row]) -> list[Json]:
    """What was asked and answered, a line each document and filter; after `Questions.answer`."""
    from lm_eval.utils import handle_non_serializable, hash_string, sanitize_list

    found = []
    for key in questions.requests[0][0].filtered_resps:
        results = questions.results(key)
        for row, document, requests, metrics in zip(
            rows, questions.documents, questions.requests, results, strict=True
        ):
            target = str(questions.task.doc_to_target(document))
            text = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
            arguments = [request.args for request in requests]
            found.append(
                {
                    "doc_id": row.position,
                    "doc": document,
                    "target": target,
                    "arguments": {
                        f"gen_args_{i}": {f"arg_{j}": part for j, part in enumerate(given)}
                        for i, given in enumerate(arguments)
                    },
                    "resps": sanitize_list([request.resps for request in requests]),
                    "filtered_resps": sanitize_list([request.filtered_resps[key] for request in requests]),
                    "filter": key,
                    "metrics": list(metrics),
                    "doc_hash": hash_string(text),
                    "prompt_hash": hash_string(str(arguments[0][0])),
                    "target_hash": hash_string(target),
                    **metrics,
                }
            )
    return found


def results(task: Any, lines: Sequence[Json]) -> Json:
    """A task's aggregated metrics, as lm-eval has them in `results`."""
    from lm_eval.api.metrics import mean, mean_stderr

    found: Json = {"alias": task.config.task, "name": task.config.task}
    for key in dict.fromkeys(line["filter"] for line in lines):
        of_filter = [line for line in lines if line["filter"] == key]
        found["sample_len"] = len(of_filter)
        for metric in of_filter[0]["metrics"]:
            values = [line[metric] for line in of_filter]
            aggregate = task.aggregation().get(metric, mean)
            found[f"{metric},{key}"] = aggregate(values)
            known = aggregate is mean and len(values) > 1
            found[f"{metric}_stderr,{key}"] = mean_stderr(values) if known else "N/A"
    return found


def files(
    tasks: Mapping[str, tuple[Any, int, Sequence[Json]]], name: str, model: str, terms: Terms, prompting: Prompting
) -> Iterator[tuple[str, bytes]]:
    """Names and contents: the results, and samples a task.

    Args:
        tasks: of each task lm-eval's object, its few-shot examples, and its samples.
        name: what tells these files from others, where lm-eval has a time.
        model: what was scored.
    """
    from lm_eval.utils import handle_non_serializable, hash_string

    def dumped(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, indent=indent, default=handle_non_serializable, ensure_ascii=False)

    hashes = {
        task: hash_string("".join(line["doc_hash"] + line["prompt_hash"] + line["target_hash"] for line in lines))
        for task, (_, _, lines) in tasks.items()
    }
    found = {
        "results": {task: results(known, lines) for task, (known, _, lines) in tasks.items()},
        "group_subtasks": {task: [] for task in tasks},
        "configs": {task: config_of(known) | {"num_fewshot": shots} for task, (known, shots, _) in tasks.items()},
        "versions": {task: known.VERSION for task, (known, _, _) in tasks.items()},
        "n-shot": {task: shots for task, (_, shots, _) in tasks.items()},
        "higher_is_better": {task: known.higher_is_better() for task, (known, _, _) in tasks.items()},
        "n-samples": {
            task: {"original": len(known.eval_docs), "effective": len(lines) // len({line["filter"] for line in lines})}
            for task, (known, _, lines) in tasks.items()
        },
        "config": {
            "model": terms.model,
            "model_args": ",".join([f"pretrained={model}", *([terms.model_args] if terms.model_args else [])]),
            "batch_size": terms.batch_size,
        },
        "task_hashes": hashes,
        "model_source": terms.model,
        "model_name": model,
        "model_name_sanitized": model,
        "system_instruction": prompting.system_instruction or None,
        "fewshot_as_multiturn": prompting.fewshot_as_multiturn if prompting.template else None,
    }
    yield f"results_{name}.json", dumped(found, indent=2).encode()
    for task, (_, _, lines) in tasks.items():
        yield f"samples_{task}_{name}.jsonl", "".join(dumped(line) + "\n" for line in lines).encode()
