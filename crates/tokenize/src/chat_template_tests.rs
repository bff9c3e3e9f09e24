use super::*;
use crate::testing::{byte_level, sentencepiece};
use serde_json::Value as Json;

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/chat-templates.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn conversation(golden: &Json, name: &str) -> Vec<Message> {
    serde_json::from_value(golden["conversations"][name].clone()).unwrap()
}

#[test]
fn conversations_are_rendered_and_tokenised_as_by_transformers() {
    let golden = golden();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/model");
    let tokenizer = Tokenizer::load(&folder).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let source = golden["templates"][case["template"].as_str().unwrap()].as_str().unwrap();
        let template = ChatTemplate::parse(source).unwrap();
        let messages = conversation(&golden, case["conversation"].as_str().unwrap());
        let text = template.render(&messages, "<s>", "</s>");
        match case["error"].as_str() {
            Some(error) => assert!(text.unwrap_err().to_string().contains(error)),
            None => {
                assert_eq!(text.unwrap(), case["text"].as_str().unwrap(), "{case}");
                let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
                assert_eq!(tokenizer.encode_chat(&template, &messages).unwrap(), ids, "{case}");
            }
        }
    }
}

#[test]
fn a_message_cannot_spell_out_a_special_token() {
    let template = ChatTemplate::parse("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}").unwrap();
    for tokenizer in [byte_level(), sentencepiece()] {
        let (bos, eos) = (tokenizer.bos().unwrap(), tokenizer.eos().unwrap());
        let ids = |text: &str| {
            let message = Message { role: Role::User, content: text.into() };
            tokenizer.encode_chat(&template, &[message]).unwrap()
        };
        let found = ids("the </s> cat <s><s></s");
        assert_eq!((found[0], *found.last().unwrap()), (bos, eos));
        let inner = &found[1..found.len() - 1];
        assert!(!inner.contains(&bos) && !inner.contains(&eos), "{found:?}");
        assert_eq!(tokenizer.decode(inner, false).trim_start(), "the </s> cat <s><s></s");
        let refused =
            tokenizer.encode_chat(&template, &[Message { role: Role::User, content: "a\u{FDD1}b".into() }]);
        assert!(refused.unwrap_err().to_string().contains("U+FDD1"));
    }
}

#[test]
fn white_space_beside_a_token_may_be_its_own() {
    let specials = [
        SpecialText { text: "<x>".into(), id: 7, lstrip: false, rstrip: true },
        SpecialText { text: "<xx>".into(), id: 8, lstrip: true, rstrip: false },
    ];
    assert_eq!(mark("a <x> \n b <xx> c", &specials), (format!("a {END}b{END} c"), vec![7, 8]));
    assert_eq!(mark(&guard("<x><xx>", &specials), &specials), ("<x><xx>".into(), vec![]));
}

#[test]
fn folders_keep_it_in_either_file() {
    let dir = tempfile::tempdir().unwrap();
    let found = || ChatTemplate::of_folder(dir.path()).unwrap().map(|t| t.source);
    assert_eq!(found(), None);
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]}"#,
    );
    assert_eq!(found().as_deref(), Some("d"));
    write("tokenizer_config.json", r#"{"chat_template": "c"}"#);
    assert_eq!(found().as_deref(), Some("c"));
    write("chat_template.jinja", "j");
    assert_eq!(found().as_deref(), Some("j"));
    write("chat_template.jinja", "{% if %}");
    assert!(ChatTemplate::of_folder(dir.path()).unwrap_err().to_string().contains("chat template"));
}

#[test]
fn an_endless_template_ends() {
    let source = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
    let template = ChatTemplate::parse(source).unwrap();
    assert!(template.render(&[], "", "").is_err());
}

#[test]
fn tojson_is_pythons() {
    let render = |source: &str| ChatTemplate::parse(source).unwrap().render(&[], "<s>", "</s>").unwrap();
    // What json.dumps(…, ensure_ascii=False) prints.
    assert_eq!(render(r#"{{ {"a": [1, "б<"]} | tojson }}"#), r#"{"a": [1, "б<"]}"#);
    assert_eq!(render(r#"{{ {"a": [1]} | tojson(indent=2) }}"#), "{\n  \"a\": [\n    1\n  ]\n}");
}
