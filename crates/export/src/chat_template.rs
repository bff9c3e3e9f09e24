//! A prompt template as the Jinja chat template that other programs read, and back.

use tolmach_corpus::{Message, Role};
use tolmach_tokenize::{BUILT_IN_TEMPLATES, PromptTemplate, TemplateStrings};

/// Stands for the user's words while the template's own are found out.
const MARK: &str = "\u{1}";

/// Renders what [`PromptTemplate::render_conversation`] renders, EOS after each answer, and BOS first where
/// the model wants it (programs add none to a rendered template).
///
/// `None` for a template that cannot be told apart from its contents.
pub fn chat_template(template: &PromptTemplate, adds_bos: bool) -> Option<String> {
    let message = |role, content: &str| Message { role, content: content.into() };
    let first = template.render_prompt(MARK, "");
    let conversation =
        [message(Role::User, MARK), message(Role::Assistant, "answer"), message(Role::User, MARK)];
    let rendered = template.render_conversation(&conversation).ok()?.text;
    let turn = rendered.strip_prefix(&first)?.strip_prefix("answer")?.to_string();
    let bos = if adds_bos { BOS } else { "" };
    Some(format!("{bos}{HEAD}{}{MIDDLE}{}{TAIL}", expression(&first), expression(&turn)))
}

/// The template that [`chat_template`] made this of; `None` where somebody else did. Of one's own strings
/// `with_input` is not in it: no conversation needs it.
pub fn prompt_template(jinja: &str) -> Option<PromptTemplate> {
    let built_in = BUILT_IN_TEMPLATES.iter().filter_map(|t| PromptTemplate::named(t.name).ok()).find(|t| {
        [true, false].into_iter().any(|adds_bos| chat_template(t, adds_bos).as_deref() == Some(jinja))
    });
    if built_in.is_some() {
        return built_in;
    }
    let body = jinja.strip_prefix(BOS).unwrap_or(jinja).strip_prefix(HEAD)?.strip_suffix(TAIL)?;
    let (first, turn) = body.split_once(MIDDLE)?;
    let strings =
        TemplateStrings { without_input: written(first)?, with_input: None, turn: Some(written(turn)?) };
    PromptTemplate::own(strings).ok()
}

const BOS: &str = "{{ bos_token }}";
/// Before the words around the first question, between them and those around a later one, and after.
const HEAD: &str = "{% set ns = namespace(first=true) %}{% for message in messages %}\
    {% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}\
    {% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}\
    {% elif ns.first %}{{ ";
const MIDDLE: &str = " }}{% set ns.first = false %}{% else %}{{ ";
const TAIL: &str = " }}{% endif %}{% endfor %}";
const CONTENT: &str = " + message['content'] + ";

/// `'text before' + message['content'] + 'text after'`
fn expression(text: &str) -> String {
    let literals: Vec<String> = text.split(MARK).map(literal).collect();
    literals.join(CONTENT)
}

/// The inverse of [`expression`], with `{instruction}` for the user's words.
fn written(expression: &str) -> Option<String> {
    let texts: Option<Vec<String>> = expression.split(CONTENT).map(unquoted).collect();
    Some(texts?.join("{instruction}"))
}

/// A text in quotes.
fn literal(text: &str) -> String {
    let mut quoted = String::from("'");
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\\' => quoted.push_str("\\\\"),
            '\'' => quoted.push_str("\\'"),
            c => quoted.push(c),
        }
    }
    quoted + "'"
}

/// The inverse of [`literal`].
fn unquoted(literal: &str) -> Option<String> {
    let mut chars = literal.strip_prefix('\'')?.strip_suffix('\'')?.chars();
    let mut text = String::new();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\'' => return None,
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                c @ ('\\' | '\'') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tolmach_tokenize::TemplateStrings;

    #[test]
    fn the_strings_of_the_template_are_in_it() {
        let strings = TemplateStrings {
            without_input: "It's a task:\n{instruction}\n\\ ".into(),
            with_input: None,
            turn: Some("\n>{instruction}<".into()),
        };
        let jinja = chat_template(&PromptTemplate::own(strings).unwrap(), true).unwrap();
        assert_eq!(
            jinja,
            "{{ bos_token }}{% set ns = namespace(first=true) %}{% for message in messages %}\
             {% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}\
             {% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}\
             {% elif ns.first %}{{ 'It\\'s a task:\\n' + message['content'] + '\\n\\\\ ' }}{% set ns.first = false %}\
             {% else %}{{ '\\n>' + message['content'] + '<' }}{% endif %}{% endfor %}"
        );
        assert!(!chat_template(&PromptTemplate::default(), false).unwrap().contains("bos_token"));
    }

    #[test]
    fn what_was_made_of_a_template_leads_back_to_it() {
        for built_in in BUILT_IN_TEMPLATES {
            let template = PromptTemplate::named(built_in.name).unwrap();
            let jinja = chat_template(&template, true).unwrap();
            assert_eq!(prompt_template(&jinja), Some(template));
        }
        let strings = TemplateStrings {
            without_input: "It's a task:\n{instruction}\n\\ ".into(),
            with_input: None,
            turn: Some("\n>{instruction}<".into()),
        };
        let template = PromptTemplate::own(strings).unwrap();
        for adds_bos in [true, false] {
            let jinja = chat_template(&template, adds_bos).unwrap();
            assert_eq!(prompt_template(&jinja).as_ref(), Some(&template));
            assert_eq!(prompt_template(&jinja.replace("eos_token", "sep")), None);
        }
        assert_eq!(
            prompt_template("{% for message in messages %}{{ message['content'] }}{% endfor %}"),
            None
        );
    }
}
