//! A whole model as a GGUF file: written from a source, read back as one.

use super::names::{ROPE_FACTORS, deinterleave, interleave, rotated_heads, to_gguf};
use super::{Gguf, GgufWriter, TensorHeader, TensorType, Value, Vocabulary, metadata, quantize};
use crate::error::{Error, Result};
use crate::source::{Source, Tensor, tensors};
use std::path::Path;
use tolmach_model::Config;

const HEAD: &str = "output.weight";

/// Write the model of `source` to `path`. `done` hears of the numbers written so far.
///
/// Norms stay f32. With q4_0, q4_k and q6_k the embedding and the head are q8_0: they are few, and errors there
/// cost most. A matrix whose rows are no whole blocks gets the next larger type that fits.
///
/// # Errors
/// A tensor is missing, holds what is no finite number, or does not fit into f16; the disk is full.
pub fn write_model(
    path: &Path,
    source: &dyn Source,
    vocabulary: &Vocabulary,
    name: &str,
    tensor_type: TensorType,
    done: &mut dyn FnMut(u64),
) -> Result<()> {
    let config = source.config();
    let all = tensors(config);
    let mut headers = Vec::new();
    let factors = metadata::rope_factors(config);
    if let Some(factors) = &factors {
        let shape = vec![factors.len()];
        headers.push(TensorHeader { name: ROPE_FACTORS.into(), shape, tensor_type: TensorType::F32 });
    }
    for tensor in &all {
        let name = to_gguf(&tensor.name).expect("every tensor of a Llama has a name in GGUF");
        headers.push(TensorHeader {
            name,
            shape: tensor.shape.clone(),
            tensor_type: stored_as(tensor, tensor_type),
        });
    }
    let mut writer = GgufWriter::create(path, &metadata(config, vocabulary, name, tensor_type), &headers)?;
    if let Some(factors) = &factors {
        writer.push(&quantize::encode(TensorType::F32, factors))?;
    }
    let mut values = Vec::new();
    let mut written = 0;
    for (tensor, header) in all.iter().zip(&headers[headers.len() - all.len()..]) {
        source.read(tensor, &mut values)?;
        check(&tensor.name, &values, header.tensor_type)?;
        if let Some(heads) = rotated_heads(&tensor.name, config) {
            interleave(&mut values, heads, tensor.shape[1]);
        }
        // In parts: the bytes of a whole embedding need not lie beside its numbers.
        for part in values.chunks(1 << 22) {
            writer.push(&quantize::encode(header.tensor_type, part))?;
        }
        written += values.len() as u64;
        done(written);
    }
    writer.commit()
}

fn metadata(
    config: &Config,
    vocabulary: &Vocabulary,
    name: &str,
    tensor_type: TensorType,
) -> Vec<(String, Value)> {
    let general = [
        ("architecture", Value::text("llama")),
        ("type", Value::text("model")),
        ("name", Value::text(name)),
        ("quantization_version", Value::U32(2)),
        ("file_type", Value::U32(tensor_type.file_type())),
    ];
    let mut pairs: Vec<_> = general.into_iter().map(|(key, v)| (format!("general.{key}"), v)).collect();
    pairs.extend(metadata::of_config(config));
    pairs.extend(vocabulary.metadata());
    pairs
}

/// The type that one tensor of a file of `asked` gets.
fn stored_as(tensor: &Tensor, asked: TensorType) -> TensorType {
    let outer = tensor.name.contains("embed_tokens") || tensor.name.contains("lm_head");
    let types: &[TensorType] = match asked {
        _ if !tensor.is_matrix() => &[],
        TensorType::Q4_0 if outer => &[TensorType::Q8_0, TensorType::F16],
        TensorType::Q4K | TensorType::Q6K if outer => &[TensorType::Q8_0, TensorType::F16],
        TensorType::Q4K => &[TensorType::Q4K, TensorType::Q8_0, TensorType::F16],
        TensorType::Q6K => &[TensorType::Q6K, TensorType::Q8_0, TensorType::F16],
        TensorType::Q4_0 => &[TensorType::Q4_0, TensorType::F16],
        TensorType::Q8_0 => &[TensorType::Q8_0, TensorType::F16],
        TensorType::F16 => &[TensorType::F16],
        TensorType::Bf16 => &[TensorType::Bf16],
        TensorType::F32 => &[],
    };
    let cols = tensor.shape[tensor.shape.len() - 1];
    types.iter().copied().find(|t| cols.is_multiple_of(t.block())).unwrap_or(TensorType::F32)
}

/// Every number can be stored: it is finite, and its scale is no infinity in f16.
pub(super) fn check(name: &str, values: &[f32], tensor_type: TensorType) -> Result<()> {
    if let Some(&value) = values.iter().find(|v| !v.is_finite()) {
        return Err(Error::NotFinite { name: name.into(), value });
    }
    let Some(limit) = quantize::limit(tensor_type.format()) else { return Ok(()) };
    match values.iter().find(|v| v.abs() > limit) {
        Some(&value) => Err(Error::Range {
            name: name.into(),
            value,
            format: tensor_type.to_string(),
            instead: tolmach_engine::Dtype::BF16,
        }),
        None => Ok(()),
    }
}

/// A model in a GGUF file, its tensors under Hugging Face's names and in Hugging Face's order again.
pub struct GgufModel {
    file: Gguf,
    config: Config,
    vocabulary: Vocabulary,
}

impl GgufModel {
    /// `expected` lends Llama 3's frequency scaling, which the file has in another form: see
    /// [`metadata::config`].
    ///
    /// # Errors
    /// The file is broken, or does not describe a Llama that is computed here.
    pub fn open(path: &Path, expected: &Config) -> Result<Self> {
        let file = Gguf::open(path)?;
        let tied = file.tensor(HEAD).is_none();
        let config = metadata::config(&file, tied, Some(&expected.rope.scaling))?;
        let vocabulary = Vocabulary::of_metadata(|key| file.metadata(key).cloned()).ok_or_else(|| {
            let reason = "its tokenizer.ggml.* are not whole".into();
            Error::Gguf { path: path.to_path_buf(), reason }
        })?;
        Ok(Self { file, config, vocabulary })
    }

    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The type that a tensor is stored in.
    pub fn stored_type(&self, tensor: &Tensor) -> Option<TensorType> {
        Some(self.file.tensor(&to_gguf(&tensor.name)?)?.tensor_type)
    }
}

impl Source for GgufModel {
    fn config(&self) -> &Config {
        &self.config
    }

    fn read(&self, tensor: &Tensor, values: &mut Vec<f32>) -> Result<()> {
        let name = to_gguf(&tensor.name).unwrap_or_else(|| tensor.name.clone());
        self.file.values(&name, &tensor.shape, values)?;
        self.file.release(&name);
        if let Some(heads) = rotated_heads(&tensor.name, &self.config) {
            deinterleave(values, heads, tensor.shape[1]);
        }
        Ok(())
    }
}
