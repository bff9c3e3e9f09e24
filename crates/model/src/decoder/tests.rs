//! The economies of a training pass against passes without them.

use super::*;
use crate::config::{Rope, RopeScaling};
use crate::lora::LoraConfig;
use tolmach_engine::{CpuBackend, ReferenceBackend};

const LAYERS: usize = 4;

fn config() -> Config {
    Config {
        hidden_size: 24,
        intermediate_size: 40,
        num_hidden_layers: LAYERS,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 6,
        vocab_size: 50,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
    }
}

/// LoRA on `targets`, with a B that is not zero.
fn model<B: Backend>(backend: B, dropout: f32, dora: bool, targets: &[&str], saved: &[&str]) -> Decoder<B> {
    let mut model = Decoder::random(Arc::new(backend), config(), 3).unwrap();
    let lora = LoraConfig {
        dropout,
        dora,
        target_modules: targets.iter().map(ToString::to_string).collect(),
        modules_to_save: saved.iter().map(ToString::to_string).collect(),
        ..LoraConfig::of_rank(4)
    };
    model.add_lora(&lora, 5).unwrap();
    let backend = Arc::clone(&model.backend);
    for p in model.parameters_mut().into_iter().filter(|p| p.name.contains("lora_B")) {
        let values: Vec<f32> = (0..p.len()).map(|i| (i as f32 * 0.7).sin() * 0.1).collect();
        backend.write(&values, &mut p.value);
    }
    model
}

/// Three examples, two of them after a shared prefix; prompts are not labelled, and neither is a turn
/// in the middle of the last one.
const IDS: [u32; 30] =
    [3, 8, 1, 4, 44, 9, 2, 6, 17, 5, 30, 12, 7, 7, 21, 49, 0, 11, 10, 33, 6, 41, 2, 13, 28, 19, 24, 3, 16, 5];
const SEGMENTS: [Range<usize>; 4] = [0..5, 5..12, 12..18, 18..30];
const PREFIXES: [Range<usize>; 4] = [0..0, 0..5, 0..5, 0..0];
const ROWS: [usize; 10] = [8, 9, 10, 15, 16, 21, 22, 26, 27, 28];

fn positions() -> Vec<u32> {
    let rows = SEGMENTS.iter().zip(&PREFIXES);
    rows.flat_map(|(s, p)| (0..s.len()).map(|i| (p.len() + i) as u32)).collect()
}

fn batch<'a>(positions: &'a [u32], targets: &'a [u32]) -> Batch<'a> {
    Batch { input_ids: &IDS, positions, segments: &SEGMENTS, prefixes: &PREFIXES, rows: &ROWS, targets }
}

/// Losses and every gradient by name.
type Found = (Vec<f64>, Vec<(String, Vec<f64>)>);

/// `narrow` false: every row goes through the whole last block.
fn found<B: Backend>(mut model: Decoder<B>, narrow: bool, read: impl Fn(&B::Buffer) -> Vec<f64>) -> Found {
    let (positions, targets) = (positions(), ROWS.map(|row| IDS[row + 1]));
    let batch = batch(&positions, &targets);
    let mut layout = Layout::new(&*model.backend, &model.config, batch);
    if !narrow {
        let (rows, labelled) = ((0..IDS.len()).collect(), ROWS.to_vec());
        let all = Narrow { rows, labelled, segments: layout.segments.clone() };
        layout = Layout::of(&*model.backend, &model.config, batch, layout.segments, all);
    }
    let losses =
        model.step_through(&mut None, batch, &layout, Noises { dropout_key: Some(9), embedding: None }, 0.1);
    (losses, model.parameters_mut().into_iter().map(|p| (p.name.clone(), read(&p.grad))).collect())
}

fn wide(values: &<CpuBackend as Backend>::Buffer) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn computing_blocks_again_changes_no_bit() {
    let cases: [(f32, bool, &[&str], &[&str]); 6] = [
        (0.0, false, &["all-linear"], &[]),
        (0.3, false, &["all-linear"], &["embed_tokens"]),
        (0.0, false, &["layers.1.mlp.down_proj", "layers.2.self_attn.q_proj"], &[]),
        (0.0, false, &["layers.3.self_attn.k_proj"], &[]),
        (0.0, true, &["all-linear"], &[]),
        (0.3, true, &["down_proj", "q_proj"], &[]),
    ];
    for (dropout, dora, targets, saved) in cases {
        let fresh = || model(CpuBackend::new(), dropout, dora, targets, saved);
        let kept = found(fresh(), true, wide);
        assert!(kept.1.iter().all(|(_, g)| g.iter().any(|&v| v != 0.0)), "{targets:?}: no gradient");
        for recompute in 1..=LAYERS {
            let mut again = fresh();
            again.recompute = recompute;
            assert_eq!(found(again, true, wide), kept, "{targets:?}, {recompute} blocks");
        }
    }
}

