//! Which files of a repository are needed: no weights twice, no other framework's, no code.

use crate::error::{Error, Result};
use crate::repo::Repo;
use std::collections::{BTreeMap, BTreeSet};

/// What is wanted of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Configuration, tokenizer, weights.
    Model,
    /// Configuration and tokenizer alone.
    Tokenizer,
    /// The same, the configuration for certain: what is known of a model before its weights are there.
    Config,
    /// An adapter in PEFT's format.
    Adapter,
    /// The file with a data set's examples, or the parts that it is cut into.
    DataFile,
    /// One file by its path, or all that match where it has a `*`.
    File(String),
}

/// What may lie beside the weights, for models of every kind that is read.
const COMPANIONS: [&str; 17] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "source.spm",
    "target.spm",
    "spiece.model",
    "sentencepiece.bpe.model",
    "template.json",
    "certificate.json",
];

/// The weights, the first that is there; an index names its shards.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

const ADAPTER_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// Files that other programs ask for by name; that there is none is remembered for them.
pub const OPTIONAL: [&str; 6] = [
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "adapter_config.json",
    "model.safetensors.index.json",
];

/// The files that are wanted among those that there are. Shards are not in it: see [`index_in`].
///
/// # Errors
/// What is wanted is not there, or there is more than one of it.
pub fn select(repo: &Repo, wanted: &Wanted, paths: &BTreeSet<String>) -> Result<Vec<String>> {
    let there =
        |names: &[&str]| names.iter().filter(|n| paths.contains(**n)).map(|n| n.to_string()).collect();
    let first =
        |names: &[&str]| names.iter().find(|name| paths.contains(**name)).map(|name| name.to_string());
    let nothing = |what| {
        let files = paths.iter().filter(|path| !path.starts_with('.')).cloned().collect();
        Error::NothingWanted { repo: repo.clone(), what, files }
    };
    match wanted {
        Wanted::File(path) if paths.contains(path) => Ok(vec![path.clone()]),
        Wanted::File(pattern) if !matching(pattern, paths).is_empty() => Ok(matching(pattern, paths)),
        Wanted::File(path) => Err(Error::EntryNotFound { repo: repo.clone(), path: path.clone() }),
        Wanted::Tokenizer => {
            let files: Vec<String> = there(&COMPANIONS);
            if files.is_empty() { Err(nothing("tokenizer")) } else { Ok(files) }
        }
        Wanted::Config if !paths.contains("config.json") => Err(nothing("config.json")),
        Wanted::Config => Ok(there(&COMPANIONS)),
        Wanted::Model => {
            let mut files: Vec<String> = there(&COMPANIONS);
            let weights = first(&WEIGHTS).ok_or_else(|| {
                nothing("weights of its own (model.safetensors or pytorch_model.bin, whole or in shards)")
            })?;
            if !paths.contains("config.json") {
                return Err(nothing("config.json"));
            }
            files.push(weights);
            Ok(files)
        }
        Wanted::Adapter => {
            let weights = first(&ADAPTER_WEIGHTS).filter(|_| paths.contains("adapter_config.json"));
            let weights = weights.ok_or_else(|| nothing("adapter in PEFT's format"))?;
            let mut files: Vec<String> = there(&["adapter_config.json", "template.json"]);
            files.push(weights);
            Ok(files)
        }
        Wanted::DataFile => match &data_files(paths)[..] {
            [] => Err(nothing("data file (JSON, JSONL or Parquet, also .gz or .zst)")),
            [file] => Ok(vec![file.clone()]),
            files if pattern(files).is_some() => Ok(files.to_vec()),
            files => Err(Error::SeveralDataFiles { repo: repo.clone(), files: files.to_vec() }),
        },
    }
}

/// The weights that [`Wanted::Model`] would take, shards in place of their index by the names that transformers
/// gives them.
pub fn weights<'a>(paths: impl Iterator<Item = &'a String> + Clone) -> impl Iterator<Item = &'a String> {
    let kinds = [("model", ".safetensors"), ("pytorch_model", ".bin")];
    let is = |path: &str, (stem, end): (&str, &str)| {
        let middle = path.strip_prefix(stem).and_then(|rest| rest.strip_suffix(end));
        middle.is_some_and(|middle| middle.is_empty() || (middle.starts_with('-') && middle.contains("-of-")))
    };
    let kind = kinds.into_iter().find(|&kind| paths.clone().any(|path| is(path, kind)));
    paths.filter(move |path| kind.is_some_and(|kind| is(path, kind)))
}

/// The index of shards among selected files.
pub fn index_in(files: &[String]) -> Option<&String> {
    files.iter().find(|file| file.ends_with(".index.json"))
}

