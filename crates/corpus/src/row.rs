//! From one JSON object of any supported format to an [`Example`].
//!
//! | format | keys |
//! |---|---|
//! | alpaca | `instruction`, `output`, optional `input` |
//! | OpenAI messages | `messages[].role`, `messages[].content` (a string, or text parts) |
//! | ShareGPT | `conversations[].from`, `conversations[].value` |
//! | plain text | `text` |
//!
//! plus our own `id`, `source`, `language`, `translation`. All other keys are carried along in `extra`.
//! A foreign field that has one of our names but another meaning (`"source": "wikipedia"`) is carried
//! along under the name `file_…`. Keys of a message other than its role and text are not kept.

use crate::error::RowError;
use crate::example::{Body, Example, Message, Role, Translation};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

const ROLES: &str = "system, user (human), assistant (gpt)";

/// # Errors
/// The value is no object, or has none of the shapes above.
pub(crate) fn example_from_row(row: Value) -> Result<Example, RowError> {
    let Value::Object(mut row) = row else { return Err(RowError::NotAnObject { found: kind(&row) }) };
    let body = take_body(&mut row)?;
    let id = match row.shift_remove("id") {
        Some(Value::String(id)) if !id.is_empty() => id,
        Some(Value::Number(id)) => id.to_string(),
        None | Some(Value::Null) => body.content_id(),
        Some(other) => {
            row.insert(free_name(&row, "id"), other);
            body.content_id()
        }
    };
    let source = take_own::<Body>(&mut row, "source");
    let translation = take_own::<Translation>(&mut row, "translation");
    let language = take_language(&mut row);
    Ok(Example { id, body, source, language, translation, extra: row })
}

/// The text of the row; its keys are removed from `row`.
fn take_body(row: &mut Map<String, Value>) -> Result<Body, RowError> {
    let has = |key: &str| row.contains_key(key);
    if has("instruction") && has("output") {
        Ok(Body::Alpaca {
            instruction: take_string(row, "instruction")?,
            input: if row.contains_key("input") { take_string(row, "input")? } else { String::new() },
            output: take_string(row, "output")?,
        })
    } else if has("messages") {
        take_messages(row, "messages", "role", "content")
    } else if has("conversations") {
        take_messages(row, "conversations", "from", "value")
    } else if has("instruction") {
        Err(missing(row, "`output`"))
    } else if has("output") {
        Err(missing(row, "`instruction`"))
    } else if has("text") {
        Ok(Body::Text { text: take_string(row, "text")? })
    } else {
        Err(missing(row, "`instruction` and `output`, `messages`, `conversations` or `text`"))
    }
}

/// Null is read as the empty string: many files have `"input": null`.
fn take_string(row: &mut Map<String, Value>, key: &str) -> Result<String, RowError> {
    match row.shift_remove(key) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Ok(String::new()),
        Some(other) => {
            Err(RowError::WrongType { key: key.into(), found: kind(&other), expected: "a string" })
        }
    }
}

fn take_messages(
    row: &mut Map<String, Value>,
    list: &str,
    role_key: &str,
    text_key: &str,
) -> Result<Body, RowError> {
    let value = row.shift_remove(list).unwrap_or(Value::Null);
    let Value::Array(items) = value else {
        return Err(RowError::WrongType { key: list.into(), found: kind(&value), expected: "an array" });
    };
    let mut messages = Vec::with_capacity(items.len());
    for (i, mut item) in items.into_iter().enumerate() {
        let path = |key: &str| format!("{list}[{i}].{key}");
        if !item.is_object() {
            let (key, found) = (format!("{list}[{i}]"), kind(&item));
            return Err(RowError::WrongType { key, found, expected: "an object" });
        }
        let role = match &item[role_key] {
            Value::String(name) => parse_role(name, path(role_key))?,
            other => {
                let (key, found) = (path(role_key), kind(other));
                return Err(RowError::WrongType { key, found, expected: ROLES });
            }
        };
        messages.push(Message { role, content: message_text(item[text_key].take(), &path(text_key))? });
    }
    Ok(Body::Messages { messages })
}

