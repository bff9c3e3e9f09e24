//! Tensors on disk: safetensors or `pytorch_model.bin`, single or sharded, memory-mapped and read in
//! place; and safetensors written.

use crate::error::{Error, Result};
use crate::pickle_file;
use crate::tensor_writer::TensorWriter;
use memmap2::Mmap;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tolmach_engine::{Dtype, FrozenMatrix};

/// Open files of tensors and where each tensor lies in them.
pub struct Checkpoint {
    /// The file, or the folder of the shards: what messages name.
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

struct Tensor {
    file: PathBuf,
    map: Arc<Mmap>,
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    offset: usize,
    len: usize,
}

impl Checkpoint {
    /// A model folder's weights: the first there is of `model.safetensors`, the shards that
    /// `model.safetensors.index.json` names, `pytorch_model.bin`, and the shards that
    /// `pytorch_model.bin.index.json` names.
    ///
    /// # Errors
    /// No such file, a missing or truncated shard, an index that names a tensor its shard lacks, a
    /// pickle with anything but tensors.
    pub fn open_folder(folder: &Path) -> Result<Self> {
        for name in ["model.safetensors", "pytorch_model.bin"] {
            let index = folder.join(format!("{name}.index.json"));
            if folder.join(name).is_file() {
                return Self::open_file(&folder.join(name));
            } else if index.is_file() {
                return Self::open_shards(folder, &index);
            }
        }
        let reason = if folder.is_dir() {
            "neither model.safetensors nor pytorch_model.bin, whole or in shards, is in it"
        } else {
            "there is no such folder"
        };
        Err(Error::NoModel { path: folder.to_path_buf(), reason: reason.into() })
    }

    /// One file: `.bin`, `.pt` and `.pth` are read as `torch.save` writes them, others as safetensors.
    ///
    /// # Errors
    /// The file is missing, truncated or of another format.
    pub fn open_file(path: &Path) -> Result<Self> {
        let mut checkpoint =
            Self { path: path.to_path_buf(), tensors: BTreeMap::new(), metadata: HashMap::new() };
        checkpoint.add(path)?;
        Ok(checkpoint)
    }

    fn open_shards(folder: &Path, index: &Path) -> Result<Self> {
        let read = |source| Error::Read { path: index.to_path_buf(), source };
        let text = std::fs::read_to_string(index).map_err(read)?;
        let json: serde_json::Value = serde_json::from_str(&text)
            .map_err(|source| Error::Json { path: index.to_path_buf(), source })?;
        let Some(map) = json["weight_map"].as_object() else {
            return Err(Error::Field {
                path: index.to_path_buf(),
                key: "weight_map".into(),
                expected: "an object from tensor to file".into(),
                found: json["weight_map"].to_string(),
            });
        };
        let mut checkpoint =
            Self { path: folder.to_path_buf(), tensors: BTreeMap::new(), metadata: HashMap::new() };
        let files: std::collections::BTreeSet<&str> = map.values().filter_map(|v| v.as_str()).collect();
        for file in files {
            // A shard lies beside its index: a name with a path in it does not come from an exporter.
            if Path::new(file).components().count() != 1 || file.starts_with('.') {
                return Err(Error::NoModel {
                    path: index.to_path_buf(),
                    reason: format!("`{file}` is no plain file name"),
                });
            }
            let path = folder.join(file);
            if !path.exists() {
                return Err(Error::MissingShard { path, index: index.to_path_buf() });
            }
            checkpoint.add(&path)?;
        }
        match map.keys().find(|name| !checkpoint.tensors.contains_key(*name)) {
            Some(name) => Err(Error::MissingTensor { path: index.to_path_buf(), name: name.clone() }),
            None => Ok(checkpoint),
        }
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let read = |source| Error::Read { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the file is only read; that nobody truncates it while it is mapped is the same
        // assumption every user of memory-mapped weights makes.
        let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(read)?);
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("bin" | "pt" | "pth")) {
            self.add_pickled(path, &map)
        } else {
            self.add_safetensors(path, &map)
        }
    }

