//! Nothing to ask, or nothing to learn.

use super::{Rule, RuleDescriptor};
use crate::example::{Body, FieldName, Role};

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::Empty,
    drops: "no instruction, no answer, an empty message, or a conversation that ends without an answer",
    defaults: "true",
};

pub(super) fn check(body: &Body) -> Option<String> {
    // An alpaca input may be empty; everything else has to say something.
    let blank = body.fields().find(|&(name, text)| name != FieldName::Input && is_blank(text));
    if let Some((name, _)) = blank {
        return Some(format!("{name} is empty"));
    }
    let Body::Messages { messages } = body else { return None };
    let has = |role| messages.iter().any(|message| message.role == role);
    match messages.last() {
        None => Some("no messages".into()),
        _ if !has(Role::User) => Some("no message of the user".into()),
        Some(last) if last.role != Role::Assistant => Some("ends without an answer".into()),
        Some(_) => None,
    }
}

/// White space and characters without width only.
fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace() || c.is_control() || ('\u{200b}'..='\u{200f}').contains(&c) || c == '\u{feff}'
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alpaca, talk};
    use super::*;

    #[test]
    fn blank_fields_are_named() {
        assert_eq!(check(&alpaca("Hi", "", " \n\u{200b}")).unwrap(), "output is empty");
        assert_eq!(check(&alpaca("", "x", "y")).unwrap(), "instruction is empty");
        assert_eq!(check(&talk(&["Hi", ""])).unwrap(), "messages[1].content is empty");
        assert_eq!(check(&Body::Text { text: "\t".into() }).unwrap(), "text is empty");
    }

    #[test]
    fn conversations_need_a_question_and_an_answer() {
        assert_eq!(check(&talk(&[])).unwrap(), "no messages");
        assert_eq!(check(&talk(&["Hi", "Hello", "Bye"])).unwrap(), "ends without an answer");
        let mut alone = talk(&["Hi", "Hello"]);
        if let Body::Messages { messages } = &mut alone {
            messages.remove(0);
        }
        assert_eq!(check(&alone).unwrap(), "no message of the user");
    }

    #[test]
    fn short_is_not_empty() {
        for body in [alpaca("2+2", "", "4"), alpaca("Smile", "", "🙂"), talk(&["?", "!"])] {
            assert_eq!(check(&body), None, "{body:?}");
        }
    }
}
