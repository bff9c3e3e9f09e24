//! Replies, and what is counted over them.

use crate::error::Result;
use crate::exact::exact_match;
use crate::language::{Verdict, judge};
use crate::prepare::Question;
use crate::repetition::{loops, rep_4};
use crate::share::Share;
use tolmach_corpus::Language;
use tolmach_engine::Backend;
use tolmach_model::{Decoder, Finish, SamplingConfig, Side, generate_all};
use tolmach_tokenize::Tokenizer;

/// One side's reply to one question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub text: String,
    pub tokens: Vec<u32>,
    /// Ended by EOS within `max_new_tokens`.
    pub stopped: bool,
}

/// How replies are made.
pub(crate) struct Decoding<'a> {
    pub sampling: &'a SamplingConfig,
    pub max_new_tokens: usize,
    pub batch: usize,
}

/// Reply to every question with one side of the model; `progress` gets the number of replies done.
pub(crate) fn reply<B: Backend>(
    model: &Decoder<B>,
    side: Side,
    tokenizer: &Tokenizer,
    questions: &[Question],
    decoding: &Decoding,
    progress: impl FnMut(usize),
) -> Result<Vec<Answer>> {
    let prompts: Vec<Vec<u32>> = questions.iter().map(|q| q.prompt.clone()).collect();
    let Decoding { sampling, max_new_tokens, batch } = *decoding;
    let stop_ids = tokenizer.eos_ids();
    let replies = generate_all(model, side, &prompts, sampling, stop_ids, max_new_tokens, batch, progress)?;
    let answer = |reply: tolmach_model::Reply| Answer {
        text: tokenizer.decode(&reply.tokens, true),
        stopped: reply.finish == Finish::Stop,
        tokens: reply.tokens,
    };
    Ok(replies.into_iter().map(answer).collect())
}

/// What is counted over the replies of one side to one set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub replies: usize,
    /// Of the questions that have a reference.
    pub exact: Share,
    /// Of the replies that have letters, or are empty.
    pub language: Share,
    /// Replies of digits and signs alone.
    pub neutral: usize,
    pub stop: Share,
    pub repetition: Share,
    pub empty: Share,
    /// Mean over the replies of at least four tokens.
    pub rep_4: Option<f64>,
    pub mean_tokens: Option<f64>,
}

impl Counts {
    pub fn new(questions: &[Question], answers: &[Answer], language: Option<&Language>) -> Counts {
        let referenced = questions.iter().zip(answers).filter_map(|(q, a)| Some((q.reference.as_ref()?, a)));
        let verdicts: Vec<Verdict> =
            language.into_iter().flat_map(|l| answers.iter().map(|a| judge(&a.text, l))).collect();
        let rep: Vec<f64> = answers.iter().filter_map(|a| rep_4(&a.tokens)).collect();
        let lengths: Vec<f64> = answers.iter().map(|a| a.tokens.len() as f64).collect();
        Counts {
            replies: answers.len(),
            exact: referenced.map(|(reference, a)| exact_match(&a.text, reference)).collect(),
            language: verdicts
                .iter()
                .filter(|v| **v != Verdict::Neutral)
                .map(|v| *v == Verdict::InLanguage)
                .collect(),
            neutral: verdicts.iter().filter(|v| **v == Verdict::Neutral).count(),
            stop: answers.iter().map(|a| a.stopped).collect(),
            repetition: answers.iter().map(|a| loops(&a.text)).collect(),
            empty: answers.iter().map(|a| a.text.trim().is_empty()).collect(),
            rep_4: mean(&rep),
            mean_tokens: mean(&lengths),
        }
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn question(prompt: &[u32], reference: Option<&str>) -> Question {
        let reference = reference.map(str::to_string);
        Question { id: "q".into(), asked: "?".into(), prompt: prompt.to_vec(), reference }
    }

    fn answer(text: &str, tokens: &[u32], stopped: bool) -> Answer {
        Answer { text: text.into(), tokens: tokens.to_vec(), stopped }
    }

    #[test]
    fn everything_is_counted_over_its_own_denominator() {
        let questions: Vec<Question> =
            [Some("Париж"), None, Some("3"), Some("Да"), Some("Рим")].map(|r| question(&[1], r)).into();
        let answers = [
            answer("париж.", &[5, 6], true),
            answer("The end", &[1, 2, 1, 2, 1, 2, 1, 2], false),
            answer("3", &[9], true),
            answer("", &[], true),
            answer(&"ля ".repeat(30), &[7; 30], false),
        ];
        let counts = Counts::new(&questions, &answers, Language::find("ru"));
        assert_eq!(counts.exact, Share { count: 2, of: 4 });
        assert_eq!(counts.language, Share { count: 2, of: 4 }, "empty is foreign, `3` is neutral");
        assert_eq!((counts.neutral, counts.replies), (1, 5));
        assert_eq!(counts.stop, Share { count: 3, of: 5 });
        assert_eq!(counts.repetition, Share { count: 1, of: 5 });
        assert_eq!(counts.empty, Share { count: 1, of: 5 });
        assert_eq!(counts.mean_tokens, Some(41.0 / 5.0));
        let rep = counts.rep_4.unwrap();
        assert!((rep - (0.6 + 26.0 / 27.0) / 2.0).abs() < 1e-12, "{rep}");
        let unjudged = Counts::new(&questions, &answers, None);
        assert_eq!(unjudged.language, Share::default());
    }

    #[test]
    fn a_reply_ends_at_eos_or_at_the_limit() {
        let mut model = testing::model(5);
        let tokenizer = testing::tokenizer();
        let questions = [question(&[1, 60, 70], None), question(&[1, 80], None)];
        let sampling = SamplingConfig::default();
        let decoding = Decoding { sampling: &sampling, max_new_tokens: 6, batch: 2 };
        let long = reply(&model, Side::Base, tokenizer, &questions, &decoding, |_| ()).unwrap();
        assert!(long.iter().all(|a| a.tokens.len() == 6 && !a.stopped));
        assert_eq!(long[0].text, tokenizer.decode(&long[0].tokens, true));

        testing::always_say(&mut model, tokenizer.eos().unwrap());
        let mut done = 0;
        let short = reply(&model, Side::Base, tokenizer, &questions, &decoding, |n| done = n).unwrap();
        assert!(short.iter().all(|a| a.tokens.is_empty() && a.stopped && a.text.is_empty()));
        assert_eq!(done, 2);
    }
}