fn parse_role(name: &str, key: String) -> Result<Role, RowError> {
    match name.to_ascii_lowercase().as_str() {
        "system" | "developer" => Ok(Role::System),
        "user" | "human" | "prompter" => Ok(Role::User),
        "assistant" | "gpt" | "model" | "bot" | "chatgpt" => Ok(Role::Assistant),
        _ => Err(RowError::UnknownRole { key, found: name.into(), expected: ROLES }),
    }
}

/// A message's text: a string, or OpenAI's list of parts if all of them are text.
fn message_text(content: Value, key: &str) -> Result<String, RowError> {
    match content {
        Value::String(text) => Ok(text),
        Value::Array(parts) => {
            let mut texts = Vec::with_capacity(parts.len());
            for part in &parts {
                match (part["type"].as_str(), part["text"].as_str()) {
                    (Some("text") | None, Some(text)) => texts.push(text),
                    (found, _) => {
                        let found = found.unwrap_or("unknown").to_string();
                        return Err(RowError::NotText { key: key.into(), found });
                    }
                }
            }
            Ok(texts.join("\n"))
        }
        other => Err(RowError::WrongType { key: key.into(), found: kind(&other), expected: "a string" }),
    }
}

/// One of our own keys, if its value has our shape; a foreign value stays under another name.
fn take_own<T: DeserializeOwned>(row: &mut Map<String, Value>, key: &str) -> Option<T> {
    let value = row.shift_remove(key)?;
    let own = if value.is_object() { T::deserialize(&value).ok() } else { None };
    if own.is_none() && !value.is_null() {
        row.insert(free_name(row, key), value);
    }
    own
}

/// `language` is ours if it looks like a code ("en", "pt-BR"); "English" is carried along.
fn take_language(row: &mut Map<String, Value>) -> Option<String> {
    match row.shift_remove("language")? {
        Value::Null => None,
        Value::String(code) if is_language_code(&code) => Some(code),
        other => {
            row.insert(free_name(row, "language"), other);
            None
        }
    }
}

fn is_language_code(text: &str) -> bool {
    let main = text.split(['-', '_']).next().unwrap_or_default();
    (2..=3).contains(&main.len()) && main.bytes().all(|b| b.is_ascii_lowercase()) && text.len() <= 12
}

fn free_name(row: &Map<String, Value>, key: &str) -> String {
    let mut name = format!("file_{key}");
    while row.contains_key(&name) {
        name.insert_str(0, "file_");
    }
    name
}

fn missing(row: &Map<String, Value>, missing: &'static str) -> RowError {
    let found = if row.is_empty() {
        "none".to_string()
    } else {
        row.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
    };
    let renames: Vec<_> = row
        .iter()
        .filter(|(_, value)| value.is_string() || value.is_array())
        .filter_map(|(key, _)| Some(format!("`{key}` to `{}`", our_name(key)?)))
        .collect();
    let nested = row.values().any(|v| v.as_array().is_some_and(|items| items.iter().any(Value::is_object)));
    let advice = if !renames.is_empty() {
        format!("rename {}", renames.join(", "))
    } else if nested && row.len() <= 3 {
        "if the rows lie in a list inside this object, save that list as the file".to_string()
    } else {
        "rename the keys that hold the texts".to_string()
    };
    RowError::MissingKey { missing, found, advice }
}

