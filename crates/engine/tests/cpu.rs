//! The CPU backend: every operation against the reference, and the same bits on any number of threads.
#![allow(clippy::unwrap_used)] // also in helpers, which clippy does not take for tests

mod common;

use common::{Random, assert_close, packed, scenarios};
use tolmach_engine::{Attention, Backend, CpuBackend, Mat, ReferenceBackend};

const TOLERANCE: f64 = 1e-4;

fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

#[test]
fn every_operation_agrees_with_the_reference() {
    for name in scenarios::NAMES {
        let want = scenarios::run(name, &ReferenceBackend);
        let got = on_threads(2, || scenarios::run(name, &CpuBackend::new()));
        assert_eq!(got.len(), want.len());
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        for ((what, got), (_, want)) in got.iter().zip(&want) {
            assert_close(what, &wide(got), &wide(want), TOLERANCE);
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for name in scenarios::NAMES {
        let one = on_threads(1, || scenarios::run(name, &CpuBackend::new()));
        for threads in [2, 3] {
            let more = on_threads(threads, || scenarios::run(name, &CpuBackend::new()));
            for ((what, one), (_, more)) in one.iter().zip(&more) {
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(one), bits(more), "{what} on {threads} threads");
            }
        }
    }
}

/// The maximum of the logits passes over a NaN; the loss must not.
#[test]
fn alpaca_lora_170_nan_in_is_nan_in_the_loss() {
    fn check<B: Backend>(b: &B) {
        let (rows, width, vocab) = (3, 4, 50);
        let mut random = Random::new("nan");
        for poisoned in [f32::NAN, f32::INFINITY] {
            let mut hidden = random.floats(rows * width);
            hidden[width + 1] = poisoned;
            let (hidden, head) = (b.upload(&hidden), b.upload(&random.floats(vocab * width)));
            let targets = random.ids(rows, vocab);
            let mut dhidden = b.zeros(rows * width);
            let losses = b.head_loss(
                &hidden,
                Mat::Dense(&head),
                &targets,
                width,
                vocab,
                1.0,
                Some(&mut dhidden),
                None,
            );
            assert!(losses[0].is_finite() && losses[2].is_finite(), "{losses:?}");
            assert!(losses[1].is_nan(), "{losses:?}");
        }
        // One NaN weight of one word: every row's loss.
        let mut head = random.floats(vocab * width);
        head[7 * width] = f32::NAN;
        let (hidden, head) = (b.upload(&random.floats(rows * width)), b.upload(&head));
        let losses = b.head_loss(&hidden, Mat::Dense(&head), &[1, 2, 3], width, vocab, 1.0, None, None);
        assert!(losses.iter().all(|loss| loss.is_nan()), "{losses:?}");
    }
    check(&ReferenceBackend);
    check(&CpuBackend::new());
}

#[test]
fn a_nan_passes_through_every_layer() {
    let b = CpuBackend::new();
    let len = 40 * 16;
    let mut values = Random::new("nan").floats(len);
    values[21 * 16 + 3] = f32::NAN;
    let poisoned = b.upload(&values);
    let has_nan = |x: &[f32]| x.iter().any(|x| x.is_nan());
    let ones = b.upload(&vec![1.0; len]);

    let mut out = b.zeros(len);
    b.rms_norm(&poisoned, &ones, 1e-5, 40, 16, &mut out);
    assert!(has_nan(&out[21 * 16..22 * 16]) && !has_nan(&out[22 * 16..]));
    for (gate, up) in [(&poisoned, &ones), (&ones, &poisoned)] {
        b.swiglu(gate, up, len, &mut out);
        assert!(out[21 * 16 + 3].is_nan());
    }
    assert!(b.sum_squares(&poisoned, len).is_nan());

    // It may reach earlier rows of its own segment (0 · NaN), never another segment.
    let segments = packed(&[16, 24]);
    let spec = Attention { heads: 2, kv_heads: 2, head_dim: 8, scale: 0.3, segments: &segments };
    let mut lse = b.zeros(80);
    for [q, k, v] in [[&poisoned, &ones, &ones], [&ones, &poisoned, &ones], [&ones, &ones, &poisoned]] {
        b.attention(spec, q, k, v, &mut out, &mut lse);
        assert!(has_nan(&out[21 * 16..22 * 16]));
        assert!(!has_nan(&out[..16 * 16]), "another segment is not touched");
    }
}

/// Logits far beyond what exp can hold.
#[test]
fn alpaca_lora_170_large_logits_do_not_overflow() {
    let b = CpuBackend::new();
    let hidden = b.upload(&[1000.0]);
    let head = b.upload(&[1.0, -1.0, 0.999]);
    let mut dhidden = b.zeros(1);
    let losses = b.head_loss(&hidden, Mat::Dense(&head), &[0], 1, 3, 1.0, Some(&mut dhidden), None);
    // Logits 1000, −1000, 999: ln(1 + e⁻¹).
    assert!((losses[0] - (1.0 + (-1.0f64).exp()).ln()).abs() < 1e-4, "{losses:?}");
    assert!(dhidden[0].is_finite());
    let wrong = b.head_loss(&hidden, Mat::Dense(&head), &[1], 1, 3, 1.0, None, None);
    assert!((wrong[0] - 2000.313).abs() < 1e-2, "{wrong:?}");
}

#[test]
#[should_panic(expected = "segments overlap")]
fn overlapping_segments_are_refused() {
    let b = CpuBackend::new();
    let mut segments = packed(&[4, 4]);
    segments[1].q = 3..7;
    let spec = Attention { heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, segments: &segments };
    let x = b.zeros(8);
    b.attention(spec, &x, &x, &x, &mut b.zeros(8), &mut b.zeros(8));
}
