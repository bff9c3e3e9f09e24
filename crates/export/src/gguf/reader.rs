//! A GGUF file, memory-mapped and read in place.

use super::cursor::{Cursor, Reason};
use super::{ALIGNMENT, MAGIC, TensorType, VERSION, Value, quantize};
use crate::error::{Error, Result};
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tolmach_engine::FrozenMatrix;

/// An open file: its metadata, and where its tensors lie.
pub struct Gguf {
    path: PathBuf,
    map: Arc<Mmap>,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Place>,
}

struct Place {
    shape: Vec<usize>,
    tensor_type: TensorType,
    offset: usize,
    len: usize,
}

/// A tensor as it lies in the file.
#[derive(Clone, Copy)]
pub struct StoredTensor<'a> {
    /// Rows first.
    pub shape: &'a [usize],
    pub tensor_type: TensorType,
    pub bytes: &'a [u8],
}

impl Gguf {
    /// # Errors
    /// The file is missing, cut short, of another version, or holds a tensor of a type that is not
    /// known here.
    pub fn open(path: &Path) -> Result<Self> {
        let read = |source| Error::Read { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(read)?;
        if file.metadata().map_err(read)?.len() == 0 {
            return Err(Error::Gguf { path: path.to_path_buf(), reason: "it is empty".into() });
        }
        // SAFETY: the file is only read; that nobody truncates it while it is mapped is the same
        // assumption every user of memory-mapped weights makes.
        let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(read)?);
        let (metadata, tensors) =
            parse(&map).map_err(|reason| Error::Gguf { path: path.to_path_buf(), reason })?;
        Ok(Self { path: path.to_path_buf(), map, metadata, tensors })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn metadata(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    #[cfg(test)]
    pub(super) fn all_metadata(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.metadata.iter()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn tensor(&self, name: &str) -> Option<StoredTensor<'_>> {
        let place = self.tensors.get(name)?;
        let bytes = &self.map[place.offset..place.offset + place.len];
        Some(StoredTensor { shape: &place.shape, tensor_type: place.tensor_type, bytes })
    }

    /// What is wrong with this file.
    pub(super) fn bad(&self, reason: String) -> Error {
        Error::Gguf { path: self.path.clone(), reason }
    }

    fn place(&self, name: &str, shape: &[usize]) -> Result<&Place> {
        let place = self.tensors.get(name).ok_or_else(|| self.bad(format!("no tensor `{name}`")))?;
        if place.shape != shape {
            let found = &place.shape;
            return Err(self.bad(format!("tensor `{name}`: expected shape {shape:?}, found {found:?}")));
        }
        Ok(place)
    }

    /// A matrix `[rows, cols]`, used in place, in the type that it is stored in.
    ///
    /// # Errors
    /// There is no such tensor, or it has another shape.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<FrozenMatrix> {
        let place = self.place(name, &[rows, cols])?;
        let format = place.tensor_type.format();
        FrozenMatrix::from_map(rows, cols, format, Arc::clone(&self.map), place.offset)
            .map_err(|e| self.bad(format!("tensor `{name}`: {e}")))
    }

    /// All numbers of a tensor of the given shape, into `values`.
    ///
    /// # Errors
    /// There is no such tensor, or it has another shape.
    pub fn values(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<()> {
        let place = self.place(name, shape)?;
        let bytes = &self.map[place.offset..place.offset + place.len];
        values.clear();
        values.resize(shape.iter().product(), 0.0);
        quantize::decode(place.tensor_type, bytes, values);
        Ok(())
    }

    /// The pages of a tensor need not stay in memory.
    pub fn release(&self, name: &str) {
        if let Some(place) = self.tensors.get(name) {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: nothing is ever written to the map, so pages given back are read from the file again.
            // That the advice is not heeded does no harm.
            let _ = unsafe { self.map.unchecked_advise_range(advice, place.offset, place.len) };
        }
    }
}

type Contents = (BTreeMap<String, Value>, BTreeMap<String, Place>);

fn parse(bytes: &[u8]) -> Result<Contents, Reason> {
    let mut cursor = Cursor::new(bytes);
    if cursor.take(4)? != MAGIC {
        return Err("it does not begin with GGUF".into());
    }
    match cursor.u32()? {
        // Version 3 only added files of the other byte order.
        2 | VERSION => {}
        other => return Err(format!("version {other}; expected version 2 or {VERSION}")),
    }
    let tensor_count = cursor.count(1)?;
    let pair_count = cursor.count(1)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..pair_count {
        let key = cursor.text()?;
        let value = Value::read(&mut cursor).map_err(|reason| format!("`{key}`: {reason}"))?;
        metadata.insert(key, value);
    }
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(value) => {
            value.as_count().filter(|n| n.is_power_of_two()).ok_or("general.alignment is no power of 2")?
        }
    };
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let name = cursor.text()?;
        let place = parse_tensor(&mut cursor).map_err(|reason| format!("tensor `{name}`: {reason}"))?;
        tensors.insert(name, place);
    }
    let start = cursor.at().next_multiple_of(alignment as usize);
    for (name, place) in &mut tensors {
        let end = start.checked_add(place.offset).and_then(|at| at.checked_add(place.len));
        if end.is_none_or(|end| end > bytes.len()) {
            return Err(format!("cut short: tensor `{name}` ends after the file's {} bytes", bytes.len()));
        }
        place.offset += start;
    }
    Ok((metadata, tensors))
}