/// Our name for a key that other data sets use for the same thing.
fn our_name(key: &str) -> Option<&'static str> {
    Some(match key.to_ascii_lowercase().as_str() {
        "prompt" | "question" | "query" | "instructions" | "task" => "instruction",
        "context" | "inputs" => "input",
        "completion" | "response" | "answer" | "target" | "outputs" | "responses" => "output",
        "conversation" | "dialog" | "dialogue" | "chat" => "messages",
        "story" | "content" | "body" | "document" => "text",
        _ => return None,
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(row: Value) -> Example {
        example_from_row(row).unwrap()
    }

    fn problem(row: Value) -> String {
        example_from_row(row).unwrap_err().to_string()
    }

    #[test]
    fn our_own_lines_read_back_unchanged() {
        let mut example = read(json!({"instruction": "Hi", "output": "Hello", "topic": {"a": [1, 2]}}));
        example.source = Some(Body::Text { text: "source".into() });
        example.language = Some("ru".into());
        example.translation = Some(Translation {
            engine: "memory".into(),
            repairs: vec!["digits".into()],
            ..Translation::default()
        });
        let line = serde_json::to_string(&example).unwrap();
        assert_eq!(serde_json::from_str::<Example>(&line).unwrap(), example);
        assert_eq!(line.matches("\"instruction\"").count(), 1, "no key twice: {line}");
    }

    #[test]
    fn share_gpt_and_openai_messages_give_the_same_body() {
        let share = read(json!({"conversations": [
            {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}));
        let openai = read(json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "Hello"}]}));
        assert_eq!(share.body, openai.body);
        assert_eq!(share.id, openai.id);
        assert!(share.extra.is_empty());
    }

    #[test]
    fn ids_are_taken_or_made() {
        assert_eq!(read(json!({"id": 7, "text": "a"})).id, "7");
        assert_eq!(read(json!({"id": "x-1", "text": "a"})).id, "x-1");
        assert_eq!(read(json!({"id": null, "text": "a"})).id, read(json!({"text": "a"})).id);
        assert_eq!(read(json!({"id": [1], "text": "a"})).extra["file_id"], json!([1]));
    }

    #[test]
    fn foreign_fields_with_our_names_are_kept_under_another() {
        let example = read(json!({"instruction": "a", "output": "b", "text": "whole",
            "source": "wikipedia", "language": "English", "translation": "by hand"}));
        assert_eq!((example.source.clone(), example.language.clone()), (None, None));
        assert_eq!(example.extra["file_source"], "wikipedia");
        assert_eq!(example.extra["file_language"], "English");
        assert_eq!(example.extra["file_translation"], "by hand");
        assert_eq!(example.extra["text"], "whole", "alpaca wins over text");
    }

    #[test]
    fn null_input_is_no_input() {
        let example = read(json!({"instruction": "a", "input": null, "output": "b"}));
        assert_eq!(example.body.prompt_text(), "a");
    }

    #[test]
    fn wrong_names_are_named_with_advice() {
        assert_eq!(
            problem(json!({"prompt": "a", "completion": "b"})),
            "no `instruction` and `output`, `messages`, `conversations` or `text`; found keys: `prompt`, \
             `completion`; rename `prompt` to `instruction`, `completion` to `output`"
        );
        assert!(
            problem(json!({"instruction": "a", "response": "b"})).contains("rename `response` to `output`")
        );
        assert!(problem(json!({"data": [{"instruction": "a"}]})).contains("save that list"));
        assert!(problem(json!({})).contains("found keys: none"));
    }

    #[test]
    fn wrong_types_are_named() {
        assert_eq!(problem(json!([1])), "expected an object, found an array");
        assert_eq!(
            problem(json!({"instruction": "a", "output": 3})),
            "`output` is a number, expected a string"
        );
        assert!(problem(json!({"messages": "hi"})).contains("`messages` is a string, expected an array"));
        assert!(problem(json!({"messages": [{"role": "tool", "content": ""}]})).contains("`tool`"));
        assert!(
            problem(json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}))
                .contains("`messages[0].content` holds a part of type `image_url`")
        );
        assert!(
            problem(json!({"conversations": [{"value": "x"}]})).contains("`conversations[0].from` is null")
        );
    }
}
