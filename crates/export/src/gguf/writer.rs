//! A GGUF file being written: header first, then one tensor after the other.

use super::value::write_text;
use super::{ALIGNMENT, MAGIC, TensorType, VERSION, Value};
use crate::error::{Error, Result};
use std::io::Write;
use std::path::{Path, PathBuf};
use tolmach_durable::AtomicFile;

/// Name, shape and type of a tensor to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorHeader {
    pub name: String,
    /// Rows first, as everywhere in this program; the file has it the other way round.
    pub shape: Vec<usize>,
    pub tensor_type: TensorType,
}

impl TensorHeader {
    fn bytes(&self) -> u64 {
        self.tensor_type.bytes(self.shape.iter().product()) as u64
    }
}

/// Whole or not at all: the file appears under its name with [`GgufWriter::commit`].
pub struct GgufWriter {
    path: PathBuf,
    file: AtomicFile,
    /// Bytes of each tensor still to come, the next one last.
    left: Vec<u64>,
    /// Bytes of the current tensor still to come.
    current: u64,
    /// Zeros that follow it.
    padding: u64,
}

impl GgufWriter {
    /// The tensors must be pushed in the order of `tensors`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path, metadata: &[(String, Value)], tensors: &[TensorHeader]) -> Result<Self> {
        let mut header = Vec::new();
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            write_text(key, &mut header);
            value.write(&mut header);
        }
        let mut offset = 0;
        for tensor in tensors {
            write_text(&tensor.name, &mut header);
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            for &size in tensor.shape.iter().rev() {
                header.extend((size as u64).to_le_bytes());
            }
            header.extend(tensor.tensor_type.code().to_le_bytes());
            header.extend(u64::to_le_bytes(offset));
            offset += tensor.bytes().next_multiple_of(ALIGNMENT);
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);

        let failed = |source| Error::Write { path: path.to_path_buf(), source };
        let mut file = AtomicFile::create(path).map_err(failed)?;
        file.write_all(&header).map_err(failed)?;
        let left = tensors.iter().rev().map(TensorHeader::bytes).collect();
        Ok(Self { path: path.to_path_buf(), file, left, current: 0, padding: 0 })
    }

    /// The next numbers, a whole number of blocks; a tensor may come in several parts.
    ///
    /// # Errors
    /// The disk is full, say.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.current == 0 {
            self.current = self.left.pop().expect("no more tensors than the header promises");
            self.padding = self.current.next_multiple_of(ALIGNMENT) - self.current;
        }
        let length = bytes.len() as u64;
        assert!(length <= self.current, "more bytes than the header promises");
        self.write(bytes)?;
        self.current -= length;
        if self.current == 0 {
            self.write(&[0; ALIGNMENT as usize][..self.padding as usize])?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Put the file under its name.
    ///
    /// # Errors
    /// It cannot be synced or renamed; what was there before stays.
    pub fn commit(self) -> Result<()> {
        assert!(self.left.is_empty() && self.current == 0, "fewer tensors than the header promises");
        let Self { path, file, .. } = self;
        file.commit().map_err(|source| Error::Write { path, source })
    }
}
