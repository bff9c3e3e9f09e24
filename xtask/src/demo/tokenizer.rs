//! The demo's tokenizer: byte-level BPE over both languages, each digit on its own.

use anyhow::{Result, anyhow};
use serde_json::json;
use tokenizers::decoders::byte_level::ByteLevel as Decoder;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

/// Pieces in all: 3 special tokens, 256 bytes, the rest merges.
pub const VOCABULARY: usize = 2_048;
/// Special tokens; their place is their id.
pub const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];

/// `tokenizer.json` and `tokenizer_config.json`.
pub struct TokenizerFiles {
    pub tokenizer: String,
    pub config: String,
}

/// Train on `texts`. The same texts give the same bytes.
///
/// # Errors
/// Whatever the `tokenizers` crate reports; the texts give too few pieces.
pub fn train(texts: &[String]) -> Result<TokenizerFiles> {
    let failed = |e: tokenizers::Error| anyhow!("cannot train the tokenizer: {e}");
    let special: Vec<AddedToken> = SPECIAL.iter().map(|token| AddedToken::from(*token, true)).collect();
    let bpe = BpeTrainerBuilder::new()
        .vocab_size(VOCABULARY)
        .show_progress(false)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut trainer = TrainerWrapper::from(bpe);
    let split: Vec<PreTokenizerWrapper> =
        vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()];

    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(Sequence::new(split)));
    tokenizer.with_decoder(Some(Decoder::new(false, true, true)));
    tokenizer.train(&mut trainer, texts.iter()).map_err(failed)?;
    let pieces = tokenizer.get_vocab_size(true);
    if pieces != VOCABULARY {
        return Err(anyhow!("the texts give {pieces} pieces, not {VOCABULARY}"));
    }
    let [unk, bos, eos] = SPECIAL;
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": unk,
        "bos_token": bos,
        "eos_token": eos,
        "add_bos_token": false,
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
    });
    Ok(TokenizerFiles {
        tokenizer: tokenizer.to_string(true).map_err(failed)? + "\n",
        config: serde_json::to_string_pretty(&config)? + "\n",
    })
}
