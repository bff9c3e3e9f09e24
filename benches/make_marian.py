#!/usr/bin/env python3
"""A MarianMT folder of OPUS-MT's en-ru shape with random weights and a real SentencePiece model.

  make_marian.py --spm MODEL.spm --out FOLDER

Hidden 512, 6 + 6 layers, 8 heads, ffn 2048, vocabulary 62,518. Ids beyond the SentencePiece model's pieces are filler.
EOS is pushed out of reach by `final_logits_bias`, so that every program writes exactly as many tokens as it may.
"""

import argparse
import json
import shutil
from pathlib import Path

import sentencepiece
import torch
from transformers import GenerationConfig, MarianConfig, MarianMTModel

VOCAB = 62_518
EOS, UNK, PAD = 0, 1, VOCAB - 1


def vocabulary(spm: Path) -> dict[str, int]:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    ids = {"</s>": EOS, "<unk>": UNK}
    for i in range(processor.get_piece_size()):
        ids.setdefault(processor.id_to_piece(i), len(ids))
    while len(ids) < PAD:
        ids[f"▁filler{len(ids)}"] = len(ids)
    return ids | {"<pad>": PAD}


def model() -> MarianMTModel:
    torch.manual_seed(7)
    config = MarianConfig(
        vocab_size=VOCAB, d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8,
        decoder_attention_heads=8, encoder_ffn_dim=2048, decoder_ffn_dim=2048, max_position_embeddings=512,
        activation_function="swish", scale_embedding=True, decoder_start_token_id=PAD, pad_token_id=PAD,
        eos_token_id=EOS, forced_eos_token_id=EOS, bos_token_id=None,
    )  # fmt: skip
    model = MarianMTModel(config).eval()
    with torch.no_grad():
        model.final_logits_bias[0, EOS] = -1e4
    model.generation_config = GenerationConfig(
        bad_words_ids=[[PAD]], decoder_start_token_id=PAD, pad_token_id=PAD, eos_token_id=EOS,
        forced_eos_token_id=EOS, max_length=512, num_beams=4,
    )  # fmt: skip
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spm", type=Path, required=True, help="SentencePiece model")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    model().save_pretrained(args.out)
    for name in ("source.spm", "target.spm"):
        shutil.copyfile(args.spm, args.out / name)
    (args.out / "vocab.json").write_text(json.dumps(vocabulary(args.spm), ensure_ascii=False))
    tokenizer = {"source_lang": "en", "target_lang": "ru", "tokenizer_class": "MarianTokenizer"}
    (args.out / "tokenizer_config.json").write_text(json.dumps(tokenizer))


if __name__ == "__main__":
    main()
