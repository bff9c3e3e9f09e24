//! A prompt template as the Jinja chat template that other programs read.

use tolmach_corpus::{Message, Role};
use tolmach_tokenize::PromptTemplate;

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
    let bos = if adds_bos { "{{ bos_token }}" } else { "" };
    Some(format!(
        "{bos}{{% set ns = namespace(first=true) %}}{{% for message in messages %}}\
         {{% if message['role'] == 'system' %}}{{{{ message['content'] + '\\n\\n' }}}}\
         {{% elif message['role'] == 'assistant' %}}{{{{ message['content'] + eos_token }}}}\
         {{% elif ns.first %}}{{{{ {} }}}}{{% set ns.first = false %}}\
         {{% else %}}{{{{ {} }}}}{{% endif %}}{{% endfor %}}",
        expression(&first),
        expression(&turn)
    ))
}

/// `'text before' + message['content'] + 'text after'`
fn expression(text: &str) -> String {
    let literals: Vec<String> = text.split(MARK).map(literal).collect();
    literals.join(" + message['content'] + ")
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
}
