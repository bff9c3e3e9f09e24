//! From examples to what is measured: questions to reply to, and texts to score.

use crate::error::{Error, Result};
use tolmach_corpus::{Body, Example, Language, Role};
use tolmach_tokenize::{ExampleEncoder, IGNORED, MaskConfig, OverLong, PromptTemplate, Tokenizer};

/// A plain text has no instruction: it is continued from after so many words.
const OPENING_WORDS: usize = 8;

/// Held-out examples of one language.
#[derive(Clone, Copy, Debug)]
pub struct EvalSet<'a> {
    pub examples: &'a [Example],
    pub template: &'a PromptTemplate,
    /// What replies should be in; `None`: not judged.
    pub language: Option<&'static Language>,
}

/// Something to reply to.
pub(crate) struct Question {
    pub id: String,
    /// As a reader sees it, without the template.
    pub asked: String,
    /// `[T]`, never empty
    pub prompt: Vec<u32>,
    pub reference: Option<String>,
}

/// A text whose probability is measured.
pub(crate) struct Text {
    pub id: String,
    /// `[T]`, prompt included
    pub ids: Vec<u32>,
    /// `[N]`: rows whose next token is scored
    pub rows: Vec<usize>,
    /// `[N]`: that token
    pub targets: Vec<u32>,
    /// UTF-8 bytes that the scored tokens stand for
    pub bytes: usize,
}

#[derive(Default)]
pub(crate) struct Prepared {
    pub questions: Vec<Question>,
    pub texts: Vec<Text>,
    /// Prompts that leave no room for a reply.
    pub too_long: usize,
    /// Neither a prompt nor an answer.
    pub unusable: usize,
    /// Texts cut at the end of the context.
    pub cut: usize,
}

/// Room in the model's context, in tokens.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub context: usize,
    pub max_new_tokens: usize,
}

impl Room {
    pub fn new(context: usize, asked: Option<usize>) -> Result<Room> {
        let max_new_tokens = asked.unwrap_or_else(|| 128.min(context / 2));
        if max_new_tokens >= context || max_new_tokens == 0 {
            return Err(Error::NoRoom { max_new_tokens, context });
        }
        Ok(Room { context, max_new_tokens })
    }

    fn for_prompt(self) -> usize {
        self.context - self.max_new_tokens
    }
}

/// Questions and texts of at most `limit` examples, evenly spread over the set (files are often
/// ordered by kind).
pub(crate) fn prepare(
    set: &EvalSet,
    name: &'static str,
    tokenizer: &Tokenizer,
    room: Room,
    limit: usize,
) -> Result<Prepared> {
    let encoder = ExampleEncoder::new(
        tokenizer,
        set.template,
        MaskConfig::default(),
        room.context,
        OverLong::Truncate,
    )?;
    let mut prepared = Prepared::default();
    for example in spread(set.examples, limit) {
        let question = question(example, set.template, tokenizer)?;
        let text = text(example, &encoder, room.context, &mut prepared.cut);
        prepared.unusable += usize::from(question.is_none() && text.is_none());
        prepared.texts.extend(text);
        match question {
            Some(q) if q.prompt.len() <= room.for_prompt() => prepared.questions.push(q),
            Some(_) => prepared.too_long += 1,
            None => {}
        }
    }
    if prepared.questions.is_empty() && prepared.texts.is_empty() {
        return Err(Error::NothingToMeasure {
            set: name,
            examples: set.examples.len(),
            too_long: prepared.too_long,
            unusable: prepared.unusable,
            room: room.for_prompt(),
        });
    }
    Ok(prepared)
}

pub(crate) fn spread<T>(all: &[T], limit: usize) -> impl Iterator<Item = &T> {
    let count = limit.min(all.len());
    (0..count).map(move |i| &all[i * all.len() / count])
}