fn parse_tensor(cursor: &mut Cursor) -> Result<Place, Reason> {
    let dimensions = cursor.u32()?;
    if !(1..=4).contains(&dimensions) {
        return Err(format!("{dimensions} dimensions; expected 1 to 4"));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let size = cursor.u64()?;
        shape.push(usize::try_from(size).map_err(|_| format!("a dimension of {size}"))?);
    }
    let code = cursor.u32()?;
    let tensor_type = TensorType::from_code(code).ok_or_else(|| {
        let known = TensorType::ALL.map(|t| t.to_string()).join(", ");
        format!("type {code} is not supported; expected {known}")
    })?;
    let row = shape[0];
    shape.reverse();
    let numbers = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    let numbers = numbers.filter(|n| n.checked_mul(tensor_type.block_bytes()).is_some());
    let numbers = numbers.ok_or_else(|| format!("impossible shape {shape:?}"))?;
    if !row.is_multiple_of(tensor_type.block()) {
        return Err(format!("rows of {row} numbers are no whole blocks of {tensor_type}"));
    }
    let offset = cursor.u64()?;
    let offset = usize::try_from(offset).map_err(|_| format!("offset {offset}"))?;
    Ok(Place { shape, tensor_type, offset, len: tensor_type.bytes(numbers) })
}

#[cfg(test)]
mod tests {
    use super::super::{GgufWriter, TensorHeader};
    use super::*;
    use proptest::prelude::*;

    fn write(path: &Path) {
        let metadata = [("general.name".to_string(), Value::text("Тест")), ("a.b".into(), Value::U32(7))];
        let header = |name: &str, shape: &[usize], tensor_type| TensorHeader {
            name: name.into(),
            shape: shape.to_vec(),
            tensor_type,
        };
        let tensors = [
            header("one", &[3], TensorType::F32),
            header("two", &[2, 32], TensorType::Q8_0),
            header("three", &[1, 2], TensorType::F16),
        ];
        let mut writer = GgufWriter::create(path, &metadata, &tensors).unwrap();
        writer.push(&quantize::encode(TensorType::F32, &[1.0, 2.0, 3.0])).unwrap();
        for row in 0..2 {
            writer.push(&quantize::encode(TensorType::Q8_0, &[row as f32 + 1.0; 32])).unwrap();
        }
        writer.push(&quantize::encode(TensorType::F16, &[0.5, -0.25])).unwrap();
        writer.commit().unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        write(&path);
        let file = Gguf::open(&path).unwrap();
        assert_eq!(file.metadata("general.name").unwrap().as_text(), Some("Тест"));
        assert_eq!(file.metadata("a.b").unwrap().as_count(), Some(7));
        let mut values = Vec::new();
        file.values("one", &[3], &mut values).unwrap();
        assert_eq!(values, [1.0, 2.0, 3.0]);
        file.values("two", &[2, 32], &mut values).unwrap();
        assert!((values[0] - 1.0).abs() < 1e-3 && (values[63] - 2.0).abs() < 1e-3);
        file.values("three", &[1, 2], &mut values).unwrap();
        assert_eq!(values, [0.5, -0.25]);
        let error = file.values("two", &[32, 2], &mut values).unwrap_err().to_string();
        assert!(error.contains("`two`") && error.contains("[32, 2]"), "{error}");
        assert!(file.values("four", &[1], &mut values).unwrap_err().to_string().contains("no tensor `four`"));
    }

    #[test]
    fn a_file_cut_anywhere_is_named_never_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        write(&path);
        let whole = std::fs::read(&path).unwrap();
        let needed = whole.len() - 28; // the padding of the last tensor may be missing
        for cut in 0..needed {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let message = Gguf::open(&path).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains("model.gguf"), "cut at {cut}: {message}");
        }
    }

    #[test]
    fn other_versions_and_types_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        write(&path);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4] = 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(Gguf::open(&path).err().unwrap().to_string().contains("version 1"));
        bytes[4] = 2;
        std::fs::write(&path, &bytes).unwrap();
        assert!(Gguf::open(&path).is_ok());
        bytes[4] = 3;
        let name = bytes.windows(3).position(|w| w == b"one").unwrap();
        bytes[name + 3 + 4 + 8] = 9; // after one dimension comes the type
        std::fs::write(&path, &bytes).unwrap();
        let message = Gguf::open(&path).err().unwrap().to_string();
        assert!(message.contains("`one`") && message.contains("type 9"), "{message}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut file = b"GGUF\x03\0\0\0".to_vec();
            file.extend(&bytes);
            let _ = parse(&file);
        }
    }
}
