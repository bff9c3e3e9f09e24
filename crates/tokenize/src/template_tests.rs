use super::*;

fn example(body: Body) -> Example {
    Example {
        id: "1".into(),
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

fn messages(turns: &[(Role, &str)]) -> Vec<Message> {
    turns.iter().map(|&(role, content)| Message { role, content: content.into() }).collect()
}

fn answers(rendered: &Rendered) -> Vec<&str> {
    rendered.trained.iter().map(|range| &rendered.text[range.clone()]).collect()
}

#[test]
fn every_built_in_is_valid_and_ends_where_the_answer_begins() {
    for built_in in BUILT_IN_TEMPLATES {
        let template = PromptTemplate::named(built_in.name).unwrap();
        assert_eq!(template.name(), built_in.name);
        for input in ["", "in"] {
            let rendered = template.render(&alpaca("do", input, "Да.")).unwrap();
            let prompt = template.render_prompt("do", input);
            assert_eq!(rendered.text, format!("{prompt}Да."), "{}", built_in.name);
            assert_eq!(answers(&rendered), ["Да."]);
            assert!(rendered.text[rendered.preamble..].starts_with("do\n"), "{}", built_in.name);
            assert_eq!(prompt.contains("in\n"), input == "in" || prompt.contains("in\n\n"));
        }
    }
}

#[test]
fn the_russian_prompt_has_no_latin_letters() {
    for name in ["alpaca-ru", "alpaca-ru-short"] {
        let template = PromptTemplate::named(name).unwrap();
        for input in ["", "вход"] {
            let prompt = template.render_prompt("задание", input);
            assert!(!prompt.chars().any(|c| c.is_ascii_alphabetic()), "{prompt}");
        }
    }
}

#[test]
fn a_blank_input_is_no_input() {
    let template = PromptTemplate::default();
    assert_eq!(template.render_prompt("do", " \n"), template.render_prompt("do", ""));
}

#[test]
fn every_assistant_turn_is_trained_and_nothing_after_the_last() {
    let template = PromptTemplate::named("alpaca-en-short").unwrap();
    let turns = messages(&[
        (Role::System, "Be kind."),
        (Role::User, "a"),
        (Role::User, "b"),
        (Role::Assistant, "first"),
        (Role::User, "c"),
        (Role::Assistant, "second"),
        (Role::User, "unanswered"),
    ]);
    let rendered = template.render(&example(Body::Messages { messages: turns.clone() })).unwrap();
    assert_eq!(
        rendered.text,
        "Be kind.\n\n### Instruction:\na\n\nb\n\n### Response:\nfirst\n\n### Instruction:\nc\n\n### Response:\nsecond"
    );
    assert_eq!(answers(&rendered), ["first", "second"]);

    // For generation the last user message stays, and the answer begins at the end of the text.
    let prompt = template.render_conversation(&turns).unwrap();
    assert!(prompt.text.ends_with("second\n\n### Instruction:\nunanswered\n\n### Response:\n"));
    assert_eq!(answers(&prompt), ["first", "second"]);
}

#[test]
fn one_user_message_and_an_alpaca_record_are_the_same_prompt() {
    let template = PromptTemplate::named("alpaca-ru").unwrap();
    let turns = messages(&[(Role::User, "Скажи да."), (Role::Assistant, "Да.")]);
    let conversation = template.render(&example(Body::Messages { messages: turns })).unwrap();
    assert_eq!(conversation, template.render(&alpaca("Скажи да.", "", "Да.")).unwrap());
}

#[test]
fn impossible_examples_say_why() {
    let template = PromptTemplate::default();
    let of = |turns: &[(Role, &str)]| {
        template.render(&example(Body::Messages { messages: messages(turns) })).unwrap_err()
    };
    assert_eq!(template.render(&alpaca("do", "", " \n")).unwrap_err(), RenderError::NoAnswer);
    assert_eq!(
        template.render(&example(Body::Text { text: String::new() })).unwrap_err(),
        RenderError::NoAnswer
    );
    assert_eq!(of(&[(Role::User, "a")]), RenderError::NoAnswer);
    assert_eq!(of(&[(Role::Assistant, "a")]), RenderError::StartsWithAssistant);
    let late = [(Role::User, "a"), (Role::System, "s"), (Role::Assistant, "b")];
    assert_eq!(of(&late), RenderError::LateSystem);
}

#[test]
fn a_text_is_trained_whole() {
    let rendered =
        PromptTemplate::default().render(&example(Body::Text { text: "Мой дядя".into() })).unwrap();
    assert_eq!((answers(&rendered), rendered.preamble), (vec!["Мой дядя"], 0));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Recipe {
    template: PromptTemplate,
}

#[test]
fn recipes_name_a_template_or_spell_one_out() {
    let read = |text: &str| toml::from_str::<Recipe>(text);
    let named = read("template = \"alpaca-ru\"").unwrap();
    assert_eq!(named.template.name(), "alpaca-ru");
    let own = read("[template]\nwithout_input = \"В: {instruction}\\nО: \"").unwrap();
    assert_eq!(own.template.render_prompt("что?", ""), "В: что?\nО: ");
    assert_eq!(own.template.render_prompt("что?", "это"), "В: что?\n\nэто\nО: ");
    for recipe in [named, own] {
        assert_eq!(read(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
    }

    let error = |text: &str| read(text).unwrap_err().to_string();
    assert!(error("template = \"alpaka\"").contains("alpaca-en, alpaca-ru"), "names what there is");
    assert!(error("[template]\nwithout_inptu = \"\"").contains("without_inptu"), "names the wrong key");
    assert!(error("[template]\nwithout_input = \"x\"").contains("{instruction}"), "names the placeholder");
    assert!(error("template = 3").contains("name"), "says what is expected");
}
