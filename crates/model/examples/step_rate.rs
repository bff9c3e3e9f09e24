//! Time of one training step on the CPU: `step_rate MODEL_FOLDER [TOKENS] [STEPS]`.
//!
//! Prints tokens/s of forward + backward on random tokens in segments of 130 (alpaca's mean length),
//! half of them labelled, with LoRA r = 8 on all linear layers.

use std::sync::Arc;
use std::time::Instant;
use tolmach_engine::CpuBackend;
use tolmach_model::{Batch, Decoder, LoraConfig};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize, default: usize| args.get(i).map_or(default, |a| a.parse().expect("a number"));
    let (tokens, steps) = (number(2, 520), number(3, 5));
    let mut model = Decoder::load(Arc::new(CpuBackend::new()), args[1].as_ref()).expect("a model folder");
    let lora = LoraConfig {
        rank: 8,
        alpha: 16.0,
        dropout: 0.0,
        rslora: false,
        target_modules: vec!["all-linear".into()],
        modules_to_save: vec![],
        ensure_weight_tying: false,
    };
    model.add_lora(&lora, 1).expect("a Llama");
    let ids: Vec<u32> = (0..tokens).map(|i| (i as u32).wrapping_mul(2_654_435_761) % 30_000).collect();
    let segments: Vec<_> = (0..tokens).step_by(130).map(|s| s..tokens.min(s + 130)).collect();
    let positions: Vec<u32> = (0..tokens).map(|i| (i % 130) as u32).collect();
    let rows: Vec<usize> = (0..tokens).filter(|i| i % 130 >= 65 && i % 130 < 129).collect();
    let targets: Vec<u32> = rows.iter().map(|&r| ids[(r + 1) % tokens]).collect();
    let batch = Batch {
        input_ids: &ids,
        positions: &positions,
        segments: &segments,
        prefixes: &[],
        rows: &rows,
        targets: &targets,
    };
    let mut workspace = None;
    for step in 0..=steps {
        let start = Instant::now();
        let losses = model
            .losses_backward(&mut workspace, batch, None, 1.0 / rows.len() as f64)
            .expect("tokens below the vocabulary");
        let seconds = start.elapsed().as_secs_f64();
        let loss = losses.iter().sum::<f64>() / losses.len() as f64;
        println!("step {step}: {:.1} tokens/s, {seconds:.3} s, loss {loss:.4} nats", tokens as f64 / seconds);
    }
}