/// The shards that an index names.
///
/// # Errors
/// Why it is no index.
pub fn shards(index: &[u8]) -> Result<BTreeSet<String>, String> {
    let json: serde_json::Value = serde_json::from_slice(index).map_err(|e| e.to_string())?;
    let map = json["weight_map"].as_object().ok_or("it has no `weight_map`")?;
    let names = map.values().map(|name| name.as_str().map(str::to_string).ok_or("a shard's name is no text"));
    Ok(names.collect::<Result<_, _>>()?)
}

/// The files with the training examples, by the conventions of the `datasets` library: those in `data/` if there
/// are any, those with `train` in their name or folder, Parquet before JSONL where both hold the same.
pub fn data_files(paths: &BTreeSet<String>) -> Vec<String> {
    let mut files: Vec<&String> = paths.iter().filter(|path| is_data(path)).collect();
    for narrower in [
        |path: &str| path.starts_with("data/"),
        |path: &str| has_word(path, &["train"]),
        |path: &str| !has_word(path, &["test", "validation", "valid", "val", "dev", "eval"]),
    ] {
        let some: Vec<&String> = files.iter().copied().filter(|path| narrower(path)).collect();
        if !some.is_empty() {
            files = some;
        }
    }
    let mut by_stem: BTreeMap<&str, &String> = BTreeMap::new();
    for file in files {
        let better = |old: &&String| rank(file) < rank(old);
        let stem = stem(file);
        if by_stem.get(stem).is_none_or(better) {
            by_stem.insert(stem, file);
        }
    }
    by_stem.into_values().cloned().collect()
}

/// Files that match a pattern. A `*` does not reach into folders.
fn matching(pattern: &str, paths: &BTreeSet<String>) -> Vec<String> {
    let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
    let Some(pattern) = glob::Pattern::new(pattern).ok().filter(|pattern| pattern.as_str().contains('*'))
    else {
        return Vec::new();
    };
    paths.iter().filter(|path| pattern.matches_with(path, options)).cloned().collect()
}

/// What stands for all parts that one file was cut into, by the names that the `datasets` library gives them
/// (`train-00000-of-00002.parquet`, `train-00000-of-00002-0123abcd.parquet`). `None`: that is not what they are, or one is missing.
pub fn pattern(files: &[String]) -> Option<String> {
    struct Part<'a> {
        stem: &'a str,
        number: usize,
        count: &'a str,
        ending: &'a str,
    }
    fn part(file: &str) -> Option<Part<'_>> {
        let (whole, ending) = file.split_at(stem(file).len());
        let (before, after) = whole.rsplit_once("-of-")?;
        let (stem, number) = before.rsplit_once('-')?;
        let count = after.split('-').next()?;
        Some(Part { stem, number: number.parse().ok()?, count, ending })
    }
    let parts: Vec<Part<'_>> = files.iter().map(|file| part(file)).collect::<Option<_>>()?;
    let first = parts.first()?;
    let one = parts.iter().all(|p| (p.stem, p.count, p.ending) == (first.stem, first.count, first.ending));
    let numbers: BTreeSet<usize> = parts.iter().map(|part| part.number).collect();
    let whole =
        first.count.parse().is_ok_and(|count: usize| numbers == (0..count).collect() && count == parts.len());
    let Part { stem, count, ending, .. } = first;
    (one && whole).then(|| format!("{stem}-*-of-{count}*{ending}"))
}

const ENDINGS: [&str; 4] = [".parquet", ".jsonl", ".ndjson", ".json"];