/// The question an example asks; `None` where it asks nothing.
fn question(example: &Example, template: &PromptTemplate, tokenizer: &Tokenizer) -> Result<Option<Question>> {
    let reference = example.body.answer().map(str::trim).filter(|a| !a.is_empty()).map(str::to_string);
    let (asked, reference, tokens) = match &example.body {
        Body::Alpaca { instruction, input, .. } => {
            let prompt = template.render_prompt(instruction, input);
            (example.body.prompt_text(), reference, tokenizer.encode(&prompt, true)?)
        }
        Body::Messages { messages } => {
            // Up to the last answer, or to the end where the last word is the user's.
            let last_answer = messages.iter().rposition(|m| m.role == Role::Assistant);
            let end = last_answer.filter(|_| reference.is_some()).unwrap_or(messages.len());
            let Ok(rendered) = template.render_conversation(&messages[..end]) else { return Ok(None) };
            let asked: Vec<&str> = messages[..end].iter().map(|m| m.content.as_str()).collect();
            (asked.join("\n\n"), reference, tokenizer.encode_rendered(&rendered)?)
        }
        Body::Text { text } => match opening(text) {
            Some(opening) => (opening.to_string(), None, tokenizer.encode(opening, true)?),
            None => return Ok(None),
        },
    };
    let usable = !asked.trim().is_empty() && !tokens.ids.is_empty();
    Ok(usable.then(|| Question { id: example.id.clone(), asked, prompt: tokens.ids, reference }))
}

/// A text up to the end of its eighth word; `None` if it is no longer than that.
fn opening(text: &str) -> Option<&str> {
    let (mut words, mut in_word) = (0, false);
    for (at, c) in text.char_indices() {
        if in_word && c.is_whitespace() && words == OPENING_WORDS {
            return text[at..].contains(|c: char| !c.is_whitespace()).then(|| &text[..at]);
        }
        words += usize::from(!in_word && !c.is_whitespace());
        in_word = !c.is_whitespace();
    }
    None
}

