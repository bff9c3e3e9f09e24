//! A weight that is never trained, in the format it has on disk; unpacked to f32 where it is used.

use crate::blocks::panels::Panels;
use crate::blocks::{BlockType, LONGEST};
use half::{bf16, f16};
use memmap2::Mmap;
use std::sync::Arc;

/// The type of numbers that are stored one by one.
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

/// How a frozen matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Number by number.
    Plain(Dtype),
    /// Quantised: rows are whole blocks.
    Blocks(BlockType),
}

impl Format {
    /// Bytes of a row; `None` where a row is no whole number of blocks.
    fn row_bytes(self, cols: usize) -> Option<usize> {
        match self {
            Format::Plain(dtype) => cols.checked_mul(dtype.size()),
            Format::Blocks(block) if cols.is_multiple_of(block.numbers()) => {
                (cols / block.numbers()).checked_mul(block.bytes())
            }
            Format::Blocks(_) => None,
        }
    }

    /// Numbers that are stored together.
    pub(crate) fn granule(self) -> usize {
        match self {
            Format::Plain(_) => 1,
            Format::Blocks(block) => block.numbers(),
        }
    }
}

impl From<Dtype> for Format {
    fn from(dtype: Dtype) -> Self {
        Format::Plain(dtype)
    }
}

impl From<BlockType> for Format {
    fn from(block: BlockType) -> Self {
        Format::Blocks(block)
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Format::Plain(dtype) => dtype.fmt(f),
            Format::Blocks(block) => block.fmt(f),
        }
    }
}

/// The bytes given do not make the matrix asked for.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("a {rows} × {cols} matrix of {format} takes {expected} bytes, found {found}")]
    Length { rows: usize, cols: usize, format: Format, expected: usize, found: usize },
    #[error("rows of {cols} numbers are no whole blocks of {format}, which have {block} each")]
    Blocks { cols: usize, format: Format, block: usize },
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
    /// Blocks in another order.
    Panels(Arc<Panels>),
}

/// `[rows, cols]`, row-major, little-endian. Cheap to clone: the bytes are shared.
#[derive(Clone)]
pub struct FrozenMatrix {
    rows: usize,
    cols: usize,
    format: Format,
    storage: Storage,
}

impl FrozenMatrix {
    /// From bytes in memory.
    ///
    /// # Errors
    /// The number of bytes is not that of the matrix in this format, or rows are no whole blocks.
    pub fn from_bytes(
        rows: usize,
        cols: usize,
        format: impl Into<Format>,
        bytes: &[u8],
    ) -> Result<Self, StorageError> {
        let format = format.into();
        check(rows, cols, format, bytes.len())?;
        Ok(Self { rows, cols, format, storage: Storage::Owned(bytes.into()) })
    }

    /// A part of a memory-mapped file, from byte `offset` on.
    ///
    /// # Errors
    /// The map ends before the matrix does, or rows are no whole blocks.
    pub fn from_map(
        rows: usize,
        cols: usize,
        format: impl Into<Format>,
        map: Arc<Mmap>,
        offset: usize,
    ) -> Result<Self, StorageError> {
        let format = format.into();
        let len = bytes_of(rows, cols, format)?;
        let found = map.len().saturating_sub(offset).min(len);
        check(rows, cols, format, found)?;
        Ok(Self { rows, cols, format, storage: Storage::Mapped { map, offset, len } })
    }

