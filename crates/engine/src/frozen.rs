//! Frozen matrices in the format in which the file holds them, memory-mapped where possible.

use half::slice::HalfFloatSliceExt;
use memmap2::Mmap;
use std::sync::Arc;

/// Storage formats of a frozen matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    Bf16,
    F16,
}

impl Dtype {
    /// Bytes per value.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::Bf16 | Dtype::F16 => 2,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("a [{rows}, {cols}] matrix in {dtype:?} takes {expected} bytes, found {found}")]
    Length { rows: usize, cols: usize, dtype: Dtype, expected: usize, found: usize },
}

/// A read-only matrix `[rows, cols]`. Cloning shares the storage.
#[derive(Clone)]
pub struct FrozenMatrix {
    pub rows: usize,
    pub cols: usize,
    dtype: Dtype,
    bytes: Bytes,
}

#[derive(Clone)]
enum Bytes {
    /// In u64 words, so that every dtype is aligned.
    Owned(Arc<Vec<u64>>, usize),
    Mapped {
        map: Arc<Mmap>,
        start: usize,
        len: usize,
    },
}

/// The values of a frozen matrix as they are stored.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    F32(&'a [f32]),
    Bf16(&'a [half::bf16]),
    F16(&'a [half::f16]),
}

impl FrozenMatrix {
    /// Copy little-endian `bytes`, row-major.
    ///
    /// # Errors
    /// When the byte count does not fit the shape.
    pub fn from_bytes(bytes: &[u8], dtype: Dtype, rows: usize, cols: usize) -> Result<Self, StorageError> {
        check(bytes.len(), dtype, rows, cols)?;
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        // SAFETY: a u64 slice is valid for writes as bytes over its whole length.
        let target = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), words.len() * 8) };
        target[..bytes.len()].copy_from_slice(bytes);
        Ok(FrozenMatrix { rows, cols, dtype, bytes: Bytes::Owned(Arc::new(words), bytes.len()) })
    }

    pub fn from_f32(values: &[f32], rows: usize, cols: usize) -> Result<Self, StorageError> {
        // SAFETY: any f32 slice may be read as bytes.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), values.len() * 4) };
        Self::from_bytes(bytes, Dtype::F32, rows, cols)
    }

    /// Use `len` bytes of a mapped file in place; copies only where the file's alignment forbids it.
    ///
    /// # Errors
    /// When the byte count does not fit the shape.
    pub fn from_map(
        map: Arc<Mmap>,
        start: usize,
        len: usize,
        dtype: Dtype,
        rows: usize,
        cols: usize,
    ) -> Result<Self, StorageError> {
        check(len, dtype, rows, cols)?;
        let aligned = (map.as_ptr() as usize + start).is_multiple_of(dtype.size());
        if !aligned || cfg!(target_endian = "big") {
            return Self::from_bytes(&map[start..start + len], dtype, rows, cols);
        }
        Ok(FrozenMatrix { rows, cols, dtype, bytes: Bytes::Mapped { map, start, len } })
    }

    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    pub fn values(&self) -> Values<'_> {
        let bytes: &[u8] = match &self.bytes {
            // SAFETY: the vector holds at least `len` bytes.
            Bytes::Owned(words, len) => unsafe {
                std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), *len)
            },
            Bytes::Mapped { map, start, len } => &map[*start..*start + *len],
        };
        let n = self.rows * self.cols;
        // SAFETY: length was checked against the shape, alignment at construction, and every bit
        // pattern is a value of these types.
        unsafe {
            match self.dtype {
                Dtype::F32 => Values::F32(std::slice::from_raw_parts(bytes.as_ptr().cast(), n)),
                Dtype::Bf16 => Values::Bf16(std::slice::from_raw_parts(bytes.as_ptr().cast(), n)),
                Dtype::F16 => Values::F16(std::slice::from_raw_parts(bytes.as_ptr().cast(), n)),
            }
        }
    }

    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        self.values().convert(0, &mut out);
        out
    }
}

impl<'a> Values<'a> {
    /// Convert `out.len()` values from `start` on.
    #[inline]
    pub fn convert(&self, start: usize, out: &mut [f32]) {
        let end = start + out.len();
        match self {
            Values::F32(v) => out.copy_from_slice(&v[start..end]),
            Values::Bf16(v) => {
                for (o, x) in out.iter_mut().zip(&v[start..end]) {
                    *o = f32::from_bits(u32::from(x.to_bits()) << 16);
                }
            }
            Values::F16(v) => v[start..end].convert_to_f32_slice(out),
        }
    }
}

fn check(found: usize, dtype: Dtype, rows: usize, cols: usize) -> Result<(), StorageError> {
    let expected = rows * cols * dtype.size();
    if found == expected { Ok(()) } else { Err(StorageError::Length { rows, cols, dtype, expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_formats_convert_exactly() {
        let xs = [0.0f32, 1.0, -2.5, 0.15625, 1024.0, -0.0];
        let bf: Vec<u8> = xs.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
        let fp: Vec<u8> = xs.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
        for (bytes, dtype) in [(bf, Dtype::Bf16), (fp, Dtype::F16)] {
            let m = FrozenMatrix::from_bytes(&bytes, dtype, 2, 3).unwrap();
            assert_eq!(m.to_f32(), xs);
        }
    }

    #[test]
    fn wrong_length_is_an_error_not_a_panic() {
        let e = FrozenMatrix::from_bytes(&[0; 10], Dtype::F32, 2, 3).err().unwrap().to_string();
        assert!(e.contains("24 bytes") && e.contains("found 10"), "{e}");
    }
}
