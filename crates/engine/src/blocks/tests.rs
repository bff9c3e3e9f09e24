use super::*;

/// Numbers of a bell shape with a few outliers, from a small generator.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count)
        .map(|i| (0..6).map(|_| uniform()).sum::<f32>() * if i % 97 == 0 { 0.2 } else { 0.04 })
        .collect()
}

fn encoded(block: BlockType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() / block.numbers() * block.bytes()];
    block.encode(values, &mut bytes);
    bytes
}

fn decoded(block: BlockType, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / block.bytes() * block.numbers()];
    block.decode(bytes, &mut values);
    values
}

/// √(Σ difference² / Σ value²) after a round trip.
fn error(block: BlockType, values: &[f32]) -> f64 {
    let back = decoded(block, &encoded(block, values));
    let square = |x: f32| f64::from(x).powi(2);
    let off: f64 = values.iter().zip(&back).map(|(a, b)| square(a - b)).sum();
    (off / values.iter().map(|v| square(*v)).sum::<f64>()).sqrt()
}

#[test]
fn errors_are_those_of_the_bits() {
    let values = numbers(40_000 / SUPER_BLOCK * SUPER_BLOCK, 1);
    for (block, from, to) in [
        (BlockType::Q8_0, 1e-3, 1e-2),
        (BlockType::Q6K, 5e-3, 0.03),
        (BlockType::Q4K, 0.01, 0.10),
        (BlockType::Q4_0, 0.03, 0.15),
    ] {
        let found = error(block, &values);
        assert!((from..=to).contains(&found), "{block}: {found}");
    }
    assert!(error(BlockType::Q4K, &values) < error(BlockType::Q4_0, &values));
}

#[test]
fn zeros_and_constants_survive() {
    for block in BlockType::ALL {
        assert!(error(block, &[0.0; SUPER_BLOCK]).is_nan(), "0 / 0: not one number changed");
        for constant in [1.0, -3.0] {
            let found = error(block, &[constant; SUPER_BLOCK]);
            assert!(found < 0.01, "{block} of {constant}: {found}");
        }
    }
}

#[test]
fn every_instruction_set_reads_the_same() {
    use crate::cpu::simd::{FORCED, Level};
    let values = numbers(20 * SUPER_BLOCK, 3);
    for block in BlockType::ALL {
        let bytes = encoded(block, &values);
        let best = decoded(block, &bytes);
        FORCED.set(Some(Level::Portable));
        let portable = decoded(block, &bytes);
        FORCED.set(None);
        assert_eq!(best, portable, "{block}");
    }
}
