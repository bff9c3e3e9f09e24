//! What can go wrong when a model is measured.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Model(#[from] tolmach_model::Error),
    #[error(transparent)]
    Tokenize(#[from] tolmach_tokenize::Error),
    #[error("[eval] {key} = {found}: expected {expected}")]
    Config { key: &'static str, found: String, expected: String },
    #[error(
        "max_new_tokens is {max_new_tokens}, but the model's context has {context} tokens; give a smaller \
         max_new_tokens"
    )]
    NoRoom { max_new_tokens: usize, context: usize },
    #[error(
        "the {set} set has {examples} examples, none of which can be measured: {too_long} prompts are longer \
         than {room} tokens (the model's context less max_new_tokens), {unusable} have no prompt or no answer"
    )]
    NothingToMeasure { set: &'static str, examples: usize, too_long: usize, unusable: usize, room: usize },
    #[error("the {side} model's loss is not a number on example `{id}`: its weights are broken")]
    NotFinite { side: &'static str, id: String },
    #[error("the report card has no measure `{name}`; it has {known}")]
    UnknownMeasure { name: String, known: String },
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Model(error) => error.hint(),
            _ => None,
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
