//! What a model takes that is quantised as it is loaded.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::sync::Arc;
use tolmach_engine::{BlockType, CpuBackend, Dtype};
use tolmach_model::{Config, Decoder, Rope, RopeScaling};

/// Bytes of files that are mapped and in memory.
fn mapped() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// `plan` counts on it: of small matrices most pages had stayed, mapped again around a neighbour's first read.
#[test]
fn what_was_quantised_is_not_kept_as_it_was() {
    let config = Config {
        hidden_size: 128,
        intermediate_size: 384,
        num_hidden_layers: 16,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 32,
        vocab_size: 100,
        max_position_embeddings: 512,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
    };
    let (dir, backend) = (tempfile::tempdir().unwrap(), Arc::new(CpuBackend::new()));
    Decoder::random(Arc::clone(&backend), config, 1).unwrap().save(dir.path(), Dtype::F32).unwrap();
    let file = std::fs::metadata(dir.path().join("model.safetensors")).unwrap().len() as usize;
    let load = || Decoder::load_as(Arc::clone(&backend), dir.path(), Some(BlockType::Nf4)).unwrap();
    drop(load()); // the code itself is mapped as it is used
    let before = mapped();
    let model = load();
    let kept = mapped().saturating_sub(before);
    assert!(kept < file / 10, "{kept} bytes of {file} are still mapped");
    drop(model);
}
