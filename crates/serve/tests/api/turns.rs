//! Prompts that stay in the KV cache: used again, to the bit, and given up for others.

use crate::common::{Server, options, write_adapter};
use serde_json::{Value, json};
use tolmach_serve::EngineOptions;

const COMPLETIONS: &str = "/v1/completions";

/// A prompt of so many tokens, the first of every longer one.
fn prompt(tokens: usize) -> Vec<usize> {
    (0..tokens).map(|i| 5 + i * 37 % 1500).collect()
}

fn ask(model: &str, prompt: &[usize]) -> Value {
    json!({
        "model": model, "prompt": prompt, "temperature": 0.7, "seed": 3, "max_tokens": 12, "ignore_eos": true,
        "logprobs": 3,
    })
}

fn cached(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
}

#[test]
fn a_later_turn_computes_only_what_is_new_and_says_the_same_to_the_bit() {
    let server = Server::start(None);
    let mut reused = 0.0;
    // From turn to turn, back to an earlier one, and to another conversation with the same beginning.
    let mut other = prompt(200);
    other.extend([7; 100]);
    for (turn, known) in
        [(prompt(100), 0), (prompt(180), 100), (prompt(400), 180), (prompt(400), 320), (other, 200)]
    {
        let warm = server.post(COMPLETIONS, &ask("base", &turn)).json();
        let fresh = Server::start(None).post(COMPLETIONS, &ask("base", &turn)).json();
        assert_eq!(warm["choices"], fresh["choices"], "{} tokens", turn.len());
        assert_eq!((cached(&fresh), cached(&warm)), (0, known), "{} tokens", turn.len());
        reused += known as f64;
        assert_eq!(server.metric("tolmach_reused_prompt_tokens_total"), reused);
    }
    server.wait_for_metric("tolmach_cache_reserved_tokens", 0.0);
    assert!(server.metric("tolmach_cache_kept_tokens") > 0.0);
}

#[test]
fn another_model_does_not_use_it_and_a_replaced_one_gives_it_back() {
    let folder = tempfile::tempdir().unwrap();
    write_adapter(folder.path(), 1, 0.05);
    let server = Server::start(Some(folder.path()));
    let long = prompt(200);
    for model in ["base", "tuned"] {
        assert_eq!(cached(&server.post(COMPLETIONS, &ask(model, &long)).json()), 0, "{model}");
        assert_eq!(cached(&server.post(COMPLETIONS, &ask(model, &long)).json()), 120, "{model}");
    }
    server.wait_for_metric("tolmach_cache_kept_tokens", 416.0);
    server.registry.replace("tuned", folder.path(), "step 2").unwrap();
    assert_eq!(cached(&server.post(COMPLETIONS, &ask("tuned", &long)).json()), 0);
    server.wait_for_metric("tolmach_cache_kept_tokens", 416.0);
}

#[test]
fn what_is_kept_makes_room() {
    // 2 · 4 layers · 128 values · 4 bytes a token: room for 512 tokens.
    let engine = EngineOptions { cache_bytes: 512 * 4096, ..EngineOptions::default() };
    let server = Server::with(options(), engine, None);
    let (first, second) = (prompt(300), vec![9; 480]);
    assert_eq!(cached(&server.post(COMPLETIONS, &ask("base", &first)).json()), 0);
    assert_eq!(cached(&server.post(COMPLETIONS, &ask("base", &first)).json()), 220);
    assert_eq!(cached(&server.post(COMPLETIONS, &ask("base", &second)).json()), 0, "fits only without it");
    assert_eq!(cached(&server.post(COMPLETIONS, &ask("base", &first)).json()), 0, "it is gone");
    // Its own rows may be what is missing: no copy then, but an answer.
    let mut branch = prompt(150);
    branch.extend([11; 340]);
    let answer = server.post(COMPLETIONS, &ask("base", &branch)).json();
    assert_eq!(answer["usage"]["completion_tokens"], 12);
}
