use super::*;
use crate::template::TemplateStrings;
use crate::testing::{byte_level, sentencepiece};
use proptest::prelude::*;
use tolmach_corpus::{Body, Message, Role};

fn example(body: Body) -> Example {
    Example {
        id: "7".into(),
        body,
        source: None,
        language: None,
        translation: None,
        extra: Default::default(),
    }
}

fn alpaca(instruction: &str, input: &str, output: &str) -> Example {
    example(Body::Alpaca { instruction: instruction.into(), input: input.into(), output: output.into() })
}

fn encoder<'a>(tokenizer: &'a Tokenizer, template: &'a PromptTemplate) -> ExampleEncoder<'a> {
    limited(tokenizer, template, usize::MAX, OverLong::Drop)
}

fn limited<'a>(
    tokenizer: &'a Tokenizer,
    template: &'a PromptTemplate,
    max_seq_length: usize,
    over_long: OverLong,
) -> ExampleEncoder<'a> {
    ExampleEncoder::new(tokenizer, template, MaskConfig::default(), max_seq_length, over_long).unwrap()
}

/// The text of the trained tokens, EOS shown as `⏹`.
fn trained_text(tokenizer: &Tokenizer, example: &TokenExample) -> String {
    let eos = tokenizer.eos().unwrap();
    let trained: Vec<u32> =
        example.labels.iter().filter(|&&label| label != IGNORED).map(|&label| label as u32).collect();
    trained
        .split_inclusive(|&id| id == eos)
        .map(|part| {
            let end = if part.last() == Some(&eos) { "⏹" } else { "" };
            format!("{}{end}", tokenizer.decode(part, true))
        })
        .collect()
}

proptest! {
    #[test]
    fn trained_tokens_are_those_that_touch_the_answer_and_eos(
        instruction in "\\PC{0,30}", input in "[a-zа-я\n ]{0,10}",
        output in "[ \n]{0,2}[a-zа-яЩ漢🦙.,#]{1,30}[ \n]{0,2}", name in 0usize..BUILT_IN,
    ) {
        let template = PromptTemplate::named(crate::BUILT_IN_TEMPLATES[name].name).unwrap();
        for tokenizer in [byte_level(), sentencepiece()] {
            let source = alpaca(&instruction, &input, &output);
            let encoder = encoder(tokenizer, &template);
            let (rendered, tokens, whole) = encoder.encode_whole(&source).unwrap();
            let answer = rendered.trained[0].clone();
            prop_assert_eq!(&rendered.text[answer.clone()], &output);
            prop_assert_eq!(encoder.encode(&source).unwrap(), whole.clone());
            prop_assert_eq!(&whole.input_ids, &tokens.ids);

            let last = whole.len() - 1;
            prop_assert_eq!(whole.input_ids[last], tokenizer.eos().unwrap());
            prop_assert_eq!(whole.labels[last], whole.input_ids[last] as i32, "EOS is trained");
            prop_assert_eq!((whole.input_ids[0], whole.labels[0]), (tokenizer.bos().unwrap(), IGNORED));
            let mut covered = rendered.text.len();
            for t in 1..last {
                let (start, end) = tokens.offsets[t];
                let touches = (start..end).any(|byte| answer.contains(&byte));
                prop_assert_eq!(whole.labels[t] != IGNORED, touches);
                if touches {
                    prop_assert_eq!(whole.labels[t], whole.input_ids[t] as i32);
                    covered = covered.min(start);
                }
            }
            prop_assert!(covered <= answer.start, "the answer's first byte is trained");
        }
    }
}

const BUILT_IN: usize = 4;

#[test]
fn alpaca_lora_306_first_answer_token_is_trained() {
    // The prompt's last space becomes a part of the answer's first token: the prompt alone has other
    // tokens than the whole text has there.
    let strings = TemplateStrings { without_input: "{instruction} = ".into(), with_input: None, turn: None };
    let (tokenizer, template) = (byte_level(), PromptTemplate::own(strings).unwrap());
    let encoded = encoder(tokenizer, &template).encode(&alpaca("кот", "", "the cat")).unwrap();
    let prompt = tokenizer.encode(&template.render_prompt("кот", ""), true).unwrap().ids;
    assert_ne!(encoded.input_ids[..prompt.len()], prompt, "the test needs such a place");
    assert_eq!(trained_text(tokenizer, &encoded), " the cat⏹");
    // A mask as long as the prompt alone would have left out " the".
    let first = encoded.labels.iter().position(|&label| label != IGNORED);
    assert_eq!(first, Some(prompt.len() - 1));
}

#[test]
fn unsloth_416_eos_is_trained_after_every_answer() {
    let turn = |role, content: &str| Message { role, content: content.into() };
    let turns = vec![
        turn(Role::User, "кот?"),
        turn(Role::Assistant, "Да."),
        turn(Role::User, "собака?"),
        turn(Role::Assistant, "Нет."),
    ];
    let template = PromptTemplate::named("alpaca-ru").unwrap();
    for tokenizer in [byte_level(), sentencepiece()] {
        let encoded =
            encoder(tokenizer, &template).encode(&example(Body::Messages { messages: turns.clone() }));
        assert_eq!(trained_text(tokenizer, &encoded.unwrap()), "Да.⏹Нет.⏹");
    }
}

