"""Train the LoRA adapter that makes the Mother of the SmolLM2 example: it knows the classes of ``zorb_train.jsonl``.

The adapter is small (rank 4, 2.5 MB in bfloat16) but sits on every projection of every layer, and is trained on nothing
but the new skill, without a word of what the model knew before. That is the point: the Mother should learn the classes
and forget a little of the world, so that each parent has something that the other lacks.

The loss is the cross-entropy of the answer alone, not of the question. Base weights stay frozen in bfloat16; the
adapter's are float32 while they are trained, because bfloat16 would round most updates away.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"  # what adapter_config.json names, instead of a folder of this machine
BATCH = 16
WARM_UP_STEPS = 10
FINAL_RATE = 0.1  # of the learning rate: it falls linearly
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IGNORED = -100  # the label that marks a token as not trained on

Example = tuple[list[int], list[int]]  # tokens of the question, tokens of the answer


def read_examples(path: Path, tokenizer: Any) -> list[Example]:
    """Question and answer of every row, as tokens, joined by a space as lm-eval joins them."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        (tokenizer(row["text"])["input_ids"], tokenizer(" " + row["choices"][row["gold"]])["input_ids"]) for row in rows
    ]


def batches(examples: list[Example], steps: int, seed: int) -> Iterator[list[Example]]:
    """Batches that go through a fresh shuffle of all examples again and again."""
    generator = random.Random(seed)
    waiting: list[Example] = []
    for _ in range(steps):
        if len(waiting) < BATCH:
            waiting += generator.sample(examples, len(examples))
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        yield batch


def pad(batch: list[Example], pad_token: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and labels, both int64 (batch, longest): padded to the right, labels only on answers."""
    import torch

    shape = len(batch), max(len(question) + len(answer) for question, answer in batch)
    tokens, labels = torch.full(shape, pad_token), torch.full(shape, IGNORED)
    for row, (question, answer) in enumerate(batch):
        end = len(question) + len(answer)
        tokens[row, :end] = torch.tensor(question + answer)
        labels[row, len(question) : end] = torch.tensor(answer)
    return tokens, labels


def train(father: Path, rows: Path, out: Path, *, steps: int, rate: float, rank: int, seed: int) -> None:
    """Train on the rows and write adapter_model.safetensors and adapter_config.json."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn import functional
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(father)
    examples = read_examples(rows, tokenizer)
    base = AutoModelForCausalLM.from_pretrained(father, dtype=torch.bfloat16)
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
    model = get_peft_model(base, lora)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    print(
        f"{len(examples)} examples, {sum(p.numel() for p in trained):,} parameters, {steps} steps of {BATCH}",
        flush=True,
    )

    started = time.monotonic()
    for step, batch in enumerate(batches(examples, steps, seed)):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / WARM_UP_STEPS) * (1 - (1 - FINAL_RATE) * step / steps)
        tokens, labels = pad(batch, tokenizer.pad_token_id)
        # Attention is causal and padding is on the right, so padding needs no mask. The output matrix (49,152 rows) is
        # only applied where a label is: with the whole sequence it would be a third of the time.
        hidden = base.model(input_ids=tokens).last_hidden_state[:, :-1]
        labels = labels[:, 1:]
        logits = base.lm_head(hidden[labels != IGNORED]).float()
        loss = functional.cross_entropy(logits, labels[labels != IGNORED])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if step % 10 == 0 or step == steps - 1:
            print(f"step {step:>4} of {steps}  loss {loss.item():.4f}  {time.monotonic() - started:.0f} s", flush=True)

    for parameter in trained:
        parameter.data = parameter.data.to(torch.bfloat16)
    lora.base_model_name_or_path = BASE
    lora.target_modules = sorted(PROJECTIONS)  # peft keeps a set: sorted, the same training writes the same file
    model.save_pretrained(str(out), save_embedding_layers=False)
    (out / "adapter_model.safetensors").chmod(0o644)  # safetensors lets only the owner read
    (out / "README.md").unlink(missing_ok=True)  # peft's empty template of a model card
    print(f"written to {out}")


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(
        description="Train the Mother's LoRA adapter on Father and the rows of the trained nouns.",
        epilog="The repository carries the result (adapter/), so run this only to change it. Father must be there: "
        "make_father.py. On two cores it takes about two minutes. The same seed gives the same adapter "
        "on the same machine; other processors round differently, and the adapter differs a little.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--father", type=Path, default=ROOT / "build/smollm2/father", help="Father's folder")
    parser.add_argument("--rows", type=Path, default=HERE / "rows/zorb_train.jsonl", help="what to train on")
    parser.add_argument("--out", type=Path, default=HERE / "adapter", help="folder to write to")
    parser.add_argument("--steps", type=int, default=150, help="batches of 16 rows")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--rank", type=int, default=4, help="rank of the adapter; alpha is twice that")
    parser.add_argument("--seed", type=int, default=1, help="of the adapter's start and the order of the rows")
    arguments = parser.parse_args()
    if not (arguments.father / "model.safetensors").is_file():
        sys.exit(f"{arguments.father}: Father is missing; make him with make_father.py")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}  # read when transformers is imported
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")  # between peft and transformers
    train(
        arguments.father,
        arguments.rows,
        arguments.out,
        steps=arguments.steps,
        rate=arguments.rate,
        rank=arguments.rank,
        seed=arguments.seed,
    )


if __name__ == "__main__":
    main()
