//! A model folder in the Hugging Face layout, written from a source.

use crate::error::{Error, Result};
use crate::source::{Source, Tensor, tensors};
use crate::tokenizer_json::tokenizer_json;
use half::f16;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tolmach_engine::Dtype;
use tolmach_model::TensorWriter;
use tolmach_tokenize::{TOKENIZER_FILES, Tokenizer};

/// Written anew, like the JSON files below; the rest of the base's tokenizer goes along as it is.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// What the files beside the weights say.
pub struct Companions<'a> {
    /// The base's.
    pub tokenizer: &'a Tokenizer,
    /// In place of the base's own.
    pub chat_template: Option<&'a str>,
}

/// Weights in one file, or in shards of at most `shard_bytes` with an index. A tensor that is larger than
/// that is a shard of its own. `done` hears of the numbers written so far.
///
/// # Errors
/// A tensor is missing, or holds what is no finite number or does not fit into f16; the disk is full.
pub fn write_weights(
    folder: &Path,
    source: &dyn Source,
    dtype: Dtype,
    shard_bytes: u64,
    done: &mut dyn FnMut(u64),
) -> Result<()> {
    let all = tensors(source.config());
    let shards = shards(&all, dtype, shard_bytes);
    let mut weight_map = BTreeMap::new();
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    let mut values = Vec::new();
    let mut written = 0;
    for (number, shard) in shards.iter().enumerate() {
        let file = match shards.len() {
            1 => "model.safetensors".to_string(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let header: Vec<_> = shard.iter().map(|t| (t.name.as_str(), &t.shape[..])).collect();
        let mut writer = TensorWriter::create(&folder.join(&file), &header, dtype, &metadata)?;
        for tensor in *shard {
            source.read(tensor, &mut values)?;
            check(&tensor.name, &values, dtype)?;
            writer.push(&values)?;
            written += values.len() as u64;
            done(written);
            weight_map.insert(&tensor.name, file.clone());
        }
        writer.commit()?;
    }
    if shards.len() > 1 {
        let total = all.iter().map(|t| t.len() as u64).sum::<u64>() * dtype.size() as u64;
        let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
        write_json(&folder.join("model.safetensors.index.json"), &index)?;
    }
    Ok(())
}

/// Runs of tensors that lie in one file each.
fn shards(all: &[Tensor], dtype: Dtype, shard_bytes: u64) -> Vec<&[Tensor]> {
    let (mut shards, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (i, tensor) in all.iter().enumerate() {
        let size = (tensor.len() * dtype.size()) as u64;
        if i > start && bytes + size > shard_bytes {
            shards.push(&all[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    shards.push(&all[start..]);
    shards
}

fn check(name: &str, values: &[f32], dtype: Dtype) -> Result<()> {
    if let Some(&value) = values.iter().find(|v| !v.is_finite()) {
        return Err(Error::NotFinite { name: name.into(), value });
    }
    if dtype == Dtype::F16
        && let Some(&value) = values.iter().find(|v| !f16::from_f32(**v).is_finite())
    {
        let format = dtype.to_string();
        return Err(Error::Range { name: name.into(), value, format, instead: Dtype::BF16 });
    }
    Ok(())
}

/// Everything beside the weights: the tokenizer as it is (and as `tokenizer.json`), `config.json` of the merged model,
/// `generation_config.json` that stops where the model was taught to stop, the chat template.
///
/// # Errors
/// A file of the base is not JSON; a file cannot be read or written.
pub fn write_companions(
    folder: &Path,
    base: &Path,
    source: &dyn Source,
    dtype: Dtype,
    with: &Companions,
) -> Result<()> {
    for name in TOKENIZER_FILES.into_iter().filter(|name| *name != TOKENIZER_CONFIG) {
        copy(&base.join(name), &folder.join(name))?;
    }
    let mut config = read_json(&base.join("config.json"))?;
    let torch = match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::BF16 => "bfloat16",
    };
    let key = if config.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    config[key] = torch.into();
    config["tie_word_embeddings"] = source.config().tie_word_embeddings.into();
    let mut generation = match read_json(&base.join("generation_config.json"))? {
        Value::Object(object) => Value::Object(object),
        _ => json!({}),
    };
    for json in [&mut config, &mut generation] {
        if let Some(bos) = with.tokenizer.bos() {
            json["bos_token_id"] = bos.into();
        }
        match with.tokenizer.eos_ids() {
            [] => {}
            [eos] => json["eos_token_id"] = (*eos).into(),
            several => json["eos_token_id"] = json!(several),
        }
    }
    write_json(&folder.join("config.json"), &config)?;
    write_json(&folder.join("generation_config.json"), &generation)?;

    let mut tokenizer = read_json(&base.join(TOKENIZER_CONFIG))?;
    write_conversion(folder, with.tokenizer, &mut tokenizer)?;
    if let Some(template) = with.chat_template {
        write(&folder.join("chat_template.jinja"), template)?;
        if tokenizer.get("chat_template").is_some() {
            tokenizer["chat_template"] = template.into();
        }
    }
    if !tokenizer.is_null() {
        write_json(&folder.join(TOKENIZER_CONFIG), &tokenizer)?;
    }
    Ok(())
}

/// Where there is only `tokenizer.model`, a `tokenizer.json` with the same ids, if that can be had; `config` is
/// made to say that it is to be taken as it is, and which tokens are special.
fn write_conversion(folder: &Path, tokenizer: &Tokenizer, config: &mut Value) -> Result<()> {
    let (json_path, model_path) = (folder.join("tokenizer.json"), folder.join("tokenizer.model"));
    if json_path.exists() || !model_path.exists() {
        return Ok(());
    }
    let read = |source| Error::Read { path: model_path.clone(), source };
    let Some(json) = tokenizer_json(&std::fs::read(&model_path).map_err(read)?, tokenizer) else {
        return Ok(());
    };
    write(&json_path, json)?;
    if !config.is_object() {
        *config = json!({});
    }
    if let Some(config) = config.as_object_mut() {
        // Settings of the class that converts on loading, and its own treatment of spaces.
        ["legacy", "sp_model_kwargs", "add_prefix_space"].iter().for_each(|key| drop(config.remove(*key)));
    }
    config["tokenizer_class"] = "PreTrainedTokenizerFast".into();
    config["clean_up_tokenization_spaces"] = false.into();
    config["add_bos_token"] = tokenizer.adds_bos().into();
    for (key, id) in
        [("bos_token", tokenizer.bos()), ("eos_token", tokenizer.eos()), ("unk_token", tokenizer.unk())]
    {
        if let Some(text) = id.and_then(|id| tokenizer.token_text(id)) {
            config[key] = text.into();
        }
    }
    Ok(())
}

/// Copy a file, if it is there.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    match std::fs::read(from) {
        Ok(bytes) => write(to, bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Read { path: from.to_path_buf(), source }),
    }
}

pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    tolmach_durable::write(path, bytes).map_err(|source| Error::Write { path: path.to_path_buf(), source })
}

/// `Null` where there is no such file.
fn read_json(path: &Path) -> Result<Value> {
    match std::fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: path.to_path_buf(), source })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(source) => Err(Error::Read { path: path.to_path_buf(), source }),
    }
}

fn write_json(path: &Path, json: &Value) -> Result<()> {
    write(path, format!("{json:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_hold_what_fits_and_at_least_one_tensor() {
        let all: Vec<Tensor> = [10, 10, 30, 5, 5, 5]
            .iter()
            .enumerate()
            .map(|(i, &n)| Tensor { name: i.to_string(), shape: vec![n] })
            .collect();
        let sizes: Vec<usize> = shards(&all, Dtype::BF16, 40).iter().map(|s| s.len()).collect();
        assert_eq!(sizes, [2, 1, 3]);
        assert_eq!(shards(&all, Dtype::BF16, 1).len(), 6);
        assert_eq!(shards(&all, Dtype::BF16, 1 << 40).len(), 1);
    }
}
