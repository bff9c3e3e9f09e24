//! Random initial weights: one ChaCha stream per tensor, so that a tensor's values depend on the
//! seed and its name only, not on what else the model has.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    let mut key = [0; 32];
    key.copy_from_slice(blake3::hash(format!("{seed}/{name}").as_bytes()).as_bytes());
    ChaCha8Rng::from_seed(key)
}

/// In [0, 1), 24 bits.
fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

/// U(−bound, bound).
pub fn uniform(seed: u64, name: &str, len: usize, bound: f32) -> Vec<f32> {
    let mut rng = stream(seed, name);
    (0..len).map(|_| (2.0 * unit(&mut rng) - 1.0) * bound).collect()
}

/// N(0, std²), by Box and Muller.
pub fn normal(seed: u64, name: &str, len: usize, std: f32) -> Vec<f32> {
    let mut rng = stream(seed, name);
    (0..len)
        .map(|_| {
            let radius = (-2.0 * (1.0 - unit(&mut rng)).ln()).sqrt(); // 1 − u is never 0
            std * radius * (2.0 * std::f32::consts::PI * unit(&mut rng)).cos()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_as_asked() {
        let x = normal(1, "w", 50_000, 0.02);
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let var = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
        assert!(mean.abs() < 5e-4 && (var.sqrt() - 0.02).abs() < 3e-4, "{mean} {var}");
        let u = uniform(1, "a", 50_000, 0.5);
        assert!(u.iter().all(|v| v.abs() <= 0.5));
        let var = u.iter().map(|v| v * v).sum::<f32>() / u.len() as f32;
        assert!((var - 0.25 / 3.0).abs() < 2e-3, "{var}");
    }

    #[test]
    fn streams_differ_by_name_and_seed() {
        assert_ne!(uniform(1, "a", 8, 1.0), uniform(1, "b", 8, 1.0));
        assert_ne!(uniform(1, "a", 8, 1.0), uniform(2, "a", 8, 1.0));
        assert_eq!(uniform(1, "a", 8, 1.0), uniform(1, "a", 8, 1.0));
    }
}
