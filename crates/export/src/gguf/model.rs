//! A whole model as a GGUF file: written from a source, read back as one.

use super::names::{ROPE_FACTORS, deinterleave, interleave, rotated_heads, to_gguf};
use super::{Gguf, GgufWriter, TensorHeader, TensorType, Value, Vocabulary, metadata, quantize};
use crate::error::{Error, Result};
use crate::source::{Source, Tensor, tensors};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use tolmach_engine::{Backend, FrozenMatrix, StorageError};
use tolmach_model::{Config, Decoder};

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
    /// Any file; `expected` lends the scaling of its frequencies, where it is already known.
    ///
    /// # Errors
    /// The file is broken, or does not describe a Llama that is computed here.
    pub fn open(path: &Path, expected: Option<&Config>) -> Result<Self> {
        let file = Gguf::open(path)?;
        let config = metadata::config(&file, expected.map(|config| &config.rope.scaling))?;
        let vocabulary = Vocabulary::of_metadata(|key| file.metadata(key).cloned());
        let vocabulary = vocabulary.map_err(|reason| file.bad(reason))?;
        Ok(Self { file, config, vocabulary })
    }

    /// The model with its weights as they are stored: used in place, but for the rows of q and k, whose
    /// order is Hugging Face's again.
    ///
    /// # Errors
    /// A tensor is missing, misshapen, or belongs to no Llama that is computed here.
    pub fn decoder<B: Backend>(&self, backend: Arc<B>) -> Result<Decoder<B>> {
        let known: HashSet<String> = tensors(&self.config).iter().filter_map(|t| to_gguf(&t.name)).collect();
        if let Some(name) = self.file.names().find(|name| !known.contains(*name) && *name != ROPE_FACTORS) {
            return Err(self.file.bad(format!("tensor `{name}` belongs to no Llama that is computed here")));
        }
        let stored_name = |name: &str| to_gguf(name).unwrap_or_else(|| name.to_string());
        let matrix = |name: &str, rows: usize, cols: usize| {
            let matrix = self.file.matrix(&stored_name(name), rows, cols)?;
            match rotated_heads(name, &self.config) {
                Some(heads) => {
                    deinterleaved(&matrix, heads).map_err(|e| self.file.bad(format!("`{name}`: {e}")))
                }
                None => Ok(matrix),
            }
        };
        let vector = |name: &str, len: usize| {
            let mut values = Vec::new();
            self.file.values(&stored_name(name), &[len], &mut values).map(|()| values)
        };
        Decoder::from_weights(backend, self.config.clone(), &matrix, &vector)
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

/// [`deinterleave`] for rows in any format: they are moved as they are.
fn deinterleaved(matrix: &FrozenMatrix, heads: usize) -> Result<FrozenMatrix, StorageError> {
    let bytes = matrix.bytes();
    let row_len = bytes.len() / matrix.rows();
    let pairs = matrix.rows() / heads / 2;
    let mut moved = Vec::with_capacity(bytes.len());
    for row in 0..matrix.rows() {
        let (head, within) = (row / (2 * pairs), row % (2 * pairs));
        let from = head * 2 * pairs + 2 * (within % pairs) + within / pairs;
        moved.extend_from_slice(&bytes[from * row_len..][..row_len]);
    }
    matrix.release();
    FrozenMatrix::from_bytes(matrix.rows(), matrix.cols(), matrix.format(), &moved)
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
