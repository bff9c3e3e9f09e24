#!/usr/bin/env python3
"""A peer of train_vs_peers.py: LoRA on a token file with transformers + PEFT on a CPU.

Prints one JSON object: tokens per second over the timed steps (padding not counted), peak memory, losses.

  --batching padded   micro-batches of --examples, each padded to its longest: what Trainer does by default
  --batching packed   one row of up to --row-tokens, examples end to end, attention within each example

Loading, and the --warmup steps at the start, are not timed.
"""

import argparse
import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import peft
import torch
import transformers

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IGNORED = -100


@dataclass
class Batch:
    inputs: dict[str, torch.Tensor]
    tokens: int
    trained: int

    @property
    def slots(self) -> int:
        return self.inputs["input_ids"].numel()


def batch_of(rows: list[dict], inputs: dict[str, torch.Tensor]) -> Batch:
    trained = sum(label != IGNORED for row in rows for label in row["labels"][1:])
    return Batch(inputs, sum(len(row["input_ids"]) for row in rows), trained)


def endless(rows: list[dict], seed: int) -> Iterator[dict]:
    """Every row once in each epoch, each epoch in a new order."""
    order = random.Random(seed)
    while True:
        rows = order.sample(rows, len(rows))
        yield from rows


def padded(rows: Iterator[dict], examples: int) -> Iterator[Batch]:
    """[examples, longest] with an attention mask; the width a multiple of 8."""
    while True:
        part = [next(rows) for _ in range(examples)]
        width = (max(len(row["input_ids"]) for row in part) + 7) // 8 * 8

        def column(key: str, filler: int) -> torch.Tensor:
            return torch.tensor([row[key] + [filler] * (width - len(row[key])) for row in part])

        ids, labels = column("input_ids", 0), column("labels", IGNORED)
        mask = torch.tensor([[1] * len(r["input_ids"]) + [0] * (width - len(r["input_ids"])) for r in part])
        yield batch_of(part, {"input_ids": ids, "labels": labels, "attention_mask": mask})


def packed(rows: Iterator[dict], row_tokens: int) -> Iterator[Batch]:
    """[1, tokens]; transformers derives the block-diagonal mask from positions that restart."""
    part: list[dict] = []
    for row in rows:
        if part and sum(len(r["input_ids"]) for r in part) + len(row["input_ids"]) > row_tokens:
            ids = [token for r in part for token in r["input_ids"]]
            # The first label of an example would be predicted from the example before it.
            labels = [label for r in part for label in [IGNORED, *r["labels"][1:]]]
            positions = [position for r in part for position in range(len(r["input_ids"]))]
            inputs = {"input_ids": ids, "labels": labels, "position_ids": positions}
            yield batch_of(part, {name: torch.tensor([values]) for name, values in inputs.items()})
            part = []
        part.append(row)


def load(args: argparse.Namespace) -> peft.PeftModel:
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype)
    model.config.use_cache = False
    if args.checkpointed:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    config = peft.LoraConfig(
        r=args.lora_rank, lora_alpha=args.lora_alpha, lora_dropout=0.0, target_modules=LINEARS, task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(model, config).train()


def timed_steps(model: torch.nn.Module, batches: Iterator[Batch], args: argparse.Namespace) -> dict:
    """Train: what the steps after the first --warmup of them took, and every loss."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=args.learning_rate, weight_decay=0.0, fused=True)
    losses, tokens, trained, slots, seconds = [], 0, 0, 0, 0.0
    for step in range(args.warmup + args.steps):
        batch = next(batches)
        start = time.perf_counter()
        loss = model(**batch.inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step >= args.warmup:
            seconds += time.perf_counter() - start
            tokens, trained, slots = tokens + batch.tokens, trained + batch.trained, slots + batch.slots
    return {
        "steps": args.steps,
        "tokens": tokens,
        "trained_tokens": trained,
        "padding_share": round(1 - tokens / slots, 4),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 2),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "threads": torch.get_num_threads(),
        "losses": losses,
    }


def run(args: argparse.Namespace) -> dict:
    model = load(args)
    rows = [json.loads(line) for line in args.data.read_text().splitlines()]
    stream = endless(rows, args.seed)
    batches = padded(stream, args.examples) if args.batching == "padded" else packed(stream, args.row_tokens)
    return {
        "batching": args.batching,
        "dtype": args.dtype,
        **timed_steps(model, batches, args),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, peft)},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every peer takes."""
    parser.add_argument("--model", required=True, help="Hugging Face folder")
    parser.add_argument("--data", type=Path, required=True, help='JSONL of {"input_ids": […], "labels": […]}')
    parser.add_argument("--examples", type=int, default=4, help="examples in a padded micro-batch (default 4)")
    parser.add_argument("--steps", type=int, default=20, help="timed steps (default 20)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them (default 2)")
    parser.add_argument("--lora-rank", type=int, default=8)
    parser.add_argument("--lora-alpha", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--batching", choices=["padded", "packed"], default="padded")
    parser.add_argument("--row-tokens", type=int, default=512, help="most tokens in a packed row (default 512)")
    parser.add_argument("--checkpointed", action="store_true", help="recompute activations in the backward")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="of weights and products (default f32)")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(json.dumps(run(args)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