fn is_data(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let described =
        ["dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "package.json"];
    let hidden = path.split('/').any(|part| part.starts_with('.'));
    let about = described.contains(&name) || (name.ends_with(".json") && name.contains("config"));
    !hidden && !about && stem(path) != path
}

/// Without the ending that says how the examples are written.
fn stem(path: &str) -> &str {
    let plain = [".gz", ".zst"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
    ENDINGS.iter().find_map(|end| plain.strip_suffix(end)).unwrap_or(path)
}

/// The place in [`ENDINGS`].
fn rank(path: &str) -> usize {
    ENDINGS.iter().position(|end| path[stem(path).len()..].starts_with(end)).unwrap_or(ENDINGS.len())
}

/// Whether one of the words stands alone in a path: `train-00000.json`, `train/x.json`, but not `trained.json`.
fn has_word(path: &str, words: &[&str]) -> bool {
    let lower = stem(path).to_lowercase();
    lower.split(|c: char| !c.is_alphabetic()).any(|part| words.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Kind;

    fn paths(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn selected(wanted: &Wanted, names: &[&str]) -> Result<Vec<String>> {
        select(&Repo::parse("a/b", Kind::Model).unwrap().0, wanted, &paths(names))
    }

    #[test]
    fn only_one_framework_s_weights_are_wanted() {
        let all = [
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "tf_model.h5",
            "model.safetensors",
            "model.gguf",
            "pytorch_model.bin",
            "tokenizer.model",
            "modeling_x.py",
            ".gitattributes",
            "onnx/model.onnx",
        ];
        let expected = ["config.json", "tokenizer.model", "model.safetensors"];
        assert_eq!(selected(&Wanted::Model, &all).unwrap(), expected);
        // open_llama_3b as published
        let old = ["config.json", "pytorch_model.bin", "tokenizer.model", "special_tokens_map.json"];
        let files = selected(&Wanted::Model, &old).unwrap();
        assert_eq!(files.last().unwrap(), "pytorch_model.bin");
        assert_eq!(selected(&Wanted::Tokenizer, &all).unwrap(), ["config.json", "tokenizer.model"]);
    }

    #[test]
    fn an_index_stands_for_its_shards() {
        let names =
            ["config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "x.bin"];
        let files = selected(&Wanted::Model, &names).unwrap();
        assert_eq!(index_in(&files).unwrap(), "model.safetensors.index.json");
        let index = br#"{"weight_map": {"a": "s1", "b": "s2", "c": "s1"}}"#;
        assert_eq!(shards(index).unwrap(), paths(&["s1", "s2"]));
        assert!(shards(b"{}").is_err() && shards(b"<html>").is_err());
    }

    #[test]
    fn weights_are_known_by_name() {
        let found = |names: &[&str]| weights(paths(names).iter()).cloned().collect::<Vec<_>>();
        let sharded = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let more =
            ["model.safetensors.index.json", "pytorch_model.bin", "config.json", "model-tiny.safetensors"];
        assert_eq!(found(&[&sharded[..], &more].concat()), sharded);
        assert_eq!(found(&["pytorch_model.bin", "training_args.bin"]), ["pytorch_model.bin"]);
        assert!(found(&["x.gguf"]).is_empty());
        assert!(selected(&Wanted::Config, &["tokenizer.json"]).is_err());
    }

    #[test]
    fn the_parts_of_one_file_have_a_pattern() {
        let of = |names: &[&str]| pattern(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        let parts = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];
        assert_eq!(of(&parts).unwrap(), "data/train-*-of-00002*.parquet");
        assert_eq!(
            of(&["a-00000-of-00002-x.json", "a-00001-of-00002-y.json"]).unwrap(),
            "a-*-of-00002*.json"
        );
        assert_eq!(of(&["en.jsonl", "ru.jsonl"]), None);
        assert_eq!(of(&parts[1..]), None, "one is missing");
        assert_eq!(of(&[parts[0], "data/sft-00001-of-00002.parquet"]), None, "two splits");
        let wanted = |path: &str| selected(&Wanted::File(path.into()), &parts);
        assert_eq!(wanted(&of(&parts).unwrap()).unwrap(), parts);
        assert_eq!(wanted(parts[0]).unwrap(), parts[..1]);
        assert!(wanted("*.parquet").is_err(), "a star does not reach into folders");
        assert_eq!(selected(&Wanted::DataFile, &parts).unwrap(), parts);
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let error = selected(&Wanted::Model, &["model.q4.gguf", "README.md"]).unwrap_err();
        assert!(error.to_string().contains("weights") && error.hint().unwrap().contains("model.q4.gguf"));
        assert!(selected(&Wanted::Adapter, &["config.json", "model.safetensors"]).is_err());
        assert!(selected(&Wanted::File("x.gguf".into()), &["y.gguf"]).is_err());
    }

    #[test]
    fn the_training_file_is_found_by_convention() {
        let found = |names: &[&str]| data_files(&paths(names));
        assert_eq!(found(&["README.md", "alpaca_data_cleaned.json"]), ["alpaca_data_cleaned.json"]);
        let ours = ["README.md", "data/train.parquet", "data/train.jsonl", "data/test.parquet"];
        assert_eq!(found(&ours), ["data/train.parquet"]);
        assert_eq!(found(&["data/train-00000-of-00001-ab.parquet", "x.json"]).len(), 1);
        assert_eq!(found(&["a.json", "dataset_infos.json", "training_config.json", ".x/a.json"]), ["a.json"]);
        assert_eq!(found(&["val.jsonl.gz", "trained.jsonl.gz"]), ["trained.jsonl.gz"]);
        assert_eq!(found(&["en.jsonl", "ru.jsonl"]), ["en.jsonl", "ru.jsonl"]);
        assert_eq!(found(&["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]).len(), 2);
        assert!(found(&["README.md", "train.csv"]).is_empty());
    }
}
