//! `GET /openapi.json`: the routes and their fields, in the words of OpenAPI 3.1. Tests hold it against the
//! router and against what the routes really read.

use axum::Json;
use serde_json::{Map, Value, json};

pub async fn document() -> Json<Value> {
    Json(describe())
}

fn describe() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tolmach",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAI-compatible API over one base model with many adapters.",
        },
        "paths": paths(),
        "components": {
            "schemas": {
                "ChatRequest": chat_request(),
                "CompletionRequest": completion_request(),
                "LoadAdapterRequest": object(&["lora_name", "lora_path"], &json!({
                    "lora_name": {"type": "string", "description": "The model id that it gets."},
                    "lora_path": {
                        "type": "string",
                        "description": "A folder in one that the operator allowed, or a path from there.",
                    },
                    "base_model_name": {
                        "type": "string",
                        "description": "Any model id over the base it belongs to; needed with several bases.",
                    },
                })),
                "UnloadAdapterRequest": object(&["lora_name"], &json!({"lora_name": {"type": "string"}})),
                "Error": object(&["error"], &json!({
                    "error": object(&["message", "type"], &json!({
                        "message": {"type": "string"},
                        "type": {"type": "string"},
                        "param": {"type": ["string", "null"]},
                        "code": {"type": ["string", "null"]},
                    })),
                })),
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    })
}

fn paths() -> Value {
    json!({
        "/health": {"get": answer("Whether the server lives", "application/json")},
        "/metrics": {"get": answer("Counters in Prometheus' text format", "text/plain")},
        "/openapi.json": {"get": answer("This document", "application/json")},
        "/v1/models": {"get": answer("The models there are", "application/json")},
        "/v1/models/{id}": {"get": with_id(answer("One model", "application/json"))},
        "/v1/chat/completions": {"post": asks("A reply to a conversation", "ChatRequest")},
        "/v1/completions": {"post": asks("A text, continued", "CompletionRequest")},
        "/v1/load_lora_adapter": {"post": asks("Serve one more adapter", "LoadAdapterRequest")},
        "/v1/unload_lora_adapter": {"post": asks("Stop serving an adapter", "UnloadAdapterRequest")},
    })
}

fn answer(summary: &str, kind: &str) -> Value {
    json!({
        "summary": summary,
        "responses": {
            "200": {"description": "Done", "content": {kind: {}}},
            "default": {
                "description": "An error in OpenAI's shape",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    })
}

fn with_id(mut operation: Value) -> Value {
    operation["parameters"] =
        json!([{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]);
    operation
}

fn asks(summary: &str, schema: &str) -> Value {
    let mut operation = answer(summary, "application/json");
    let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
    operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    operation
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

/// Fields of both routes.
fn common() -> Map<String, Value> {
    let fields = json!({
        "model": {"type": "string", "description": "An id of GET /v1/models."},
        "max_tokens": {"type": "integer", "minimum": 1, "description": "Tokens of the reply at most."},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "default": 1},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
        "top_k": {"type": "integer", "minimum": 0, "default": 0, "description": "0 is all."},
        "repetition_penalty": {"type": "number", "default": 1},
        "seed": {"type": "integer", "description": "The same seed gives the same draws."},
        "n": {"type": "integer", "minimum": 1, "default": 1},
        "stop": {
            "description": "Up to four texts before which the reply ends.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 4}],
        },
        "stream": {"type": "boolean", "default": false},
        "stream_options": object(&[], &json!({"include_usage": {"type": "boolean"}})),
        "ignore_eos": {"type": "boolean", "default": false},
    });
    let Value::Object(fields) = fields else { return Map::new() };
    fields
}

fn chat_request() -> Value {
    let mut fields = common();
    let text = json!({"type": "string"});
    let part = object(&["type", "text"], &json!({"type": {"const": "text"}, "text": text}));
    let message = object(
        &["role", "content"],
        &json!({
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {"anyOf": [text, {"type": "array", "items": part}]},
        }),
    );
    fields.insert("messages".into(), json!({"type": "array", "items": message, "minItems": 1}));
    fields.insert("max_completion_tokens".into(), json!({"type": "integer", "minimum": 1}));
    fields.insert("logprobs".into(), json!({"type": "boolean", "default": false}));
    fields.insert("top_logprobs".into(), json!({"type": "integer", "minimum": 0, "maximum": 20}));
    object(&["model", "messages"], &Value::Object(fields))
}

fn completion_request() -> Value {
    let mut fields = common();
    let (text, tokens) = (json!({"type": "string"}), json!({"type": "array", "items": {"type": "integer"}}));
    let many = |items: &Value| json!({"type": "array", "items": items});
    let prompt = json!({"anyOf": [text, tokens, many(&text), many(&tokens)]});
    fields.insert("prompt".into(), prompt);
    fields.insert("logprobs".into(), json!({"type": "integer", "minimum": 0, "maximum": 20}));
    fields.insert("echo".into(), json!({"type": "boolean", "default": false}));
    object(&["model", "prompt"], &Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_names_the_routes_that_there_are() {
        let routes: BTreeSet<(String, String)> = crate::api::routes()
            .into_iter()
            .map(|(method, path, _)| (path.replace("{*id}", "{id}"), method.to_string()))
            .collect();
        let document = describe();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
            })
            .collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn references_lead_somewhere() {
        let document = describe();
        let text = document.to_string();
        let mut found = 0;
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            found += 1;
        }
        assert!(found > 4);
    }
}
