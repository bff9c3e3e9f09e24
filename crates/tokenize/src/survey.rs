//! What a data set looks like to the model: lengths, trained share, fertility, and what is odd.

use crate::encode::{DropReason, ExampleEncoder};
use crate::template::RenderError;
use crate::token_example::{IGNORED, TokenExample};
use crate::tokenizer::Tokenizer;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use tolmach_corpus::Example;

/// Something about an example that its owner should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lint {
    EmptyAnswer,
    NotRendered,
    NotEncoded,
    /// Of examples that came as tokens.
    NothingTrained,
    EosNotTrained,
    OverLong,
    UnknownTokens,
    BosMissing,
    BosTwice,
    SpecialTokenSpelledOut,
}

impl Lint {
    /// One line for the user: what it is and what follows.
    pub fn explanation(self) -> &'static str {
        match self {
            Lint::EmptyAnswer => "the answer is empty; left out of training",
            Lint::NotRendered => "the roles are in an impossible order; left out of training",
            Lint::NotEncoded => "cannot be tokenised; left out of training",
            Lint::NothingTrained => "none of its labels is trained; left out of training",
            Lint::EosNotTrained => "the end of the answer is not trained: the model may not learn to stop",
            Lint::OverLong => "longer than the maximum; dropped, or cut without its end",
            Lint::UnknownTokens => "characters that the tokenizer does not know: the model cannot learn them",
            Lint::BosMissing => "does not start with BOS, which this model expects",
            Lint::BosTwice => "starts with BOS twice",
            Lint::SpecialTokenSpelledOut => {
                "the text spells out a special token; it is plain text here, other programs may obey it"
            }
        }
    }
}

/// One example, measured. Counts are of the whole example, whatever the maximum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    pub id: String,
    /// All tokens; 0 where the example could not be encoded.
    pub tokens: usize,
    /// Tokens that the loss counts.
    pub trained: usize,
    /// Tokens of BOS and the template's constant first sentences.
    pub preamble: usize,
    /// Of the text after the preamble: tokens without BOS and EOS, words, characters, bytes.
    pub text: TextSize,
    pub lints: Vec<Lint>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextSize {
    pub tokens: usize,
    pub words: usize,
    pub characters: usize,
    pub bytes: usize,
}

impl TextSize {
    fn of(text: &str, tokens: usize) -> Self {
        let words = text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count();
        TextSize { tokens, words, characters: text.chars().count(), bytes: text.len() }
    }
}

/// A whole data set, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Survey {
    /// Examples in the data set, those that cannot be encoded included.
    pub examples: usize,
    /// Examples that can be encoded.
    pub encoded: usize,
    pub tokens: usize,
    pub trained_tokens: usize,
    /// Of all tokens, 0 to 1.
    pub trained_share: f64,
    /// Share of BOS and the template's constant first sentences in all tokens, 0 to 1.
    pub preamble_share: f64,
    /// Fertility, over the texts without the preamble.
    pub tokens_per_word: f64,
    pub characters_per_token: f64,
    pub bytes_per_token: f64,
    pub lengths: Lengths,
    pub lints: Vec<LintCount>,
}

/// Lengths of the encoded examples, in tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lengths {
    pub min: usize,
    pub mean: f64,
    pub p50: usize,
    pub p90: usize,
    pub p99: usize,
    pub max: usize,
    /// Bucket k counts lengths from `k * bucket_tokens + 1` to `(k + 1) * bucket_tokens`; the last
    /// one also counts all that are longer, so that a single giant does not flatten the rest.
    pub bucket_tokens: usize,
    pub histogram: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LintCount {
    pub lint: Lint,
    pub examples: usize,
    /// The first few.
    pub ids: Vec<String>,
}

/// How many ids a [`LintCount`] names.
const NAMED_IDS: usize = 5;

/// The histogram has at most so many buckets for the shortest 99 % of examples.
const BUCKETS: usize = 16;

