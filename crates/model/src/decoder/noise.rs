//! What a training pass draws at random.

use std::ops::Range;
use tolmach_engine::{Backend, random};

/// The random parts of a training pass; none by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noises {
    /// Key of this micro-batch's dropout masks; `None` where nothing is dropped.
    pub dropout_key: Option<u64>,
    pub embedding: Option<Noise>,
}

/// NEFTune (Jain et al. 2023): U(-1, 1) * alpha / sqrt(L * C) on the embeddings of an example of L tokens, as
/// Hugging Face's Trainer adds it. A pure function of key, row and place, so a resumed run draws it again.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    pub alpha: f64,
    pub key: u64,
}

impl Noise {
    /// Adds to `x [T, C]`. A segment is an example of its own: none shares a prefix.
    pub(super) fn add_to<B: Backend>(
        self,
        backend: &B,
        segments: &[Range<usize>],
        width: usize,
        x: &mut B::Buffer,
    ) {
        let end = segments.iter().map(|s| s.end).max().unwrap_or(0);
        let mut values = vec![0.0f32; end * width];
        for segment in segments {
            let size = self.alpha / ((segment.len() * width) as f64).sqrt();
            let run = segment.start * width..segment.end * width;
            for (place, value) in run.clone().zip(&mut values[run]) {
                let unit =
                    (random::mix(self.key ^ random::mix(place as u64)) >> 40) as f64 / (1u64 << 24) as f64;
                *value = (size * (2.0 * unit - 1.0)) as f32;
            }
        }
        let rows: Vec<usize> = (0..end).collect();
        backend.gather_rows_backward(&backend.upload(&values), &rows, width, x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tolmach_engine::CpuBackend;

    #[test]
    fn noise_is_uniform_of_the_size_that_the_length_gives() {
        let (backend, width) = (CpuBackend::new(), 64);
        let mut x = backend.upload(&vec![1.0; 50 * width]);
        let noise = Noise { alpha: 5.0, key: 3 };
        noise.add_to(&backend, &[0..10, 10..50], width, &mut x);
        let mut again = backend.upload(&vec![1.0; 50 * width]);
        noise.add_to(&backend, &[0..10, 10..50], width, &mut again);
        assert_eq!(*x, *again);
        for segment in [0..10, 10..50] {
            let size = 5.0 / ((segment.len() * width) as f32).sqrt();
            let drawn: Vec<f32> =
                x[segment.start * width..segment.end * width].iter().map(|v| (v - 1.0) / size).collect();
            assert!(drawn.iter().all(|v| v.abs() <= 1.0001), "{segment:?}");
            let mean = drawn.iter().sum::<f32>() / drawn.len() as f32;
            let square = drawn.iter().map(|v| v * v).sum::<f32>() / drawn.len() as f32;
            assert!(mean.abs() < 0.07 && (square - 1.0 / 3.0).abs() < 0.03, "{segment:?}: {mean} {square}");
        }
    }
}