/// Enough rows, and numbers that are round enough, for what is fast: LoRA's own products, the tile unit.
#[test]
fn computing_blocks_again_changes_no_bit_of_fast_products() {
    const ROWS: usize = 160;
    let round = Config {
        hidden_size: 128,
        intermediate_size: 256,
        head_dim: 32,
        max_position_embeddings: 256,
        ..config()
    };
    let ids: Vec<u32> = (0..ROWS as u32).map(|i| i * 31 % 50).collect();
    let (segments, prefixes) = ([0..40, 40..90, 90..ROWS], [0..0, 0..40, 0..40]);
    let positions: Vec<u32> = (0..ROWS as u32).map(|i| if i < 90 { i } else { i - 50 }).collect();
    let rows: Vec<usize> = (50..90).chain(100..ROWS - 1).collect();
    let targets: Vec<u32> = rows.iter().map(|&row| ids[row + 1]).collect();
    let gradients = |dora: bool, recompute: usize| {
        let mut model = Decoder::random(Arc::new(CpuBackend::new()), round.clone(), 3).unwrap();
        model.add_lora(&LoraConfig { dora, ..LoraConfig::of_rank(8) }, 5).unwrap();
        for p in model.parameters_mut().into_iter().filter(|p| p.name.contains("lora_B")) {
            p.value.iter_mut().enumerate().for_each(|(i, b)| *b = (i as f32 * 0.7).sin() * 0.1);
        }
        model.recompute = recompute;
        let batch = Batch {
            input_ids: &ids,
            positions: &positions,
            segments: &segments,
            prefixes: &prefixes,
            rows: &rows,
            targets: &targets,
        };
        let losses = model.losses_backward(&mut None, batch, Noises::default(), 0.01).unwrap();
        let gradients: Vec<Vec<f32>> = model.parameters_mut().into_iter().map(|p| p.grad.to_vec()).collect();
        (losses, gradients)
    };
    for dora in [false, true] {
        let kept = gradients(dora, 0);
        assert!(kept.1.iter().all(|g| g.iter().any(|&v| v != 0.0)), "no gradient");
        for recompute in 1..=LAYERS {
            assert_eq!(gradients(dora, recompute), kept, "{recompute} blocks");
        }
    }
}

#[test]
fn a_workspace_holds_what_it_is_said_to_hold() {
    let backend = CpuBackend::new();
    for dora in [false, true] {
        let targets = ["layers.1.mlp.up_proj", "o_proj"];
        check_values(&backend, &model(CpuBackend::new(), 0.1, dora, &targets, &[]));
    }
}

fn check_values(backend: &CpuBackend, model: &Decoder<CpuBackend>) {
    let size = BatchSize { rows: 20, queries: 9, labelled: 4 };
    for recompute in 0..=LAYERS {
        let spec = WorkspaceSpec {
            keeping: Some(Keeping::new(LAYERS, 0, recompute)),
            ..model.workspace_spec(size, true)
        };
        let ws = Workspace::new(backend, &model.config, spec.clone());
        let shared = recompute.min(LAYERS - 1);
        assert_eq!(ws.kept.len(), LAYERS - 1 - shared.saturating_sub(1), "{recompute}");
        assert_eq!(ws.inputs.len(), shared.saturating_sub(1), "{recompute}");
        let ropes = (20 + 9) * 6;
        let (kept, scratch) =
            (spec.kept_values::<CpuBackend>(&model.config), spec.scratch_values::<CpuBackend>(&model.config));
        assert_eq!(kept + scratch, ws.values(backend) + ropes, "{recompute}");
    }
}

fn check<B: Backend>(backend: impl Fn() -> B, read: impl Fn(&B::Buffer) -> Vec<f64>, tolerance: f64) {
    let saved = ["embed_tokens", "lm_head"];
    for dora in [false, true] {
        let fresh = || model(backend(), 0.0, dora, &["all-linear"], &saved);
        agree(&found(fresh(), true, &read), &found(fresh(), false, &read), tolerance);
    }
}

fn agree(narrow: &Found, whole: &Found, tolerance: f64) {
    for (a, b) in narrow.0.iter().zip(&whole.0) {
        assert!((a - b).abs() <= tolerance * b.abs(), "{a} {b}");
    }
    for ((name, a), (_, b)) in narrow.1.iter().zip(&whole.1) {
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
        let size = norm(&mut b.iter().copied());
        let error = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
        assert!(size > 0.0, "{name}: no gradient to compare");
        assert!(error <= tolerance * size, "{name}: {:e}", error / size);
    }
}

#[test]
fn the_last_block_over_labelled_rows_alone_gives_the_same_gradients_in_f64() {
    check(|| ReferenceBackend, Clone::clone, 1e-10);
}

#[test]
fn the_last_block_over_labelled_rows_alone_gives_the_same_gradients_in_f32() {
    check(CpuBackend::new, wide, 1e-5);
}
