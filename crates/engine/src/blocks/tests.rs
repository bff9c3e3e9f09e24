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
        (BlockType::Nf4, 0.03, 0.15),
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

/// The matrix of `fixtures/golden/nf4.json`, which holds what `bitsandbytes` made of it.
fn nf4_matrix(count: usize) -> Vec<f32> {
    (0..count as u64)
        .map(|i| {
            let x = (crate::random::mix(i) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            x * x * x * 0.25
        })
        .collect()
}

#[test]
fn nf4_is_bitsandbytes_with_double_quantisation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/golden/nf4.json");
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let floats = |key: &str| -> Vec<f32> {
        golden[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
    };
    let near = |a: &[f32], b: &[f32], what: &str| {
        assert_eq!(a.len(), b.len(), "{what}");
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() <= 2e-7 * b.abs().max(0.01), "{what} {i}: {a} {b}");
        }
    };
    assert_eq!(nf4::LEVELS[..], floats("table"));
    near(&nf4::dynamic_levels(), &floats("levels"), "level");
    let (rows, cols) = (golden["rows"].as_u64().unwrap() as usize, golden["cols"].as_u64().unwrap() as usize);
    let values = nf4_matrix(rows * cols);
    let bytes =
        BlockType::Nf4.encode_all(rows, cols, |row, out| out.copy_from_slice(&values[row * cols..][..cols]));
    let blocks = bytes.as_chunks::<36>().0;
    let pairs: String = blocks.iter().flat_map(|b| &b[4..]).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(pairs, golden["packed"].as_str().unwrap());
    let magnitudes: Vec<f32> = blocks.iter().map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    // Of 258 three lie half-way between two levels, to 2e-5 of the scale, where bitsandbytes' CPU kernel takes the
    // farther one.
    let expected = floats("magnitudes");
    assert_eq!(magnitudes.len(), expected.len());
    let other: Vec<usize> =
        (0..expected.len()).filter(|&i| (magnitudes[i] - expected[i]).abs() > 5e-8).collect();
    assert_eq!(other, [91, 98, 256]);
    assert!(other.iter().all(|&i| (magnitudes[i] / expected[i] - 1.0).abs() < 2e-3), "{other:?}");
}