/// Measure examples in parallel; `on_each` is called after each (for a progress bar).
pub fn measure_examples(
    encoder: &ExampleEncoder,
    examples: &[Example],
    on_each: impl Fn() + Sync,
) -> Vec<Measure> {
    let measure = |example: &Example| {
        let measured = measure_example(encoder, example);
        on_each();
        measured
    };
    examples.par_iter().map(measure).collect()
}

/// The same for pre-tokenised examples, whose preamble is unknown. One without an id is named by
/// its number, from 1.
pub fn measure_token_examples(
    tokenizer: &Tokenizer,
    max_seq_length: usize,
    examples: &[TokenExample],
    on_each: impl Fn() + Sync,
) -> Vec<Measure> {
    let measure = |(index, example): (usize, &TokenExample)| {
        let text = tokenizer.decode(&example.input_ids, true);
        let plain = example.input_ids.iter().filter(|&&id| !tokenizer.is_special(id)).count();
        on_each();
        Measure {
            id: example.id.clone().unwrap_or_else(|| (index + 1).to_string()),
            tokens: example.len(),
            trained: example.trained_tokens(),
            preamble: 0,
            text: TextSize::of(&text, plain),
            lints: token_lints(tokenizer, max_seq_length, example),
        }
    };
    examples.par_iter().enumerate().map(measure).collect()
}

fn measure_example(encoder: &ExampleEncoder, example: &Example) -> Measure {
    let id = example.id.clone();
    let (rendered, tokens, whole) = match encoder.encode_whole(example) {
        Ok(encoded) => encoded,
        Err(reason) => {
            let lint = match reason {
                DropReason::NotRendered(RenderError::NoAnswer) => Lint::EmptyAnswer,
                DropReason::NotRendered(_) => Lint::NotRendered,
                _ => Lint::NotEncoded,
            };
            return Measure { id, lints: vec![lint], ..Measure::default() };
        }
    };
    let tokenizer = encoder.tokenizer();
    // The first token that reaches beyond the constant text is no longer constant itself.
    let preamble = match rendered.preamble {
        0 => 0,
        bytes => tokens.offsets.iter().take_while(|&&(_, end)| end <= bytes).count(),
    };
    let plain = tokens.offsets[preamble..].iter().filter(|(start, end)| start < end).count();
    let mut lints = token_lints(tokenizer, encoder.max_seq_length(), &whole);
    if tokenizer.spells_out_special(&rendered.text) {
        lints.push(Lint::SpecialTokenSpelledOut);
    }
    Measure {
        id,
        tokens: whole.len(),
        trained: whole.trained_tokens(),
        preamble,
        text: TextSize::of(&rendered.text[rendered.preamble..], plain),
        lints,
    }
}

fn token_lints(tokenizer: &Tokenizer, max_seq_length: usize, example: &TokenExample) -> Vec<Lint> {
    let ids = &example.input_ids;
    let last_trained = example.labels.iter().rfind(|&&label| label != IGNORED);
    let ends = last_trained.is_some_and(|&label| tokenizer.eos_ids().contains(&(label as u32)));
    let bos = tokenizer.bos();
    let starts = bos.is_some() && ids.first().copied() == bos;
    let checks = [
        (Lint::NothingTrained, example.trained_tokens() == 0),
        (Lint::EosNotTrained, example.trained_tokens() > 0 && !ends),
        (Lint::OverLong, ids.len() > max_seq_length),
        (Lint::UnknownTokens, tokenizer.unk().is_some_and(|unk| ids.contains(&unk))),
        (Lint::BosMissing, tokenizer.adds_bos() && !starts),
        (Lint::BosTwice, starts && ids.get(1).copied() == bos),
    ];
    checks.into_iter().filter_map(|(lint, found)| found.then_some(lint)).collect()
}

