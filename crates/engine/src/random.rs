//! Counter-based random numbers: the value at an index depends on (key, index) only, so that a
//! dropout mask needs no storage, is the same in forward and backward, and does not depend on
//! the number of threads.

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection on u64 with good avalanche.
#[inline(always)]
pub fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A key of its own for each purpose: fold the parts (seed, step, module, …) one by one.
pub fn key(parts: &[u64]) -> u64 {
    parts.iter().fold(0x746f_6c6d_6163_6821, |k, &p| mix(k ^ mix(p)))
}

/// Whether dropout with probability `p` keeps element `index` under `key`.
#[inline(always)]
pub fn keeps(key: u64, index: u64, p: f32) -> bool {
    // 24 bits: exactly representable in f32, so that the comparison is exact.
    let u = (mix(key ^ index.wrapping_mul(0xd134_2543_de82_ef95)) >> 40) as f32 / (1u64 << 24) as f32;
    u >= p
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_about_one_minus_p() {
        let kept = (0..100_000).filter(|&i| keeps(key(&[1, 2]), i, 0.1)).count();
        assert!((89_000..91_000).contains(&kept), "{kept} of 100000 kept at p = 0.1");
        assert!((0..1000).all(|i| keeps(7, i, 0.0)));
    }

    #[test]
    fn keys_differ_by_order() {
        assert_ne!(key(&[1, 2]), key(&[2, 1]));
    }
}