    fn add_pickled(&mut self, path: &Path, map: &Arc<Mmap>) -> Result<()> {
        let stored = pickle_file::read(map);
        for tensor in stored.map_err(|reason| Error::Pickle { path: path.to_path_buf(), reason })? {
            let pickle_file::StoredTensor { name, dtype, shape, offset, len } = tensor;
            let (file, map) = (path.to_path_buf(), Arc::clone(map));
            self.tensors.insert(name, Tensor { file, map, dtype, shape, offset, len });
        }
        Ok(())
    }

    fn add_safetensors(&mut self, path: &Path, map: &Arc<Mmap>) -> Result<()> {
        let broken = |reason: String| Error::Safetensors { path: path.to_path_buf(), reason };
        let (header, metadata) =
            safetensors::SafeTensors::read_metadata(map).map_err(|e| broken(e.to_string()))?;
        let start = header + 8;
        let mut end = start;
        for (name, info) in metadata.tensors() {
            let (from, to) = info.data_offsets;
            end = end.max(start + to);
            let tensor = Tensor {
                file: path.to_path_buf(),
                map: Arc::clone(map),
                dtype: info.dtype,
                shape: info.shape.clone(),
                offset: start + from,
                len: to - from,
            };
            self.tensors.insert(name, tensor);
        }
        if map.len() < end {
            return Err(broken(format!("its header promises {end} bytes, the file has {} bytes", map.len())));
        }
        if let Some(more) = metadata.metadata() {
            self.metadata.extend(more.clone());
        }
        Ok(())
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The file's own key-value pairs (`__metadata__`).
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.get(name)?.shape)
    }

    /// The type that a tensor is stored in.
    ///
    /// # Errors
    /// The tensor is missing or of a type that is not supported.
    pub fn dtype(&self, name: &str) -> Result<Dtype> {
        Ok(self.checked(name, &self.get(name)?.shape)?.1)
    }

    /// The tensor's pages need not stay in memory: for those who read a large file once, from end to end.
    pub fn release(&self, name: &str) {
        if let Ok(tensor) = self.get(name) {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: nothing is ever written to the map, so pages given back are read from the file again.
            // That the advice is not heeded does no harm.
            let _ = unsafe { tensor.map.unchecked_advise_range(advice, tensor.offset, tensor.len) };
        }
    }

    /// A matrix `[rows, cols]`, used in place.
    ///
    /// # Errors
    /// The tensor is missing, or has another shape or an unsupported type.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<FrozenMatrix> {
        let (tensor, dtype) = self.checked(name, &[rows, cols])?;
        FrozenMatrix::from_map(rows, cols, dtype, Arc::clone(&tensor.map), tensor.offset)
            .map_err(|e| Error::Safetensors { path: tensor.file.clone(), reason: format!("`{name}`: {e}") })
    }

    /// All values of a tensor of the given shape, as f32.
    ///
    /// # Errors
    /// As [`Checkpoint::matrix`].
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (tensor, dtype) = self.checked(name, shape)?;
        let count: usize = shape.iter().product();
        let matrix =
            FrozenMatrix::from_map(1, count, dtype, Arc::clone(&tensor.map), tensor.offset).map_err(|e| {
                Error::Safetensors { path: tensor.file.clone(), reason: format!("`{name}`: {e}") }
            })?;
        Ok(matrix.to_f32())
    }

    fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::MissingTensor { path: self.path.clone(), name: name.into() })
    }

    fn checked(&self, name: &str, shape: &[usize]) -> Result<(&Tensor, Dtype)> {
        let tensor = self.get(name)?;
        let file = tensor.file.clone();
        if tensor.shape != shape {
            return Err(Error::Shape {
                path: file,
                name: name.into(),
                expected: shape.to_vec(),
                found: tensor.shape.clone(),
            });
        }
        let dtype = match tensor.dtype {
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::F16 => Dtype::F16,
            safetensors::Dtype::BF16 => Dtype::BF16,
            other => {
                return Err(Error::Dtype { path: file, name: name.into(), found: format!("{other:?}") });
            }
        };
        Ok((tensor, dtype))
    }

    /// A short name for the content: names, types, shapes, and the first and last 4 KiB of every
    /// tensor. Cheap on a memory map, and enough to tell one training run's weights from another's.
    pub fn fingerprint(&self) -> String {
        const ENDS: usize = 4096;
        let mut hash = blake3::Hasher::new();
        for (name, t) in &self.tensors {
            hash.update(format!("{name} {:?} {:?}\n", t.dtype, t.shape).as_bytes());
            let bytes = &t.map[t.offset..t.offset + t.len];
            hash.update(&bytes[..bytes.len().min(ENDS)]);
            hash.update(&bytes[bytes.len().saturating_sub(ENDS)..]);
        }
        hash.finalize().to_hex()[..16].to_string()
    }
}