/// What of an example is scored: the tokens of its answers (of a plain text: of all of it). The first
/// token of a text without BOS has nothing that could predict it; it is left out with its bytes. EOS is
/// left out too: it stands for no byte, and whether the model stops is measured by the stop rate.
fn text(example: &Example, encoder: &ExampleEncoder, context: usize, cut: &mut usize) -> Option<Text> {
    let (rendered, tokens, whole) = encoder.encode_whole(example).ok()?;
    let kept = whole.len().min(context);
    let eos = encoder.tokenizer().eos();
    let is_scored = |t: usize| {
        let (start, end) = tokens.offsets[t];
        whole.labels[t] != IGNORED && !(start == end && Some(tokens.ids[t]) == eos)
    };
    let rows: Vec<usize> = (0..kept.saturating_sub(1)).filter(|&t| is_scored(t + 1)).collect();
    let targets = rows.iter().map(|&t| tokens.ids[t + 1]).collect();

    let from = if is_scored(0) { tokens.offsets[0].1 } else { 0 };
    let to = if kept < whole.len() { tokens.offsets[kept - 1].1 } else { rendered.text.len() };
    let within = |r: &std::ops::Range<usize>| r.end.min(to).saturating_sub(r.start.max(from));
    let bytes = rendered.trained.iter().map(within).sum();
    *cut += usize::from(kept < whole.len());
    let mut ids = tokens.ids;
    ids.truncate(kept);
    (!rows.is_empty() && bytes > 0).then(|| Text { id: example.id.clone(), ids, rows, targets, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn alpaca(instruction: &str, output: &str) -> Example {
        Example::new(Body::Alpaca {
            instruction: instruction.into(),
            input: String::new(),
            output: output.into(),
        })
    }

    fn plain(text: &str) -> Example {
        Example::new(Body::Text { text: text.into() })
    }

    fn prepared(examples: &[Example], context: usize) -> Result<Prepared> {
        let template = PromptTemplate::named("alpaca-ru").unwrap();
        let set = EvalSet { examples, template: &template, language: None };
        let room = Room::new(context, Some(8)).unwrap();
        prepare(&set, "target", testing::tokenizer(), room, usize::MAX)
    }

    #[test]
    fn the_answer_is_scored_with_all_its_bytes_and_without_eos() {
        let prepared = prepared(&[alpaca("Столица Франции?", "Париж")], 1000).unwrap();
        let text = &prepared.texts[0];
        assert_eq!(text.bytes, "Париж".len());
        let tokenizer = testing::tokenizer();
        assert_eq!(tokenizer.decode(&text.targets, false), "Париж");
        assert_eq!(*text.ids.last().unwrap(), tokenizer.eos().unwrap());
        let question = &prepared.questions[0];
        assert_eq!(question.prompt, text.ids[..question.prompt.len()], "the prompt is the text's beginning");
        assert_eq!(question.reference.as_deref(), Some("Париж"));
    }

    #[test]
    fn a_text_is_scored_whole_and_continued_from_its_opening() {
        let story = "Жили-были дед и баба, и была у них курочка Ряба.";
        let prepared = prepared(&[plain(story)], 1000).unwrap();
        assert_eq!(prepared.texts[0].bytes, story.len());
        assert_eq!(prepared.questions[0].asked, "Жили-были дед и баба, и была у них");
        assert!(prepared.questions[0].reference.is_none());
    }

    #[test]
    fn without_bos_the_first_token_and_its_bytes_are_left_out() {
        let tokenizer = testing::tokenizer_without_bos();
        let template = PromptTemplate::default();
        let examples = [plain("кот кот")];
        let set = EvalSet { examples: &examples, template: &template, language: None };
        let prepared = prepare(&set, "t", tokenizer, Room::new(100, Some(8)).unwrap(), 9).unwrap();
        let text = &prepared.texts[0];
        assert_eq!(text.rows[0], 0);
        let first = tokenizer.encode("кот кот", false).unwrap().offsets[0].1;
        assert_eq!(text.bytes, "кот кот".len() - first);
    }

    #[test]
    fn a_long_text_is_cut_with_its_bytes() {
        let prepared = prepared(&[plain(&"а б в г д ".repeat(50))], 40).unwrap();
        let text = &prepared.texts[0];
        assert_eq!((text.ids.len(), prepared.cut), (40, 1));
        let tokens = testing::tokenizer().encode(&"а б в г д ".repeat(50), true).unwrap();
        assert_eq!(text.bytes, tokens.offsets[39].1);
    }

    #[test]
    fn prompts_without_room_are_counted_not_measured() {
        let long = alpaca(&"очень ".repeat(60), "да");
        let both = prepared(&[long.clone(), alpaca("Да?", "да")], 250).unwrap();
        assert_eq!((both.questions.len(), both.too_long), (1, 1));
        let message = prepared(&[plain("а"), alpaca(" ", "")], 250).map(|p| p.texts.len());
        assert_eq!(message.unwrap(), 1, "a text of one letter can be scored");
        let message = prepared(&[alpaca(" ", "")], 250).err().unwrap().to_string();
        assert!(
            message.contains("target set has 1 examples") && message.contains("1 have no prompt"),
            "{message}"
        );
    }

    #[test]
    fn a_limit_takes_examples_from_everywhere() {
        let all: Vec<usize> = (0..100).collect();
        assert_eq!(spread(&all, 4).copied().collect::<Vec<_>>(), [0, 25, 50, 75]);
        assert_eq!(spread(&all, 1000).count(), 100);
        assert_eq!(spread(&all[..0], 5).count(), 0);
    }

    #[test]
    fn a_conversation_is_asked_up_to_its_last_answer() {
        let message = |role, content: &str| tolmach_corpus::Message { role, content: content.into() };
        let messages = vec![
            message(Role::User, "Раз?"),
            message(Role::Assistant, "Два."),
            message(Role::User, "Три?"),
            message(Role::Assistant, "Четыре."),
        ];
        let prepared = prepared(&[Example::new(Body::Messages { messages })], 1000).unwrap();
        let question = &prepared.questions[0];
        assert_eq!(question.reference.as_deref(), Some("Четыре."));
        assert!(question.asked.ends_with("Три?"));
        assert_eq!(prepared.texts[0].bytes, "Два.Четыре.".len(), "both answers are scored");
        assert_eq!(question.prompt, prepared.texts[0].ids[..question.prompt.len()]);
    }
}