    /// Zeros that take up no memory until they are written, which is never: for trials of shapes.
    ///
    /// # Errors
    /// Rows are no whole blocks; the system gives no address space.
    pub fn zeros(rows: usize, cols: usize, format: impl Into<Format>) -> Result<Self, StorageError> {
        let format = format.into();
        let len = bytes_of(rows, cols, format)?;
        let map = memmap2::MmapMut::map_anon(len.max(1)).and_then(memmap2::MmapMut::make_read_only);
        match map {
            Ok(map) => Self::from_map(rows, cols, format, Arc::new(map), 0),
            Err(_) => Self::from_bytes(rows, cols, format, &[]),
        }
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

    pub fn format(&self) -> Format {
        self.format
    }

    /// The same matrix in blocks of few bits, in memory of its own.
    ///
    /// # Errors
    /// Rows are no whole blocks.
    pub fn quantized(&self, block: BlockType) -> Result<Self, StorageError> {
        let (rows, cols) = (self.rows, self.cols);
        bytes_of(rows, cols, block.into())?;
        let bytes = block.encode_all(rows, cols, |row, out| self.unpack(row, 0, out));
        Self::from_bytes(rows, cols, block, &bytes)
    }

    /// The same blocks in the order that products with int8 activations read them in; where there is none for this
    /// format, as it is. What was mapped from a file is then in memory.
    pub(crate) fn in_panels(self) -> Self {
        let Format::Blocks(block) = self.format else { return self };
        if matches!(self.storage, Storage::Panels(_)) {
            return self;
        }
        let Some(panels) = Panels::new(block, self.rows, self.cols, self.bytes()) else { return self };
        self.release();
        Self { storage: Storage::Panels(Arc::new(panels)), ..self }
    }

    /// Of a matrix that [`FrozenMatrix::in_panels`] made.
    pub(crate) fn panels(&self) -> Option<&Panels> {
        match &self.storage {
            Storage::Panels(panels) => Some(panels),
            Storage::Owned(_) | Storage::Mapped { .. } => None,
        }
    }

    /// All bytes, row-major, little-endian; not aligned to more than one byte. None of a matrix in panels, which
    /// only a backend makes for itself.
    pub fn bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Panels(_) => &[],
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
        match self.format {
            Format::Plain(dtype) => {
                let start = (row * self.cols + from) * dtype.size();
                unpack_plain(dtype, &self.bytes()[start..start + out.len() * dtype.size()], out);
            }
            Format::Blocks(block) => {
                if let Some(panels) = self.panels() {
                    return unpack_blocks(block, &panels.row(row), from, out);
                }
                let row_bytes = self.cols / block.numbers() * block.bytes();
                unpack_blocks(block, &self.bytes()[row * row_bytes..][..row_bytes], from, out);
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

fn unpack_plain(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
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

/// Numbers `from .. from + out.len()` of a row of blocks. What begins or ends inside a block is decoded
/// aside; the whole blocks between go straight to their place.
fn unpack_blocks(block: BlockType, row: &[u8], from: usize, out: &mut [f32]) {
    let (numbers, bytes) = (block.numbers(), block.bytes());
    let mut at = from;
    let mut rest = out;
    while !rest.is_empty() {
        let (index, skip) = (at / numbers, at % numbers);
        let whole = if skip == 0 { rest.len() / numbers } else { 0 };
        let count = if whole > 0 {
            let done = whole * numbers;
            block.decode(&row[index * bytes..][..whole * bytes], &mut rest[..done]);
            done
        } else {
            let mut aside = [0.0; LONGEST];
            block.decode(&row[index * bytes..][..bytes], &mut aside[..numbers]);
            let count = rest.len().min(numbers - skip);
            rest[..count].copy_from_slice(&aside[skip..][..count]);
            count
        };
        at += count;
        rest = &mut rest[count..];
    }
}

fn bytes_of(rows: usize, cols: usize, format: Format) -> Result<usize, StorageError> {
    let row = format.row_bytes(cols);
    let row = row.ok_or(StorageError::Blocks { cols, format, block: format.granule() })?;
    Ok(rows.saturating_mul(row))
}

fn check(rows: usize, cols: usize, format: Format, found: usize) -> Result<(), StorageError> {
    let expected = bytes_of(rows, cols, format)?;
    if expected == found { Ok(()) } else { Err(StorageError::Length { rows, cols, format, expected, found }) }
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

    #[test]
    fn any_part_of_a_row_of_blocks_is_what_the_whole_row_has_there() {
        let values: Vec<f32> = (0..3 * 512).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.03).collect();
        for block in BlockType::ALL {
            let mut bytes = vec![0; values.len() / block.numbers() * block.bytes()];
            block.encode(&values, &mut bytes);
            let matrix = FrozenMatrix::from_bytes(3, 512, block, &bytes).unwrap();
            let all = matrix.to_f32();
            // Half of the widest step between two codes where the largest number is 1.5, and a bit for the rounding
            // of what scales them: 127 steps to either side, 32, 15 from −1.5 to 1.5, 8, and NF4's from −1 to −0.70.
            let bound = match block {
                BlockType::Q8_0 => 1.5 / 127.0 / 2.0 * 1.2,
                BlockType::Q6K => 1.5 / 32.0 / 2.0 * 1.6,
                BlockType::Q4K => 3.0 / 15.0 / 2.0 * 1.3,
                BlockType::Q4_0 => 1.5 / 8.0 / 2.0 * 2.01, // 8 to one side, but 7 to the other
                BlockType::Nf4 => 1.5 * (1.0 - 0.6962) / 2.0 * 1.02,
            };
            let worst = all.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= bound, "{block}: {worst}, at most {bound}");
            for (from, len) in
                [(0, 512), (0, 1), (31, 2), (32, 32), (100, 300), (255, 2), (511, 1), (300, 212)]
            {
                let mut part = vec![0.0; len];
                matrix.unpack(1, from, &mut part);
                assert_eq!(part, all[512 + from..][..len], "{block} from {from}");
            }
        }
    }

    #[test]
    fn rows_are_whole_blocks() {
        let error = FrozenMatrix::from_bytes(2, 48, BlockType::Q4_0, &[0; 54]).err().unwrap();
        assert_eq!(error.to_string(), "rows of 48 numbers are no whole blocks of q4_0, which have 32 each");
        let error = FrozenMatrix::from_bytes(2, 64, BlockType::Q4_0, &[0; 54]).err().unwrap();
        assert_eq!(error.to_string(), "a 2 × 64 matrix of q4_0 takes 72 bytes, found 54");
    }
}
