//! Writing safetensors a tensor at a time: no second copy of anything, the same bytes every time.

use crate::error::{Error, Result};
use half::{bf16, f16};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use tolmach_durable::AtomicFile;
use tolmach_engine::Dtype;

/// A safetensors file being written, whole or not at all. The header is fixed at the start; the
/// values follow in its order.
pub struct TensorWriter {
    path: PathBuf,
    file: AtomicFile,
    dtype: Dtype,
    /// Elements still to come.
    left: usize,
}

impl TensorWriter {
    /// `tensors` are (name, shape) in the order in which they will be pushed. The crate `safetensors`
    /// writes its metadata in the random order of a hash map; here two equal files are equal bytes.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(
        path: &Path,
        tensors: &[(&str, &[usize])],
        dtype: Dtype,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let (name, size) = match dtype {
            Dtype::F32 => ("F32", 4),
            Dtype::F16 => ("F16", 2),
            Dtype::BF16 => ("BF16", 2),
        };
        let mut header = Map::new();
        header.insert("__metadata__".into(), json!(metadata));
        let mut elements = 0;
        for (tensor, shape) in tensors {
            let start = elements;
            elements += shape.iter().product::<usize>();
            let offsets = [start * size, elements * size];
            header.insert((*tensor).into(), json!({"dtype": name, "shape": shape, "data_offsets": offsets}));
        }
        let mut header = Value::Object(header).to_string();
        let padded = header.len().next_multiple_of(8); // data start aligned, as in the format's own writer
        header.extend(std::iter::repeat_n(' ', padded - header.len()));

        let failed = |source| Error::Write { path: path.to_path_buf(), source };
        let mut file = AtomicFile::create(path).map_err(failed)?;
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
        file.write_all(header.as_bytes()).map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), file, dtype, left: elements })
    }

    /// The values of the next tensor.
    ///
    /// # Errors
    /// The disk is full, say.
    pub fn push(&mut self, values: &[f32]) -> Result<()> {
        assert!(values.len() <= self.left, "more values than the header promises");
        self.left -= values.len();
        let mut bytes = Vec::with_capacity(4 << 10);
        for run in values.chunks(1 << 10) {
            bytes.clear();
            match self.dtype {
                Dtype::F32 => bytes.extend(run.iter().flat_map(|v| v.to_le_bytes())),
                Dtype::F16 => bytes.extend(run.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes())),
                Dtype::BF16 => bytes.extend(run.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes())),
            }
            self.file.write_all(&bytes).map_err(|source| Error::Write { path: self.path.clone(), source })?;
        }
        Ok(())
    }

    /// Put the file under its name.
    ///
    /// # Errors
    /// The file cannot be synced or renamed; what was there before stays.
    pub fn commit(self) -> Result<()> {
        assert_eq!(self.left, 0, "fewer values than the header promises");
        let Self { path, file, .. } = self;
        file.commit().map_err(|source| Error::Write { path, source })
    }
}
