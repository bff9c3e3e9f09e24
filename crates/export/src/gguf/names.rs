//! What a Llama's tensors are called in GGUF, and how their rows lie there.
//!
//! Hugging Face turns the first half of a head against the second (pairs (i, i + D/2)); llama.cpp turns
//! neighbours (2i, 2i + 1), as Meta's own weights do. So the rows of q and k are interleaved on the way.

use tolmach_model::{Config, LINEAR_LAYERS};

/// Names of [`LINEAR_LAYERS`] in a block.
const LINEAR: [&str; 7] = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

/// The frequency factors of Llama 3's long context.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The head; a file without it has a tied one.
pub(super) const HEAD: &str = "output.weight";

/// The GGUF name of a tensor of a Llama, or of a layer (without `.weight`).
pub(super) fn to_gguf(name: &str) -> Option<String> {
    let (stem, ending) = match name.strip_suffix(".weight") {
        Some(stem) => (stem, ".weight"),
        None => (name, ""),
    };
    let gguf = match stem {
        "model.embed_tokens" => "token_embd".to_string(),
        "model.norm" => "output_norm".to_string(),
        "lm_head" => "output".to_string(),
        _ => {
            let (block, part) = stem.strip_prefix("model.layers.")?.split_once('.')?;
            block.parse::<usize>().ok()?;
            let part = match part {
                "input_layernorm" => "attn_norm",
                "post_attention_layernorm" => "ffn_norm",
                _ => {
                    let layer = part.strip_prefix("self_attn.").or(part.strip_prefix("mlp."))?;
                    LINEAR[LINEAR_LAYERS.iter().position(|l| *l == layer)?]
                }
            };
            format!("blk.{block}.{part}")
        }
    };
    Some(gguf + ending)
}

/// The number of heads in the rows of a tensor whose rows are interleaved: q and k.
pub(super) fn rotated_heads(name: &str, config: &Config) -> Option<usize> {
    if name.contains("q_proj") {
        Some(config.num_attention_heads)
    } else if name.contains("k_proj") {
        Some(config.num_key_value_heads)
    } else {
        None
    }
}

/// Rows `[heads · D, cols]` from Hugging Face's order to llama.cpp's: row i of half h of a head goes to
/// place 2i + h.
pub(super) fn interleave(values: &mut [f32], heads: usize, cols: usize) {
    reorder(values, heads, cols, |i, half, _| 2 * i + half);
}

/// The inverse of [`interleave`].
pub(super) fn deinterleave(values: &mut [f32], heads: usize, cols: usize) {
    reorder(values, heads, cols, |i, half, pairs| {
        let at = half * pairs + i;
        at % 2 * pairs + at / 2
    });
}

fn reorder(values: &mut [f32], heads: usize, cols: usize, place: impl Fn(usize, usize, usize) -> usize) {
    let head_len = values.len() / heads;
    let pairs = head_len / cols / 2;
    let mut moved = vec![0.0; head_len];
    for head in values.chunks_exact_mut(head_len) {
        for (row, from) in head.chunks_exact(cols).enumerate() {
            let to = place(row % pairs, row / pairs, pairs);
            moved[to * cols..][..cols].copy_from_slice(from);
        }
        head.copy_from_slice(&moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_llama_cpps() {
        for (ours, theirs) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("lm_head.weight", "output.weight"),
            ("model.norm.weight", "output_norm.weight"),
            ("model.layers.11.self_attn.o_proj.weight", "blk.11.attn_output.weight"),
            ("model.layers.0.mlp.down_proj", "blk.0.ffn_down"),
            ("model.layers.3.post_attention_layernorm.weight", "blk.3.ffn_norm.weight"),
        ] {
            assert_eq!(to_gguf(ours).as_deref(), Some(theirs));
        }
        assert_eq!(to_gguf("model.layers.0.self_attn.rotary_emb.inv_freq"), None);
    }

    #[test]
    fn halves_become_neighbours_and_back() {
        // Two heads of D = 6, one column: what the reshape(heads, 2, 3).swap(1, 2) of the converter gives.
        let mut rows: Vec<f32> = (0..12).map(|x| x as f32).collect();
        interleave(&mut rows, 2, 1);
        assert_eq!(rows, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
        deinterleave(&mut rows, 2, 1);
        assert_eq!(rows, (0..12).map(|x| x as f32).collect::<Vec<_>>());
        let mut wide: Vec<f32> = (0..24).map(|x| x as f32).collect();
        interleave(&mut wide, 1, 4);
        assert_eq!(wide[4..8], [12.0, 13.0, 14.0, 15.0]);
    }
}
