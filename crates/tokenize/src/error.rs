//! What can go wrong here, each with the thing named and what to do next.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: there is neither tokenizer.json nor tokenizer.model; {hint}", folder.display())]
    NoTokenizer { folder: PathBuf, hint: &'static str },
    #[error("{}: not a tokenizer that can be read: {reason}", path.display())]
    BadTokenizer { path: PathBuf, reason: String },
    #[error("{}: not valid JSON: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{}: not a prompt template: {source}", path.display())]
    TemplateFile { path: PathBuf, source: serde_json::Error },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The message of `tolmach-durable` names the file already.
    #[error(transparent)]
    Write(std::io::Error),
    #[error(
        "{name} is {token:?}, which is not in the vocabulary of the tokenizer; correct \
         tokenizer_config.json or special_tokens_map.json"
    )]
    UnknownSpecialToken { name: &'static str, token: String },
    #[error(
        "tokenizer_config.json says add_bos_token = true, but no bos_token is named; name one, or set \
         add_bos_token to false"
    )]
    NoBos,
    #[error(
        "the tokenizer has no end-of-sequence token, so a model trained with it would never stop; name \
         eos_token in tokenizer_config.json or eos_token_id in config.json"
    )]
    NoEos,
    #[error(
        "the tokenizer has {tokenizer} tokens, but the model's embedding has only {model} rows \
         (vocab_size); this tokenizer belongs to another model"
    )]
    VocabularyTooLarge { tokenizer: usize, model: usize },
    #[error("cannot tokenise {text:?}: {reason}")]
    Encode { text: String, reason: String },
    #[error(
        "there is no prompt template {name:?}; there are {known}, or give your own strings \
         (without_input, with_input, turn)"
    )]
    UnknownTemplate { name: String, known: String },
    #[error("the model's chat template: {reason}")]
    ChatTemplate { reason: String },
    #[error("prompt template, {field}: {reason}")]
    BadTemplate { field: &'static str, reason: String },
    #[error("{file}:{row}: {reason}")]
    Row { file: String, row: usize, reason: String },
    #[error("{file}: no examples in it; expected one {{\"input_ids\": […], \"labels\": […]}} a line")]
    NoExamples { file: String },
}
