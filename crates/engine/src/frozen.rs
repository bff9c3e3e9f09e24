//! A weight that is never trained, in the type it has on disk; unpacked to f32 where it is used.

use half::{bf16, f16};
use memmap2::Mmap;
use std::sync::Arc;

/// How a frozen matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    F32,
    F16,
    BF16,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::BF16 => "bf16",
        })
    }
}

/// The bytes given do not make the matrix asked for.
#[derive(Debug, thiserror::Error)]
#[error("a {rows} × {cols} matrix of {dtype} takes {expected} bytes, found {found}")]
pub struct StorageError {
    rows: usize,
    cols: usize,
    dtype: Dtype,
    expected: usize,
    found: usize,
}

#[derive(Clone)]
enum Storage {
    Owned(Arc<[u8]>),
    /// Bytes of a memory-mapped file, used in place: the page cache holds them, not the heap.
    Mapped {
        map: Arc<Mmap>,
        offset: usize,
        len: usize,
    },
}

/// `[rows, cols]`, row-major, little-endian. Cheap to clone: the bytes are shared.
#[derive(Clone)]
pub struct FrozenMatrix {
    rows: usize,
    cols: usize,
    dtype: Dtype,
    storage: Storage,
}

impl FrozenMatrix {
    /// From bytes in memory.
    ///
    /// # Errors
    /// The number of bytes is not rows · cols · size of the type.
    pub fn from_bytes(rows: usize, cols: usize, dtype: Dtype, bytes: &[u8]) -> Result<Self, StorageError> {
        check(rows, cols, dtype, bytes.len())?;
        Ok(Self { rows, cols, dtype, storage: Storage::Owned(bytes.into()) })
    }

    /// A part of a memory-mapped file, from byte `offset` on.
    ///
    /// # Errors
    /// The map ends before the matrix does.
    pub fn from_map(
        rows: usize,
        cols: usize,
        dtype: Dtype,
        map: Arc<Mmap>,
        offset: usize,
    ) -> Result<Self, StorageError> {
        let len = rows.saturating_mul(cols).saturating_mul(dtype.size());
        let found = map.len().saturating_sub(offset).min(len);
        check(rows, cols, dtype, found)?;
        Ok(Self { rows, cols, dtype, storage: Storage::Mapped { map, offset, len } })
    }

    /// From f32 values.
    ///
    /// # Errors
    /// The number of values is not rows · cols.
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Result<Self, StorageError> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_bytes(rows, cols, Dtype::F32, &bytes)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// All bytes, row-major, little-endian; not aligned to more than one byte.
    pub fn bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Owned(bytes) => bytes,
            Storage::Mapped { map, offset, len } => &map[*offset..*offset + *len],
        }
    }

    /// Pages of a mapped file need not stay in memory; they are read again where they are used again.
    pub fn release(&self) {
        if let Storage::Mapped { map, offset, len } = &self.storage {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: nothing is ever written to the map, so pages given back are read from the file again.
            // That the advice is not heeded does no harm.
            let _ = unsafe { map.unchecked_advise_range(advice, *offset, *len) };
        }
    }

    /// Columns `from .. from + out.len()` of `row` as f32.
    pub fn unpack(&self, row: usize, from: usize, out: &mut [f32]) {
        debug_assert!(row < self.rows && from + out.len() <= self.cols);
        let size = self.dtype.size();
        let start = (row * self.cols + from) * size;
        let bytes = &self.bytes()[start..start + out.len() * size];
        match self.dtype {
            Dtype::F32 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *o = f32::from_le_bytes(*b);
                }
            }
            Dtype::BF16 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *o = bf16::from_le_bytes(*b).to_f32();
                }
            }
            Dtype::F16 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *o = f16::from_le_bytes(*b).to_f32();
                }
            }
        }
    }

    /// The whole matrix as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        if self.cols > 0 {
            for (row, out) in values.chunks_exact_mut(self.cols).enumerate() {
                self.unpack(row, 0, out);
            }
        }
        values
    }
}

fn check(rows: usize, cols: usize, dtype: Dtype, found: usize) -> Result<(), StorageError> {
    let expected = rows.saturating_mul(cols).saturating_mul(dtype.size());
    if expected == found { Ok(()) } else { Err(StorageError { rows, cols, dtype, expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_unpacks_to_what_was_packed() {
        let values = [0.5f32, -1.25, 3.0, 0.0, 65504.0, -0.0078125];
        let f16s: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let half = FrozenMatrix::from_bytes(2, 3, Dtype::F16, &f16s).unwrap();
        assert_eq!(half.to_f32(), values);
        let exact = [0.5f32, -1.25, 3.0, 0.0, 256.0, -0.0078125];
        let bf16s: Vec<u8> = exact.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        let brain = FrozenMatrix::from_bytes(2, 3, Dtype::BF16, &bf16s).unwrap();
        assert_eq!(brain.to_f32(), exact);
        let full = FrozenMatrix::from_f32(2, 3, &values).unwrap();
        let mut part = [0.0; 2];
        full.unpack(1, 1, &mut part);
        assert_eq!(part, values[4..6]);
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        let error = FrozenMatrix::from_bytes(2, 3, Dtype::F16, &[0; 11]).err().unwrap();
        assert_eq!(error.to_string(), "a 2 × 3 matrix of f16 takes 12 bytes, found 11");
    }
}
