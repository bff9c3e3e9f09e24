//! A prefix computed once for several examples gives the gradient of separate examples.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::ops::Range;
use std::sync::Arc;
use tolmach_engine::{Backend, CpuBackend, ReferenceBackend};
use tolmach_model::{Batch, Config, Decoder, LoraConfig, Noises, Rope, RopeScaling};

/// A model and its examples.
#[derive(Clone, Copy)]
struct Case {
    hidden: usize,
    ffn: usize,
    prefix: usize,
    /// Of the examples' own parts.
    lengths: [usize; 3],
}

const SMALL: Case = Case { hidden: 24, ffn: 40, prefix: 7, lengths: [5, 1, 9] };
/// Enough rows, and numbers that are round enough, for what is fast: LoRA's own products, the tile unit.
const ROUND: Case = Case { hidden: 128, ffn: 256, prefix: 40, lengths: [60, 33, 90] };

fn config(Case { hidden, ffn, .. }: Case) -> Config {
    Config {
        hidden_size: hidden,
        intermediate_size: ffn,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: hidden / 4,
        vocab_size: 50,
        max_position_embeddings: 256,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
    }
}

fn model<B: Backend>(backend: B, case: Case, dora: bool) -> Decoder<B> {
    let mut model = Decoder::random(Arc::new(backend), config(case), 3).unwrap();
    let lora = LoraConfig {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        dora,
        target_modules: vec!["all-linear".into()],
        modules_to_save: vec!["embed_tokens".into(), "lm_head".into()],
        ..LoraConfig::of_rank(4)
    };
    model.add_lora(&lora, 5).unwrap();
    // B is zero at the start, and so is A's gradient: give it something to do.
    let backend = Arc::clone(&model.backend);
    for p in model.parameters_mut().into_iter().filter(|p| p.name.contains("lora_B")) {
        let values: Vec<f32> = (0..p.len()).map(|i| (i as f32 * 0.7).sin() * 0.1).collect();
        backend.write(&values, &mut p.value);
    }
    model
}

/// Tokens of the prefix, then of each example's own part.
fn token(i: usize) -> u32 {
    (i * 31 % 50) as u32
}

/// Gradients by name, and the losses, of the examples with the prefix laid down once or in each.
fn gradients<B: Backend>(
    mut model: Decoder<B>,
    Case { prefix, lengths, .. }: Case,
    shared: bool,
    read: impl Fn(&B::Buffer) -> Vec<f64>,
) -> (Vec<f64>, Vec<(String, Vec<f64>)>) {
    let (mut ids, mut positions) = (Vec::new(), Vec::new());
    let (mut segments, mut prefixes): (Vec<Range<usize>>, Vec<Range<usize>>) = (vec![], vec![]);
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    let mut own = prefix;
    if shared {
        ids.extend((0..prefix).map(token));
        positions.extend(0..prefix as u32);
        segments.push(0..prefix);
        prefixes.push(0..0);
    }
    for len in lengths {
        let start = ids.len();
        let skip = if shared { prefix } else { 0 };
        let tokens: Vec<u32> = (0..prefix).chain(own..own + len).map(token).collect();
        ids.extend(&tokens[skip..]);
        positions.extend(skip as u32..tokens.len() as u32);
        segments.push(start..ids.len());
        prefixes.push(if shared { 0..prefix } else { 0..0 });
        // Labelled: every second row of the own part, the last one with a token of no row.
        for t in (prefix..prefix + len).step_by(2) {
            rows.push(start + t - skip);
            targets.push(token(own + t * 3));
        }
        own += len;
    }
    let batch = Batch {
        input_ids: &ids,
        positions: &positions,
        segments: &segments,
        prefixes: &prefixes,
        rows: &rows,
        targets: &targets,
    };
    let losses = model.losses_backward(&mut None, batch, Noises::default(), 1.0 / rows.len() as f64).unwrap();
    let gradient = |p: &mut tolmach_model::Parameter<B>| (p.name.clone(), read(&p.grad));
    (losses, model.parameters_mut().into_iter().map(gradient).collect())
}

fn check<B: Backend>(
    backend: impl Fn() -> B,
    case: Case,
    read: impl Fn(&B::Buffer) -> Vec<f64>,
    tolerance: f64,
) {
    for dora in [false, true] {
        check_model(|| model(backend(), case, dora), case, &read, tolerance);
    }
}

fn check_model<B: Backend>(
    model: impl Fn() -> Decoder<B>,
    case: Case,
    read: impl Fn(&B::Buffer) -> Vec<f64>,
    tolerance: f64,
) {
    let (losses, shared) = gradients(model(), case, true, &read);
    let (losses_apart, apart) = gradients(model(), case, false, &read);
    for (a, b) in losses.iter().zip(&losses_apart) {
        assert!((a - b).abs() <= tolerance * b.abs(), "{a} {b}");
    }
    for ((name, a), (_, b)) in shared.iter().zip(&apart) {
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
        let size = norm(&mut b.iter().copied());
        let error = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
        assert!(size > 0.0, "{name}: no gradient to compare");
        assert!(error <= tolerance * size, "{name}: {:e}", error / size);
    }
}

#[test]
fn gradients_equal_those_of_separate_examples_in_f64() {
    for case in [SMALL, ROUND] {
        check(|| ReferenceBackend, case, |values| values.clone(), 1e-10);
    }
}

#[test]
fn gradients_equal_those_of_separate_examples_in_f32() {
    for case in [SMALL, ROUND] {
        check(CpuBackend::new, case, |values| values.iter().map(|&x| f64::from(x)).collect(), 1e-5);
    }
}
