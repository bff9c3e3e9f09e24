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

/// √(Σ difference² / Σ value²) after a round trip.
fn error(tensor_type: TensorType, values: &[f32]) -> f64 {
    let bytes = encode(tensor_type, values);
    let mut back = vec![0.0; values.len()];
    decode(tensor_type, &bytes, &mut back);
    let square = |x: f32| f64::from(x).powi(2);
    let off: f64 = values.iter().zip(&back).map(|(a, b)| square(a - b)).sum();
    (off / values.iter().map(|v| square(*v)).sum::<f64>()).sqrt()
}

#[test]
fn errors_are_those_of_the_bits() {
    let values = numbers(40_000 / SUPER_BLOCK * SUPER_BLOCK, 1);
    for (tensor_type, from, to) in [
        (TensorType::F32, 0.0, 0.0),
        (TensorType::F16, 1e-5, 4e-4),
        (TensorType::Bf16, 1e-4, 3e-3),
        (TensorType::Q8_0, 1e-3, 1e-2),
        (TensorType::Q4K, 0.01, 0.10),
        (TensorType::Q4_0, 0.03, 0.15),
    ] {
        let found = error(tensor_type, &values);
        assert!((from..=to).contains(&found), "{tensor_type}: {found}");
    }
    assert!(error(TensorType::Q4K, &values) < error(TensorType::Q4_0, &values));
}

#[test]
fn zeros_and_constants_survive() {
    for tensor_type in TensorType::ALL {
        assert!(error(tensor_type, &[0.0; SUPER_BLOCK]).is_nan(), "0 / 0: not one number changed");
        for constant in [1.0, -3.0] {
            let found = error(tensor_type, &[constant; SUPER_BLOCK]);
            assert!(found < 0.01, "{tensor_type} of {constant}: {found}");
        }
    }
}

#[test]
fn blocks_do_not_depend_on_what_lies_beside_them() {
    let values = numbers(3 * TASK + SUPER_BLOCK, 2);
    for tensor_type in TensorType::ALL {
        let whole = encode(tensor_type, &values);
        let part = encode(tensor_type, &values[TASK - SUPER_BLOCK..TASK + SUPER_BLOCK]);
        let at = tensor_type.bytes(TASK - SUPER_BLOCK);
        assert_eq!(whole[at..at + part.len()], part, "{tensor_type}");
    }
}
