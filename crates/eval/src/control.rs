//! The control experiment: is the "base" side really the base?
//!
//! Before anything is measured, the base is loaded alone and its logits are kept. Then a fresh adapter
//! (B zero) of the real one's shape is attached: its tuned side must give the same bits. Then the real
//! adapter takes its place: the base side must still give the same bits (unsloth#4503: a compare view
//! whose base side was the tuned model). All in one loaded model, over the two paths that are measured:
//! the packed pass and the KV cache.

use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tolmach_engine::Backend;
use tolmach_model::{AdapterInfo, Batch, Decoder, KvCache, LoraConfig, Side};

/// Prompts that are tried, and tokens of each.
pub(crate) const PROBES: usize = 4;
pub(crate) const PROBE_TOKENS: usize = 48;

/// What the control found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub prompts: usize,
    /// Numbers compared, bit for bit, in each comparison.
    pub logits: usize,
    pub zero_adapter_equals_base: bool,
    /// `None` without an adapter.
    pub base_side_equals_base: Option<bool>,
    /// False for an adapter that changes nothing: it was never trained, or its weights were lost.
    /// Told, but no failure.
    pub tuned_differs_from_base: Option<bool>,
}

impl Control {
    pub fn holds(&self) -> bool {
        self.zero_adapter_equals_base && self.base_side_equals_base != Some(false)
    }
}

/// Turn the base, loaded alone, into the model that is measured, checking at each step.
///
/// # Errors
/// The adapter cannot be loaded or belongs to another base.
pub(crate) fn attach<B: Backend>(
    model: &mut Decoder<B>,
    adapter: Option<&Path>,
    probes: &[&[u32]],
) -> Result<Control> {
    let alone = logits(model, Side::Base, probes)?;
    let lora = match adapter {
        Some(folder) => AdapterInfo::read(folder)?.lora,
        None => fresh(),
    };
    model.add_lora(&lora, 0)?;
    let zero = same(&alone, &logits(model, Side::Tuned, probes)?);
    let mut control = Control {
        prompts: probes.len(),
        logits: alone.len(),
        zero_adapter_equals_base: zero,
        base_side_equals_base: None,
        tuned_differs_from_base: None,
    };
    if let Some(folder) = adapter {
        model.load_adapter(folder)?; // every tensor of the fresh one is replaced: same shape
        control.base_side_equals_base = Some(same(&alone, &logits(model, Side::Base, probes)?));
        control.tuned_differs_from_base = Some(!same(&alone, &logits(model, Side::Tuned, probes)?));
    }
    Ok(control)
}

fn fresh() -> LoraConfig {
    LoraConfig {
        rank: 8,
        alpha: 16.0,
        dropout: 0.0,
        target_modules: vec!["all-linear".into()],
        modules_to_save: vec![],
        ..LoraConfig::of_rank(8)
    }
}

/// Logits of every token of the probes by a packed pass, then of each last token by the KV cache.
fn logits<B: Backend>(model: &Decoder<B>, side: Side, probes: &[&[u32]]) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    for &probe in probes {
        let positions: Vec<u32> = (0..probe.len() as u32).collect();
        let rows: Vec<usize> = (0..probe.len()).collect();
        let segment = 0..probe.len();
        let batch = Batch {
            input_ids: probe,
            positions: &positions,
            segments: std::slice::from_ref(&segment),
            prefixes: &[],
            rows: &rows,
            targets: &[],
        };
        all.extend(model.logits(&mut None, batch, side)?);
        let mut cache = KvCache::new(model, side, 1, probe.len());
        all.extend(model.decode(&mut cache, &[(0, probe)])?);
    }
    Ok(all)
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const PROMPTS: [&[u32]; 2] = [&[1, 30, 40, 50], &[1, 7]];

    #[test]
    fn without_an_adapter_a_fresh_one_changes_no_bit() {
        let mut model = testing::model(3);
        let control = attach(&mut model, None, &PROMPTS).unwrap();
        assert!(control.holds() && control.zero_adapter_equals_base);
        assert_eq!(control.base_side_equals_base, None);
        assert_eq!(control.logits, (4 + 1 + 2 + 1) * model.config.vocab_size);
    }

    #[test]
    fn unsloth_4503_the_base_side_is_the_base_beside_any_adapter() {
        for saved in [&[][..], &["embed_tokens"], &["lm_head"], &["embed_tokens", "lm_head"]] {
            for trained in [true, false] {
                let dir = tempfile::tempdir().unwrap();
                testing::write_adapter(dir.path(), 3, saved, trained);
                let mut model = testing::model(3);
                let control = attach(&mut model, Some(dir.path()), &PROMPTS).unwrap();
                assert!(control.zero_adapter_equals_base, "{saved:?}");
                assert_eq!(control.base_side_equals_base, Some(true), "{saved:?}");
                assert_eq!(control.tuned_differs_from_base, Some(trained), "{saved:?}");
            }
        }
    }

    #[test]
    fn the_comparison_sees_one_bit() {
        assert!(same(&[1.0, 2.0], &[1.0, 2.0]));
        assert!(!same(&[1.0, 2.0], &[1.0, f32::from_bits(2.0f32.to_bits() + 1)]));
        assert!(!same(&[1.0], &[1.0, 2.0]));
        let failed = Control {
            prompts: 1,
            logits: 1,
            zero_adapter_equals_base: true,
            base_side_equals_base: Some(false),
            tuned_differs_from_base: Some(true),
        };
        assert!(!failed.holds());
    }
}
