//! Counter-based random numbers: a pure function of (key, index), the same on every backend, in any
//! order and on any number of threads. SplitMix64 (Steele, Lea & Flood 2014).

/// Mix 64 bits so that neighbouring inputs give unrelated outputs.
pub fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A key from a run's seed and what the numbers are for, e.g. (step, layer, module).
pub fn key(seed: u64, purpose: &[u64]) -> u64 {
    purpose.iter().fold(mix(seed), |k, &p| mix(k ^ mix(p)))
}

/// Whether element `index` survives a dropout of probability `p`.
pub fn keep(key: u64, index: u64, p: f32) -> bool {
    // 24 bits: exact in f32.
    let uniform = (mix(key ^ mix(index)) >> 40) as f32 / (1u64 << 24) as f32;
    uniform >= p
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_asked_share() {
        for p in [0.0f32, 0.1, 0.5, 0.9] {
            let kept = (0..100_000).filter(|&i| keep(key(42, &[1, 2, 3]), i, p)).count();
            let share = kept as f32 / 100_000.0;
            assert!((share - (1.0 - p)).abs() < 0.01, "p {p}: kept {share}");
        }
    }

    #[test]
    fn keys_of_different_purposes_differ() {
        assert_ne!(key(1, &[0, 1]), key(1, &[1, 0]));
        assert_ne!(key(1, &[0]), key(2, &[0]));
    }
}
