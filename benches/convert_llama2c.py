#!/usr/bin/env python3
"""Convert a llama2.c checkpoint and its tokenizer to a Hugging Face folder.

  convert_llama2c.py --model stories260K.bin --tokenizer tok512.bin -o FOLDER
  convert_llama2c.py … --check-text FILE…   also compare token ids with llama2.c's own way of encoding,
                                            on every line of the files, and tell one story

Needs numpy and safetensors; --check-text needs tokenizers, torch and transformers too.

The ids agree on any text except one that spells a special token (`<s>`) or the mark `▁` itself: there the
converted tokenizer does what every SentencePiece tokenizer does in Hugging Face's library.

Checkpoint: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, ±vocab_size, seq_len; a negative
vocabulary means a head of its own), then f32 tensors, each kind for all layers at once.
Tokenizer: int32 longest piece, then per piece f32 score, int32 length, the bytes.
"""

import argparse
import json
import struct
import sys
from pathlib import Path

import numpy as np

BOS, EOS = 1, 2
FIRST_BYTE = 3  # ids 3 … 258 are the bytes 0x00 … 0xFF
SPACE = "\u2581"
NORM_EPS = 1e-5


class Malformed(Exception):
    """An input that is not what its name says; the message names the file and what is wrong."""


# ---------------------------------------------------------------- weights


def half_split(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of wq or wk [heads · D, C] from llama2.c's rotary pairs to Hugging Face's.

    llama2.c rotates rows (2i, 2i + 1) of a head together, transformers rows (i, i + D/2).
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).transpose(0, 2, 1, 3).reshape(rows, columns)


def read_checkpoint(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """config.json's values, and the tensors under Hugging Face's names."""
    data = path.read_bytes()
    if len(data) < 28:
        raise Malformed(f"{path}: {len(data)} bytes are too few for a header")
    dim, ffn, layers, heads, kv_heads, vocab, positions = struct.unpack("<7i", data[:28])
    tied, vocab = vocab > 0, abs(vocab)
    if min(dim, ffn, layers, heads, kv_heads, vocab, positions) <= 0 or dim % heads or heads % kv_heads:
        raise Malformed(f"{path}: not a llama2.c checkpoint (version 0): its header does not describe a model")
    head_dim = dim // heads
    kv_dim = kv_heads * head_dim
    floats = np.frombuffer(data, "<f4", offset=28)
    position = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal position
        size = int(np.prod(shape))
        if position + size > floats.size:
            raise Malformed(f"{path}: ends after {floats.size} numbers, at least {position + size} are needed")
        position += size
        return floats[position - size : position].reshape(shape)

    tensors = {"model.embed_tokens.weight": take(vocab, dim)}
    kinds = [  # in the order of the file
        ("input_layernorm", (dim,)),
        ("self_attn.q_proj", (dim, dim)),
        ("self_attn.k_proj", (kv_dim, dim)),
        ("self_attn.v_proj", (kv_dim, dim)),
        ("self_attn.o_proj", (dim, dim)),
        ("post_attention_layernorm", (dim,)),
        ("mlp.gate_proj", (ffn, dim)),
        ("mlp.down_proj", (dim, ffn)),
        ("mlp.up_proj", (ffn, dim)),
    ]
    for kind, shape in kinds:
        for layer, weight in enumerate(take(layers, *shape)):
            if kind.endswith("q_proj"):
                weight = half_split(weight, heads)
            elif kind.endswith("k_proj"):
                weight = half_split(weight, kv_heads)
            tensors[f"model.layers.{layer}.{kind}.weight"] = weight
    tensors["model.norm.weight"] = take(dim)
    take(2, positions, head_dim // 2)  # the rotary tables of old files, not used
    if not tied:
        tensors["lm_head.weight"] = take(vocab, dim)
    if position != floats.size:
        raise Malformed(f"{path}: {floats.size} numbers, but its header describes {position}")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": dim,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocab,
        "max_position_embeddings": positions,
        "rms_norm_eps": NORM_EPS,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "torch_dtype": "float32",
    }
    return config, tensors


# ---------------------------------------------------------------- tokenizer


def read_pieces(path: Path) -> list[tuple[float, str]]:
    """(score, text) of every piece, in id order. Spaces are plain spaces, as llama2.c keeps them."""
    data = path.read_bytes()
    pieces, position = [], 4
    while position < len(data):
        if position + 8 > len(data):
            raise Malformed(f"{path}: ends inside piece {len(pieces)}")
        score, length = struct.unpack_from("<fi", data, position)
        position += 8
        if length < 0 or position + length > len(data):
            raise Malformed(f"{path}: ends inside piece {len(pieces)}")
        pieces.append((score, data[position : position + length].decode()))
        position += length
    if len(pieces) < FIRST_BYTE + 256 or pieces[FIRST_BYTE][1] != "<0x00>":
        raise Malformed(f"{path}: piece {FIRST_BYTE} is not <0x00>: not a Llama tokenizer")
    return pieces


def merges_of(pieces: list[tuple[float, str]]) -> list[list[str]]:
    """BPE merges, best first: every way to make a piece of two others, ranked by the made piece's score."""
    scores = {text: score for score, text in pieces[FIRST_BYTE + 256 :]}
    ids = {text: number for number, (_, text) in enumerate(pieces)}
    found = []
    for text, score in scores.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in scores and right in scores:
                found.append((-score, ids[left], ids[right], left, right))
    return [[left.replace(" ", SPACE), right.replace(" ", SPACE)] for *_, left, right in sorted(found)]


def tokenizer_json(pieces: list[tuple[float, str]]) -> dict:
    """The `tokenizers` twin: BPE with byte fallback, one space put before the text, BOS before that."""
    names = ["<unk>", "<s>", "</s>"] + [text.replace(" ", SPACE) for _, text in pieces[FIRST_BYTE:]]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": names[number], **flags} for number in range(FIRST_BYTE)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                bos,
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "<s>", "type_id": 1}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {name: number for number, name in enumerate(names)},
            "merges": merges_of(pieces),
        },
    }


