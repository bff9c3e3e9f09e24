//! A LoRA adapter as a GGUF file, which llama.cpp puts over its base (`--lora`).

use super::model::check;
use super::names::{deinterleave, interleave, rotated_heads, to_gguf};
use super::{Gguf, GgufWriter, TensorHeader, TensorType, Value, quantize};
use crate::error::{Error, Result};
use crate::source::{Source, Tensor, add_product, tensors};
use std::path::Path;
use tolmach_model::{ADAPTER_WEIGHTS, AdapterInfo, Checkpoint, Config};

const ALPHA: &str = "adapter.lora.alpha";

/// Write the adapter in `folder`, trained over a base of shape `config`, as f32.
///
/// Of a layer W there are `W.lora_a` `[R, I]` and `W.lora_b` `[O, R]`; where the rows of W are interleaved,
/// those of B are. llama.cpp computes alpha / R itself, so rsLoRA's alpha / √R goes in as alpha · √R.
///
/// # Errors
/// The adapter also trained whole modules or DoRA's magnitudes, which the format has no place for; a file cannot be read or
/// written.
pub fn write_lora(path: &Path, folder: &Path, config: &Config, name: &str) -> Result<()> {
    let lora = AdapterInfo::read(folder)?.lora;
    if !lora.modules_to_save.is_empty() {
        return Err(Error::SavedModules { modules: lora.modules_to_save.join(" and ") });
    }
    if lora.dora {
        return Err(Error::Magnitudes);
    }
    let weights = Checkpoint::open_file(&folder.join(ADAPTER_WEIGHTS))?;
    let alpha = match lora.rslora {
        true => lora.alpha * (lora.rank as f64).sqrt(),
        false => lora.alpha,
    };
    let mut headers = Vec::new();
    let mut parts = Vec::new();
    for tensor in tensors(config).iter().filter(|t| t.is_matrix()) {
        let layer = tensor.name.trim_end_matches(".weight");
        if !lora.targets(layer) {
            continue;
        }
        let rank = lora.rank_of(layer);
        // The file has one alpha for all: what a layer is scaled by otherwise goes into its B.
        let factor = (lora.scaling_of(layer) * rank as f64 / alpha) as f32;
        let shapes = [("A", "a", [rank, tensor.shape[1]]), ("B", "b", [tensor.shape[0], rank])];
        for (side, lower, shape) in shapes {
            let name = to_gguf(&tensor.name).expect("every tensor of a Llama has a name in GGUF");
            let name = format!("{name}.lora_{lower}");
            headers.push(TensorHeader { name, shape: shape.to_vec(), tensor_type: TensorType::F32 });
            let heads = rotated_heads(layer, config).filter(|_| side == "B");
            let factor = if side == "B" { factor } else { 1.0 };
            parts.push((format!("base_model.model.{layer}.lora_{side}.weight"), shape, heads, factor));
        }
    }
    let metadata = [
        ("general.architecture", Value::text("llama")),
        ("general.type", Value::text("adapter")),
        ("general.name", Value::text(name)),
        ("general.file_type", Value::U32(TensorType::F32.file_type())),
        ("adapter.type", Value::text("lora")),
        (ALPHA, Value::F32(alpha as f32)),
    ]
    .map(|(key, value)| (key.to_string(), value));
    let mut writer = GgufWriter::create(path, &metadata, &headers)?;
    for (name, shape, heads, factor) in parts {
        let mut values = weights.values(&name, &shape)?;
        if factor != 1.0 {
            values.iter_mut().for_each(|v| *v *= factor);
        }
        check(&name, &values, TensorType::F32)?;
        if let Some(heads) = heads {
            interleave(&mut values, heads, shape[1]);
        }
        writer.push(&quantize::encode(TensorType::F32, &values))?;
    }
    writer.commit()
}

/// A base with the adapter of a GGUF file over it, computed from the file alone.
pub struct GgufLora<S> {
    base: S,
    file: Gguf,
    alpha: f32,
}

impl<S: Source> GgufLora<S> {
    /// # Errors
    /// The file is broken or is no adapter.
    pub fn open(path: &Path, base: S) -> Result<Self> {
        let file = Gguf::open(path)?;
        let is_adapter = file.metadata("general.type").and_then(Value::as_text) == Some("adapter");
        let alpha = file.metadata(ALPHA).and_then(Value::as_f32).filter(|_| is_adapter);
        let alpha = alpha.ok_or_else(|| Error::Gguf {
            path: path.to_path_buf(),
            reason: format!("it is no LoRA adapter (general.type, {ALPHA})"),
        })?;
        Ok(Self { base, file, alpha })
    }
}

impl<S: Source> Source for GgufLora<S> {
    fn config(&self) -> &Config {
        self.base.config()
    }

    fn read(&self, tensor: &Tensor, values: &mut Vec<f32>) -> Result<()> {
        self.base.read(tensor, values)?;
        let name = to_gguf(&tensor.name).unwrap_or_else(|| tensor.name.clone());
        let name_of = |side: &str| format!("{name}.lora_{side}");
        let Some(stored) = self.file.tensor(&name_of("a")) else { return Ok(()) };
        let rank = stored.shape[0];
        let (mut a, mut b) = (Vec::new(), Vec::new());
        self.file.values(&name_of("a"), &[rank, tensor.shape[1]], &mut a)?;
        self.file.values(&name_of("b"), &[tensor.shape[0], rank], &mut b)?;
        if let Some(heads) = rotated_heads(&tensor.name, self.config()) {
            deinterleave(&mut b, heads, rank);
        }
        add_product(values, &a, &b, rank, self.alpha / rank as f32);
        Ok(())
    }
}