/// A tensor to be written.
pub struct NamedTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Write tensors as one safetensors file, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_tensors(
    path: &Path,
    tensors: &[NamedTensor],
    dtype: Dtype,
    metadata: HashMap<String, String>,
) -> Result<()> {
    let mut sorted: Vec<&NamedTensor> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let header: Vec<(&str, &[usize])> = sorted.iter().map(|t| (t.name.as_str(), &t.shape[..])).collect();
    let metadata = metadata.into_iter().collect();
    let mut writer = TensorWriter::create(path, &header, dtype, &metadata)?;
    for tensor in sorted {
        writer.push(&tensor.values)?;
    }
    writer.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(path: &Path) {
        let tensors =
            [NamedTensor { name: "w".into(), shape: vec![2, 3], values: (0..6).map(|x| x as f32).collect() }];
        write_tensors(path, &tensors, Dtype::BF16, HashMap::from([("k".into(), "v".into())])).unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        sample(&path);
        let checkpoint = Checkpoint::open_folder(dir.path()).unwrap();
        assert_eq!(checkpoint.values("w", &[2, 3]).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(checkpoint.matrix("w", 2, 3).unwrap().format(), Dtype::BF16.into());
        assert_eq!(checkpoint.metadata()["k"], "v");
    }

    #[test]
    fn a_file_cut_anywhere_is_named_never_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        sample(&path);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let message = Checkpoint::open_file(&path).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains("model.safetensors"), "cut at {cut}: {message}");
        }
    }

    #[test]
    fn missing_and_misshapen_tensors_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        sample(&path);
        let checkpoint = Checkpoint::open_file(&path).unwrap();
        let shape = checkpoint.values("w", &[3, 2]).unwrap_err().to_string();
        assert!(shape.contains("`w`") && shape.contains("[3, 2]") && shape.contains("[2, 3]"), "{shape}");
        assert!(checkpoint.values("x", &[1]).unwrap_err().to_string().contains("no tensor `x`"));
    }

    #[test]
    fn shards_are_read_and_a_lying_index_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        sample(&dir.path().join("model-00001-of-00001.safetensors"));
        let index = dir.path().join("model.safetensors.index.json");
        std::fs::write(&index, r#"{"weight_map": {"w": "model-00001-of-00001.safetensors"}}"#).unwrap();
        assert!(Checkpoint::open_folder(dir.path()).unwrap().contains("w"));
        std::fs::write(&index, r#"{"weight_map": {"z": "model-00001-of-00001.safetensors"}}"#).unwrap();
        assert!(Checkpoint::open_folder(dir.path()).err().unwrap().to_string().contains("`z`"));
        std::fs::write(&index, r#"{"weight_map": {"w": "model-00002-of-00002.safetensors"}}"#).unwrap();
        let missing = Checkpoint::open_folder(dir.path()).err().unwrap().to_string();
        assert!(missing.contains("00002-of-00002") && missing.contains("index.json names it"), "{missing}");
        std::fs::write(&index, r#"{"weight_map": {"w": "../model.safetensors"}}"#).unwrap();
        assert!(Checkpoint::open_folder(dir.path()).err().unwrap().to_string().contains("plain file name"));
    }
}
