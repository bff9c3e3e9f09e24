use super::*;
use crate::{Checkpoint, Error};
use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/torch-bin").join(name)
}

fn published() -> Vec<u8> {
    std::fs::read(fixture("pytorch_model.bin")).unwrap()
}

/// Every tensor that torch wrote is there, with its shape and values, whatever its type on disk.
fn check_values(checkpoint: &Checkpoint) {
    let expected = std::fs::read_to_string(fixture("values.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    for (name, tensor) in expected.as_object().unwrap() {
        let numbers = |key: &str| tensor[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        let shape: Vec<usize> = numbers("shape").map(|size| size as usize).collect();
        let values: Vec<f32> = numbers("values").map(|value| value as f32).collect();
        assert_eq!(checkpoint.values(name, &shape).unwrap(), values, "{name}");
    }
    assert_eq!(checkpoint.names().count(), expected.as_object().unwrap().len() + 1, "and one of integers");
    let integers = checkpoint.values("rotary.inv_freq", &[3]).unwrap_err().to_string();
    assert!(integers.contains("type I64 is not supported"), "{integers}");
}

#[test]
fn what_torch_saves_is_read_in_place() {
    check_values(&Checkpoint::open_file(&fixture("pytorch_model.bin")).unwrap());
    check_values(&Checkpoint::open_file(&fixture("protocol-4.bin")).unwrap());
    check_values(&Checkpoint::open_folder(&fixture("")).unwrap());
    check_values(&Checkpoint::open_folder(&fixture("sharded")).unwrap());
}

#[test]
fn a_missing_shard_and_a_lying_index_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("pytorch_model.bin.index.json");
    let error = |weight_map: &str| {
        std::fs::write(&index, format!("{{\"weight_map\": {weight_map}}}")).unwrap();
        Checkpoint::open_folder(folder.path()).err().unwrap().to_string()
    };
    let shard = "pytorch_model-00001-of-00002.bin";
    std::fs::copy(fixture("sharded").join(shard), folder.path().join(shard)).unwrap();
    assert!(error(r#"{"x": "pytorch_model-00001-of-00002.bin"}"#).contains("no tensor `x`"));
    assert!(error(r#"{"x": "pytorch_model-00002-of-00002.bin"}"#).contains("00002-of-00002.bin"));
    assert!(error(r#"{"x": "../pytorch_model.bin"}"#).contains("plain file name"));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = published();
    for cut in 0..whole.len() {
        assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
    }
    assert!(read(&whole[..whole.len() - 1]).unwrap_err().contains("truncated"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    std::fs::write(&path, &whole[..1000]).unwrap();
    let error = Checkpoint::open_folder(folder.path()).err().unwrap();
    assert!(matches!(error, Error::Pickle { .. }) && error.hint().is_some());
    assert!(error.to_string().contains("pytorch_model.bin: cannot be read as tensors"), "{error}");
}

#[test]
fn files_of_other_kinds_are_named() {
    assert!(
        read(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")
            .unwrap_err()
            .contains("before version 1.6")
    );
    assert!(read(b"version https://git-lfs.github.com/spec/v1").unwrap_err().contains("no zip file"));
    assert!(read(b"").unwrap_err().contains("no zip file"));
    let transposed = std::fs::read(fixture("transposed.bin")).unwrap();
    let error = read(&transposed).unwrap_err();
    assert!(
        error.contains("`weight`") && error.contains("strides [1, 4]") && error.contains("contiguous"),
        "{error}"
    );
}

/// The first directory entry whose name ends so, with some of its bytes replaced.
fn with_directory(name: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = published();
    let named = |start: usize| {
        let length = usize::from(file[start + 28]);
        file[start..].starts_with(b"PK\x01\x02")
            && file[start + 46..start + 46 + length].ends_with(name.as_bytes())
    };
    let start = (0..file.len() - 46).find(|&start| named(start)).unwrap();
    file[start + at..start + at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn archives_that_lie_are_refused() {
    let refused = |name: &str, at: usize, bytes: &[u8]| read(&with_directory(name, at, bytes)).unwrap_err();
    assert!(refused("data/0", 10, &[8, 0]).contains("data/0: is compressed"));
    assert!(refused("data/0", 8, &[1, 0]).contains("is encrypted"));
    assert!(refused("data/0", 24, &[0, 0, 0, 0x7F]).contains("are stored"));
    assert!(refused("data/0", 20, &[0, 0, 0, 0x7F, 0, 0, 0, 0x7F]).contains("are left in the file"));
    assert!(refused("data/0", 20, &[0xFF; 8]).contains("zip64"));
    assert!(refused("data/0", 42, &[1, 0, 0, 0]).contains("no header"));
    assert!(
        refused("data/0", 20, &[8, 0, 0, 0, 8, 0, 0, 0]).contains("should be 24 elements, but are 8 bytes")
    );
    assert!(refused("data/0", 46, b"X").contains("another name"));
    let big = published().windows(6).position(|w| w == b"little").unwrap();
    let mut file = published();
    file[big..big + 6].copy_from_slice(b"big   ");
    assert!(read(&file).unwrap_err().contains("byte order"));
}

/// A row of the pickle changed in place: sizes that its storage does not hold.
#[test]
fn tensors_that_reach_beyond_their_storage_are_refused() {
    let mut file = published();
    // The first tensor: offset 0, shape (6, 4).
    let at = file.windows(6).position(|w| w == b"K\x00K\x06K\x04").unwrap();
    file[at + 1] = 1;
    assert!(read(&file).unwrap_err().contains("24 elements from 1 on are more than the 24"));
    file[at + 1] = 0;
    file[at + 3] = 200;
    assert!(read(&file).unwrap_err().contains("are more than"));
    file[at + 5] = 3;
    assert!(read(&file).unwrap_err().contains("not in row order"));
}

proptest! {
    #[test]
    fn any_damage_is_read_or_refused(changes in prop::collection::vec((0usize..10_000, any::<u8>()), 1..8)) {
        let mut file = published();
        for (at, byte) in changes {
            let at = at % file.len();
            file[at] = byte;
        }
        for tensor in read(&file).unwrap_or_default() {
            prop_assert!(tensor.offset + tensor.len <= file.len());
        }
    }
}
