#!/usr/bin/env python3
"""Translate sentences with transformers or CTranslate2 and print the rate as one JSON object.

  marian_peer.py --engine transformers --model FOLDER --sentences FILE --beams 1 --tokens 32
  marian_peer.py --engine ctranslate2 --model CONVERTED --tokenizer FOLDER --sentences FILE --beams 4 --tokens 32

Every sentence gets exactly `--tokens` output tokens. The rate is output tokens per second of one pass, without
loading, after a warm-up on 16 sentences; sentences are batched by length. `--answers` gets the token ids of the
answers in the sentences' order, a JSON list a line.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")


def encode(folder: Path, sentences: list[str]) -> list[list[int]]:
    from transformers import MarianTokenizer

    return MarianTokenizer.from_pretrained(folder)(sentences)["input_ids"]


def transformers_pass(args: argparse.Namespace):
    import torch
    from transformers import MarianMTModel

    torch.set_num_threads(args.threads)
    model = MarianMTModel.from_pretrained(args.model).eval()
    pad = model.config.pad_token_id

    def run(rows: list[list[int]]) -> list[list[int]]:
        answers = []
        for start in range(0, len(rows), args.batch):
            batch = rows[start : start + args.batch]
            width = max(map(len, batch))
            ids = torch.tensor([row + [pad] * (width - len(row)) for row in batch])
            with torch.inference_mode():
                out = model.generate(
                    input_ids=ids, attention_mask=(ids != pad).long(), num_beams=args.beams, max_new_tokens=args.tokens
                )
            answers += out[:, 1:].tolist()
        return answers

    return run, lambda rows: rows


def ctranslate2_pass(args: argparse.Namespace):
    import ctranslate2
    from transformers import MarianTokenizer

    inter, intra = (args.threads, 1) if args.inter else (1, args.threads)
    translator = ctranslate2.Translator(
        str(args.model), device="cpu", compute_type=args.compute_type, inter_threads=inter, intra_threads=intra
    )
    tokenizer = MarianTokenizer.from_pretrained(args.tokenizer or args.model)

    def run(rows: list[list[str]]) -> list[list[int]]:
        results = translator.translate_batch(
            rows, beam_size=args.beams, max_batch_size=args.batch, min_decoding_length=args.tokens,
            max_decoding_length=args.tokens,
        )  # fmt: skip
        return [tokenizer.convert_tokens_to_ids(r.hypotheses[0]) for r in results]

    return run, lambda rows: [tokenizer.convert_ids_to_tokens(row) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["transformers", "ctranslate2"], required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, help="ctranslate2: the folder that was converted")
    parser.add_argument("--sentences", type=Path, required=True, help="one a line")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=32, help="output tokens of each sentence")
    parser.add_argument("--batch", type=int, default=32, help="sentences in a batch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--inter", action="store_true", help="ctranslate2: one batch per thread")
    parser.add_argument("--compute-type", default="int8", help="ctranslate2: int8, float32, …")
    parser.add_argument("--answers", type=Path, help="file for the answers' token ids")
    args = parser.parse_args()
    sentences = args.sentences.read_text(encoding="utf-8").splitlines()
    ids = encode(args.tokenizer or args.model, sentences)
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    run, prepare = (transformers_pass if args.engine == "transformers" else ctranslate2_pass)(args)
    rows = prepare([ids[i] for i in order])
    run(rows[:16])
    start, busy = time.perf_counter(), time.process_time()
    answers = run(rows)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    written = sum(map(len, answers))
    if args.answers:
        by_sentence = dict(zip(order, answers))
        args.answers.write_text("".join(json.dumps(by_sentence[i]) + "\n" for i in range(len(ids))))
    print(
        json.dumps(
            {
                "engine": args.engine,
                "beams": args.beams,
                "batch": args.batch,
                "source_tokens": sum(map(len, ids)),
                "target_tokens": written,
                "seconds": round(seconds, 3),
                "processor_seconds": round(busy, 3),
                "tokens_per_second": round(written / seconds, 1),
                "tokens_per_processor_second": round(written / busy, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
