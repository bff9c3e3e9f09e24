//! An example as token ids and labels.

/// The label of a token that is not trained (as in PyTorch's `ignore_index`).
pub const IGNORED: i32 = -100;

/// One example as tokens.
///
/// `labels` is as long as `input_ids` and *unshifted*, as in Hugging Face's data collators:
/// `labels[t]` is `input_ids[t]` where that token is trained and [`IGNORED`] elsewhere. The token
/// before it predicts it, so `labels[0]` never counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenExample {
    /// The id of the example it was made from; pre-tokenised files need not have one.
    pub id: Option<String>,
    pub input_ids: Vec<u32>,
    pub labels: Vec<i32>,
}

impl TokenExample {
    /// Length in tokens.
    pub fn len(&self) -> usize {
        self.input_ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.input_ids.is_empty()
    }

    /// How many labels the loss counts: all but ignored ones and `labels[0]`.
    pub fn trained_tokens(&self) -> usize {
        self.labels.iter().skip(1).filter(|&&label| label != IGNORED).count()
    }
}