impl Survey {
    /// Sum up the measures of a data set.
    pub fn of(measures: &[Measure]) -> Self {
        let sum = |f: fn(&Measure) -> usize| measures.iter().map(f).sum::<usize>();
        let (tokens, text_tokens) = (sum(|m| m.tokens), sum(|m| m.text.tokens));
        let mut lengths: Vec<usize> = measures.iter().map(|m| m.tokens).filter(|&n| n > 0).collect();
        lengths.sort_unstable();
        Survey {
            examples: measures.len(),
            encoded: lengths.len(),
            tokens,
            trained_tokens: sum(|m| m.trained),
            trained_share: ratio(sum(|m| m.trained), tokens),
            preamble_share: ratio(sum(|m| m.preamble), tokens),
            tokens_per_word: ratio(text_tokens, sum(|m| m.text.words)),
            characters_per_token: ratio(sum(|m| m.text.characters), text_tokens),
            bytes_per_token: ratio(sum(|m| m.text.bytes), text_tokens),
            lengths: Lengths::of(&lengths),
            lints: count_lints(measures),
        }
    }
}

impl Lengths {
    fn of(sorted: &[usize]) -> Self {
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return Lengths::default() };
        let percentile = |p: usize| sorted[(sorted.len() * p / 100).min(sorted.len() - 1)];
        let p99 = percentile(99);
        let bucket_tokens = bucket_width(p99);
        let last = p99.div_ceil(bucket_tokens) - usize::from(max == p99);
        let mut histogram = vec![0; last + 1];
        for &length in sorted {
            histogram[last.min((length - 1) / bucket_tokens)] += 1;
        }
        Lengths {
            min,
            mean: ratio(sorted.iter().sum(), sorted.len()),
            p50: percentile(50),
            p90: percentile(90),
            p99,
            max,
            bucket_tokens,
            histogram,
        }
    }
}

/// The smallest of 1, 2, 4, 8 … that gives at most [`BUCKETS`] buckets.
fn bucket_width(longest: usize) -> usize {
    longest.div_ceil(BUCKETS).next_power_of_two()
}

fn count_lints(measures: &[Measure]) -> Vec<LintCount> {
    let mut counts: BTreeMap<Lint, LintCount> = BTreeMap::new();
    for measure in measures {
        for &lint in &measure.lints {
            let count =
                counts.entry(lint).or_insert_with(|| LintCount { lint, examples: 0, ids: Vec::new() });
            count.examples += 1;
            if count.ids.len() < NAMED_IDS {
                count.ids.push(measure.id.clone());
            }
        }
    }
    counts.into_values().collect()
}

