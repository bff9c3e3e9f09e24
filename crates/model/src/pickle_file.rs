//! `pytorch_model.bin`: the zip file of `torch.save`, with its tensors where they lie in it.
//!
//! `NAME/data.pkl` is a pickle that describes the tensors, `NAME/data/KEY` the values of one storage,
//! stored as they are, so that a memory map of the file is all that is needed to use them.

use crate::pickle::{self, PickledTensor};
use crate::pickle_zip::{self, Entry};
use safetensors::Dtype;
use std::collections::HashMap;

/// A tensor in row order at the bytes `offset..offset + len` of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredTensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub offset: usize,
    pub len: usize,
}

/// The bytes that files of torch before version 1.6 begin with: a pickled magic number.
const BEFORE_1_6: &[u8] = &[0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9];

/// The tensors of a file.
///
/// # Errors
/// What is wrong with it, or what else than tensors is in it.
pub(crate) fn read(file: &[u8]) -> Result<Vec<StoredTensor>, String> {
    if file.starts_with(BEFORE_1_6) {
        return Err(
            "it was written by torch before version 1.6; load and save it again with a later one".into()
        );
    }
    if !file.starts_with(b"PK") {
        return Err("it is no zip file, as which torch.save writes them".into());
    }
    let entries = pickle_zip::entries(file)?;
    let mut pickles =
        entries.iter().filter_map(|(name, entry)| Some((name.strip_suffix("data.pkl")?, entry)));
    let (Some((folder, entry)), None) = (pickles.next(), pickles.next()) else {
        return Err("it does not hold one data.pkl, as files of torch.save do".into());
    };
    let bytes = |entry: &Entry| &file[entry.offset..entry.offset + entry.len];
    if let Some(order) = entries.get(&format!("{folder}byteorder")).filter(|order| bytes(order) != b"little")
    {
        return Err(format!("its byte order is {:?}, not little", String::from_utf8_lossy(bytes(order))));
    }
    let tensors = pickle::read(bytes(entry))?;
    let locate = |(name, tensor): (String, PickledTensor)| {
        let stored = locate(&tensor, folder, &entries);
        let (offset, len) = stored.map_err(|reason| format!("tensor `{name}`: {reason}"))?;
        Ok(StoredTensor { name, dtype: tensor.dtype, shape: tensor.shape, offset, len })
    };
    tensors.into_iter().map(locate).collect()
}

/// Offset and length in the file, in bytes.
fn locate(
    tensor: &PickledTensor,
    folder: &str,
    entries: &HashMap<String, Entry>,
) -> Result<(usize, usize), String> {
    let PickledTensor { storage, storage_len, dtype, offset, shape, strides } = tensor;
    let name = format!("{folder}data/{storage}");
    let entry = entries.get(&name).ok_or_else(|| format!("its values, {name}, are not in the file"))?;
    let element = dtype.bitsize() / 8;
    if storage_len.checked_mul(element) != Some(entry.len) {
        return Err(format!(
            "its values, {name}, should be {storage_len} elements, but are {} bytes",
            entry.len
        ));
    }
    let overflow = || format!("its shape {shape:?} is too large");
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size)).ok_or_else(overflow)?;
    if count > 0 && !in_row_order(shape, strides) {
        return Err(format!(
            "its values are not in row order (shape {shape:?}, strides {strides:?}): save it again after .contiguous()"
        ));
    }
    match offset.checked_add(count) {
        Some(end) if end <= *storage_len => Ok((entry.offset + offset * element, count * element)),
        _ => Err(format!("{count} elements from {offset} on are more than the {storage_len} of its storage")),
    }
}

/// Each dimension steps over all that the later ones hold; where there is one element, no step is made.
fn in_row_order(shape: &[usize], strides: &[usize]) -> bool {
    let mut step = 1;
    shape.len() == strides.len()
        && shape.iter().zip(strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == step;
            step *= size;
            fits
        })
}

#[cfg(test)]
#[path = "pickle_file_tests.rs"]
mod tests;