def llama2c_encode(pieces: list[tuple[float, str]], text: str) -> list[int]:
    """Token ids by llama2.c's algorithm: characters or bytes, then the best-scored adjacent pair, again and again."""
    ids = {piece: number for number, (_, piece) in enumerate(pieces)}
    tokens = [BOS]
    for character in (" " + text) if text else "":
        if character in ids:
            tokens.append(ids[character])
        else:
            tokens += [FIRST_BYTE + byte for byte in character.encode()]
    while True:
        best = None
        for place, (left, right) in enumerate(zip(tokens, tokens[1:])):
            made = ids.get(pieces[left][1] + pieces[right][1])
            if made is not None and (best is None or pieces[made][0] > best[0]):
                best = (pieces[made][0], place, made)
        if best is None:
            return tokens
        tokens[best[1] : best[1] + 2] = [best[2]]


# ---------------------------------------------------------------- folder and check


def write_folder(out: Path, config: dict, tensors: dict[str, np.ndarray], pieces: list) -> None:
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, out / "model.safetensors", {"format": "pt"})
    texts = {
        "config.json": config,
        # llama2.c's stories have no EOS: the BOS of the next story ends one.
        "generation_config.json": {"bos_token_id": BOS, "eos_token_id": [BOS, EOS], "do_sample": True},
        "tokenizer.json": tokenizer_json(pieces),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "add_bos_token": True,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": config["max_position_embeddings"],
        },
    }
    for name, value in texts.items():
        (out / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def check(out: Path, pieces: list, files: list[Path]) -> bool:
    """Token ids of every line against llama2.c's; a story to read."""
    import torch
    import transformers
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    lines = wrong = unlike = 0
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            ids = tokenizer.encode(line).ids
            lines += 1
            unlike += tokenizer.decode(ids) != line
            if ids != llama2c_encode(pieces, line):
                wrong += 1
                print(f"{file}:{number}: other ids than llama2.c's", file=sys.stderr)
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    ids = tokenizer.encode("Once upon a time").ids
    story = model.generate(torch.tensor([ids]), max_new_tokens=200, do_sample=False, pad_token_id=0)[0].tolist()
    print(json.dumps({"lines": lines, "other_ids": wrong, "other_text": unlike, "story": tokenizer.decode(story)}))
    return wrong == 0 and unlike == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="llama2.c checkpoint")
    parser.add_argument("--tokenizer", type=Path, required=True, help="llama2.c tokenizer")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--check-text", type=Path, nargs="+", default=[], help="texts, one a line")
    args = parser.parse_args()
    try:
        config, tensors = read_checkpoint(args.model)
        pieces = read_pieces(args.tokenizer)
        if len(pieces) != config["vocab_size"]:
            raise Malformed(f"{args.tokenizer}: {len(pieces)} pieces, the model has {config['vocab_size']}")
    except (OSError, Malformed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    write_folder(args.out, config, tensors, pieces)
    if args.check_text and not check(args.out, pieces, args.check_text):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