/// 0 where there is nothing to divide by.
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{byte_level, sentencepiece};
    use crate::{MaskConfig, OverLong, PromptTemplate};
    use tolmach_corpus::{Body, Message, Role};

    fn example(id: &str, body: Body) -> Example {
        Example { id: id.into(), ..Example::new(body) }
    }

    fn alpaca(id: &str, instruction: &str, output: &str) -> Example {
        let (instruction, output) = (instruction.into(), output.into());
        example(id, Body::Alpaca { instruction, input: String::new(), output })
    }

    fn lints_of(survey: &Survey) -> Vec<(Lint, usize, &str)> {
        survey.lints.iter().map(|count| (count.lint, count.examples, count.ids[0].as_str())).collect()
    }

    #[test]
    fn shares_add_up_to_what_the_encoder_made() {
        let template = PromptTemplate::named("alpaca-en").unwrap();
        for tokenizer in [byte_level(), sentencepiece()] {
            let encoder =
                ExampleEncoder::new(tokenizer, &template, MaskConfig::default(), usize::MAX, OverLong::Drop)
                    .unwrap();
            let examples = [alpaca("a", "Name the cat", "the cat"), alpaca("b", "кот", "кот сидел на ковре")];
            let measures = measure_examples(&encoder, &examples, || ());
            let encoded = encoder.encode_all(&examples).examples;
            for (measure, encoded) in measures.iter().zip(&encoded) {
                assert_eq!((measure.tokens, measure.trained), (encoded.len(), encoded.trained_tokens()));
                // BOS, preamble, text, EOS: nothing is counted twice or left out.
                assert_eq!(measure.preamble + measure.text.tokens + 1, measure.tokens);
                assert!(measure.preamble > 10);
            }
            assert_eq!(measures[0].preamble, measures[1].preamble, "the preamble is constant");
            let survey = Survey::of(&measures);
            assert_eq!((survey.examples, survey.encoded, survey.lints.len()), (2, 2, 0));
            assert_eq!(survey.lengths.histogram.iter().sum::<usize>(), 2);
            assert!(survey.bytes_per_token > 0.0 && survey.trained_share < 1.0);
        }
    }

    #[test]
    fn odd_examples_are_named() {
        let template = PromptTemplate::default();
        let long = "the cat sat on the mat ".repeat(30);
        let encoder =
            ExampleEncoder::new(byte_level(), &template, MaskConfig::default(), 200, OverLong::Drop).unwrap();
        let backwards =
            Body::Messages { messages: vec![Message { role: Role::Assistant, content: "a".into() }] };
        let examples = [
            alpaca("good", "a", "b"),
            alpaca("empty", "a", " "),
            example("backwards", backwards),
            alpaca("mark", "a", "\u{FDD0}"),
            alpaca("long", "a", &long),
            alpaca("html", "a", "<s>b</s>"),
        ];
        let survey = Survey::of(&measure_examples(&encoder, &examples, || ()));
        assert_eq!((survey.examples, survey.encoded), (6, 3));
        assert_eq!(
            lints_of(&survey),
            [
                (Lint::EmptyAnswer, 1, "empty"),
                (Lint::NotRendered, 1, "backwards"),
                (Lint::NotEncoded, 1, "mark"),
                (Lint::OverLong, 1, "long"),
                (Lint::SpecialTokenSpelledOut, 1, "html"),
            ]
        );
    }

    #[test]
    fn pre_tokenised_examples_are_looked_at_too() {
        let tokenizer = byte_level();
        let (bos, eos) = (tokenizer.bos().unwrap(), tokenizer.eos().unwrap());
        let tokens = |id: Option<&str>, input_ids: &[u32], trained_from: usize| TokenExample {
            id: id.map(String::from),
            input_ids: input_ids.to_vec(),
            labels: (0..)
                .zip(input_ids)
                .map(|(t, &id)| if t < trained_from { IGNORED } else { id as i32 })
                .collect(),
        };
        let examples = [
            tokens(Some("good"), &[bos, 50, 60, eos], 2),
            tokens(None, &[bos, 50, 60, 70], 2),
            tokens(None, &[bos, bos, 50, eos], 2),
            tokens(None, &[50, 60, eos], 2),
        ];
        let survey = Survey::of(&measure_token_examples(tokenizer, 100, &examples, || ()));
        assert_eq!(
            lints_of(&survey),
            [(Lint::EosNotTrained, 1, "2"), (Lint::BosMissing, 1, "4"), (Lint::BosTwice, 1, "3"),]
        );
        assert_eq!((survey.tokens, survey.trained_tokens), (15, 7));
    }

    #[test]
    fn characters_the_tokenizer_does_not_know_are_found() {
        let tokenizer = sentencepiece();
        let unk = tokenizer.unk().unwrap();
        let example =
            TokenExample { id: None, input_ids: vec![1, unk, 2], labels: vec![IGNORED, unk as i32, 2] };
        assert_eq!(token_lints(tokenizer, 9, &example), [Lint::UnknownTokens]);
    }

    #[test]
    fn lengths_of_nothing_and_of_edges() {
        assert_eq!(Survey::of(&[]), Survey::default());
        let lengths = Lengths::of(&(1..=32).collect::<Vec<_>>());
        assert_eq!((lengths.min, lengths.p50, lengths.p90, lengths.max), (1, 17, 29, 32));
        assert_eq!((lengths.bucket_tokens, lengths.histogram), (2, vec![2; 16]));
        let giant: Vec<usize> = (1..=199).map(|_| 4).chain([5000]).collect();
        let lengths = Lengths::of(&giant);
        assert_eq!((lengths.bucket_tokens, lengths.histogram), (1, vec![0, 0, 0, 199, 1]));
    }
}
