//! The examples of a training run as tokens: read, encoded, replayed, counted.

use super::{Replay, TrainOptions};
use crate::report::Failure;
use crate::ui::Ui;
use std::collections::BTreeMap;
use std::path::Path;
use tolmach_corpus::{is_pattern, read_examples};
use tolmach_engine::random;
use tolmach_model::Config;
use tolmach_tokenize::{
    DropReason, Dropped, ExampleEncoder, OverLong, PromptTemplate, TokenExample, Tokenizer,
    looks_pretokenized, read_token_examples,
};

/// What is trained and evaluated on.
pub struct Data {
    pub train: Vec<TokenExample>,
    pub validation: Vec<TokenExample>,
    /// Of `train`, from the replay file.
    pub replayed: usize,
    /// Training examples that could not be used.
    pub left_out: usize,
    /// Why, with counts.
    pub left_out_reasons: Vec<(String, usize)>,
    /// Training examples that were cut to the maximum.
    pub truncated: usize,
}

/// Whether all files hold token ids already.
pub fn is_pretokenized(options: &TrainOptions) -> Result<bool, Failure> {
    let replay = options.replay.as_ref().map(|r| &r.data);
    for path in [Some(&options.data), options.validation.as_ref(), replay].into_iter().flatten() {
        if !holds_tokens(path)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Standard input cannot be looked at beforehand: it holds text; so do the files of a pattern.
pub fn holds_tokens(path: &Path) -> Result<bool, Failure> {
    Ok(path.as_os_str() != "-" && !is_pattern(path) && looks_pretokenized(path)?)
}

impl Data {
    /// Read and encode every file of the options.
    pub fn load(
        options: &TrainOptions,
        tokenizer: Option<&Tokenizer>,
        config: &Config,
        max_seq_length: usize,
        ui: &Ui,
    ) -> Result<Self, Failure> {
        let source = Source { options, tokenizer, vocab_size: config.vocab_size, max_seq_length, ui };
        let Encoded { examples: mut train, left_out, truncated } =
            source.read(&options.data, &options.template)?;
        let mut replayed = 0;
        if let Some(replay) = &options.replay {
            let chosen = source.replay(replay, train.len())?;
            replayed = chosen.len();
            train.extend(chosen);
        }
        let validation = match &options.validation {
            Some(path) => source.read(path, &options.template)?.examples,
            None => Vec::new(),
        };
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for dropped in &left_out {
            *reasons.entry(kind(&dropped.reason, max_seq_length)).or_default() += 1;
        }
        Ok(Self {
            train,
            validation,
            replayed,
            left_out: left_out.len(),
            left_out_reasons: reasons.into_iter().collect(),
            truncated,
        })
    }
}

/// How files become examples.
struct Source<'a> {
    options: &'a TrainOptions,
    tokenizer: Option<&'a Tokenizer>,
    vocab_size: usize,
    max_seq_length: usize,
    ui: &'a Ui,
}

struct Encoded {
    examples: Vec<TokenExample>,
    left_out: Vec<Dropped>,
    truncated: usize,
}

impl Source<'_> {
    /// The usable examples of a file; at least one.
    fn read(&self, path: &Path, template: &PromptTemplate) -> Result<Encoded, Failure> {
        let encoded = match self.tokenizer.filter(|_| !holds_tokens(path).unwrap_or(false)) {
            Some(tokenizer) => self.encode(path, tokenizer, template)?,
            None => self.limit(read_token_examples(path, Some(self.vocab_size))?),
        };
        if self.ui.verbose > 0 {
            for Dropped { id, reason } in &encoded.left_out {
                self.ui.say(format!("{}: example {id} is left out: {reason}", path.display()));
            }
        }
        if encoded.examples.is_empty() {
            Err(self.nothing_left(path, &encoded.left_out))
        } else {
            Ok(encoded)
        }
    }

    fn encode(
        &self,
        path: &Path,
        tokenizer: &Tokenizer,
        template: &PromptTemplate,
    ) -> Result<Encoded, Failure> {
        let hint = "tolmach inspect shows what training sees of a file";
        let examples = read_examples(path).map_err(|e| Failure::from(e).hint(hint))?;
        let (mask, over_long) = (self.options.mask, self.options.train.over_long);
        let encoder = ExampleEncoder::new(tokenizer, template, mask, self.max_seq_length, over_long)?;
        let encoded = encoder.encode_all(&examples);
        self.check_known(path, tokenizer, &encoded.examples)?;
        Ok(Encoded { examples: encoded.examples, left_out: encoded.dropped, truncated: encoded.truncated })
    }

    /// Answers in a script that the tokenizer does not have teach the model to write `<unk>`.
    fn check_known(
        &self,
        path: &Path,
        tokenizer: &Tokenizer,
        examples: &[TokenExample],
    ) -> Result<(), Failure> {
        /// Share of the trained tokens from which on it is no matter of single characters.
        const TOO_MANY: f64 = 0.2;
        let Some(unk) = tokenizer.unk() else { return Ok(()) };
        let labels = || examples.iter().flat_map(|example| &example.labels);
        let unknown = labels().filter(|&&label| label == unk as i32).count();
        let trained = labels().filter(|&&label| label >= 0).count();
        if unknown == 0 {
            return Ok(());
        }
        let message = format!(
            "{}: the tokenizer does not know {unknown} of the {trained} tokens that are trained: it has no pieces \
             for these characters, nor bytes to spell them",
            path.display()
        );
        if unknown as f64 > TOO_MANY * trained as f64 {
            return Err(Failure::input(message)
                .hint("take a base whose tokenizer can write this language; tolmach inspect shows what becomes of a text"));
        }
        self.ui.warn(message);
        Ok(())
    }

    /// The maximum for examples that came as tokens.
    fn limit(&self, all: Vec<TokenExample>) -> Encoded {
        let max_seq_length = self.max_seq_length;
        let mut encoded = Encoded { examples: Vec::new(), left_out: Vec::new(), truncated: 0 };
        for (index, mut example) in all.into_iter().enumerate() {
            let tokens = example.len();
            let id = example.id.clone().unwrap_or_else(|| format!("number {}", index + 1));
            if example.trained_tokens() == 0 {
                // Other tools cut the answer off where the question is too long, and keep the rest.
                encoded.left_out.push(Dropped { id, reason: DropReason::NothingTrained });
                continue;
            }
            if tokens > max_seq_length && self.options.train.over_long == OverLong::Drop {
                encoded.left_out.push(Dropped { id, reason: DropReason::TooLong { tokens, max_seq_length } });
                continue;
            }
            example.input_ids.truncate(max_seq_length);
            example.labels.truncate(max_seq_length);
            if example.trained_tokens() == 0 {
                encoded.left_out.push(Dropped { id, reason: DropReason::AnswerCutOff { max_seq_length } });
                continue;
            }
            encoded.truncated += usize::from(tokens > max_seq_length);
            encoded.examples.push(example);
        }
        encoded
    }

    /// Examples to be replayed beside `count` translated ones: chosen by a hash of seed and id, so the
    /// choice does not change with the order of the file or with what else is in it.
    fn replay(&self, replay: &Replay, count: usize) -> Result<Vec<TokenExample>, Failure> {
        if !(replay.share.is_finite() && replay.share >= 0.0) {
            return Err(Failure::usage(format!("replay share = {}: expected a number from 0", replay.share)));
        }
        let mut examples = self.read(&replay.data, &replay.template)?.examples;
        for (index, example) in examples.iter_mut().enumerate() {
            let id = example.id.take().unwrap_or_else(|| (index + 1).to_string());
            example.id = Some(format!("replay/{id}"));
        }
        examples.sort_by_cached_key(|example| {
            let id = blake3::hash(example.id.as_deref().unwrap_or_default().as_bytes());
            let (bytes, _) = id.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
            random::key(self.options.train.seed, &[u64::from_le_bytes(*bytes)])
        });
        let wanted = (replay.share * count as f64).round() as usize;
        if examples.len() < wanted {
            self.ui.warn(format!(
                "{} has only {} of the {wanted} examples that a replay share of {} asks for",
                replay.data.display(),
                examples.len(),
                replay.share
            ));
        }
        examples.truncate(wanted);
        Ok(examples)
    }

    fn nothing_left(&self, path: &Path, left_out: &[Dropped]) -> Failure {
        let (name, count) = (path.display(), left_out.len());
        let lengths = left_out.iter().map(|d| match d.reason {
            DropReason::TooLong { tokens, .. } => Some(tokens),
            _ => None,
        });
        if let Some(lengths) = lengths.collect::<Option<Vec<_>>>() {
            let shortest = lengths.into_iter().min().unwrap_or(0);
            return Failure::input(format!(
                "{name}: all {count} examples are longer than the maximum of {} tokens; the shortest has {shortest}",
                self.max_seq_length
            ))
            .hint("raise --max-seq-length, or cut them with --over-long truncate");
        }
        let first = left_out.first().map_or(String::new(), |d| format!("; example {}: {}", d.id, d.reason));
        Failure::input(format!("{name}: none of its {count} examples can be used{first}"))
    }
}

/// A drop reason without the figures of the single example.
fn kind(reason: &DropReason, max_seq_length: usize) -> String {
    match reason {
        DropReason::TooLong { .. } => format!("longer than {max_seq_length} tokens"),
        DropReason::AnswerCutOff { .. } => format!("no answer left within {max_seq_length} tokens"),
        DropReason::NothingTrained => "without a trained label".into(),
        DropReason::NotRendered(error) => error.to_string(),
        DropReason::NotEncoded(_) => "not encodable".into(),
    }
}