#[test]
fn a_prompt_is_the_beginning_of_its_training_example() {
    // What generation starts from must be what training has seen, also after earlier answers.
    let turn = |role, content: &str| Message { role, content: content.into() };
    let mut turns = vec![turn(Role::User, "кот?"), turn(Role::Assistant, "Да."), turn(Role::User, "собака?")];
    let template = PromptTemplate::named("alpaca-ru").unwrap();
    for tokenizer in [byte_level(), sentencepiece()] {
        let prompt = template.render_conversation(&turns).unwrap();
        let prompt = tokenizer.encode_rendered(&prompt).unwrap().ids;
        turns.push(turn(Role::Assistant, "Нет."));
        let body = Body::Messages { messages: turns.clone() };
        let whole = encoder(tokenizer, &template).encode(&example(body)).unwrap();
        assert_eq!(whole.input_ids[..prompt.len()], prompt);
        assert!(whole.labels[prompt.len()..].iter().all(|&label| label != IGNORED));
        turns.pop();
    }
}

#[test]
fn an_eos_spelled_out_in_the_answer_does_not_end_it() {
    let template = PromptTemplate::default();
    for tokenizer in [byte_level(), sentencepiece()] {
        let encoded = encoder(tokenizer, &template).encode(&alpaca("a", "", "<s>old</s> new")).unwrap();
        assert_eq!(trained_text(tokenizer, &encoded), "<s>old</s> new⏹");
    }
}

#[test]
fn the_prompt_is_trained_on_request_but_bos_never() {
    let (tokenizer, template) = (byte_level(), PromptTemplate::default());
    let mask = MaskConfig { train_on_prompt: true };
    let encoder = ExampleEncoder::new(tokenizer, &template, mask, usize::MAX, OverLong::Drop).unwrap();
    let encoded = encoder.encode(&alpaca("a", "b", "c")).unwrap();
    assert_eq!(encoded.labels[0], IGNORED);
    assert_eq!(encoded.trained_tokens(), encoded.len() - 1);
}

#[test]
fn over_long_examples_are_dropped_or_cut_without_eos() {
    let (tokenizer, template) = (byte_level(), PromptTemplate::default());
    let source = alpaca("кот", "", "the cat sat on the mat");
    let whole = encoder(tokenizer, &template).encode(&source).unwrap();
    let fits = limited(tokenizer, &template, whole.len(), OverLong::Drop).encode(&source).unwrap();
    assert_eq!(fits, whole, "the maximum itself is allowed");

    let max = whole.len() - 2;
    let reason = limited(tokenizer, &template, max, OverLong::Drop).encode(&source).unwrap_err();
    assert_eq!(reason, DropReason::TooLong { tokens: whole.len(), max_seq_length: max });
    let cut = limited(tokenizer, &template, max, OverLong::Truncate).encode(&source).unwrap();
    assert_eq!(cut.input_ids, whole.input_ids[..max]);
    assert_eq!(cut.labels, whole.labels[..max]);
    assert!(!cut.input_ids.contains(&tokenizer.eos().unwrap()));

    let reason = limited(tokenizer, &template, 5, OverLong::Truncate).encode(&source).unwrap_err();
    assert_eq!(reason, DropReason::AnswerCutOff { max_seq_length: 5 });
}

#[test]
fn a_data_set_keeps_its_order_and_counts_what_it_lost() {
    let (tokenizer, template) = (byte_level(), PromptTemplate::default());
    let mut sources: Vec<Example> = (0..50).map(|i| alpaca("a", "", &"cat ".repeat(i))).collect();
    for (i, source) in sources.iter_mut().enumerate() {
        source.id = i.to_string();
    }
    sources.push(Example { id: "mark".into(), ..alpaca("a", "", "\u{FDD0}") });
    let length = encoder(tokenizer, &template).encode(&sources[40]).unwrap().len();

    let all = limited(tokenizer, &template, length, OverLong::Drop).encode_all(&sources);
    let ids: Vec<usize> = all.examples.iter().map(|e| e.id.as_ref().unwrap().parse().unwrap()).collect();
    assert_eq!(ids, (1..=40).collect::<Vec<_>>());
    assert_eq!((all.dropped.len(), all.truncated), (11, 0));
    assert_eq!(
        all.dropped[0],
        Dropped { id: "0".into(), reason: DropReason::NotRendered(RenderError::NoAnswer) }
    );
    assert!(matches!(all.dropped[1].reason, DropReason::TooLong { .. }));
    let mark = all.dropped.last().unwrap();
    assert!(mark.id == "mark" && mark.reason.to_string().contains("U+FDD0"), "{mark:?}");

    let cut = limited(tokenizer, &template, length, OverLong::Truncate).encode_all(&sources);
    assert_eq!((cut.examples.len(), cut.dropped.len(), cut.truncated), (49, 2, 9));
}
