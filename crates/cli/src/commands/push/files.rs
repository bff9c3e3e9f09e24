//! Which files of a folder are the result, and which stay here.

use crate::report::Failure;
use std::fs;
use std::path::{Path, PathBuf};
use tolmach_hub::{Kind, PushFile, Source};
use tolmach_tokenize::TOKENIZER_FILES;

/// What a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    DataSet,
    Adapter,
    Model,
    Gguf,
}

impl What {
    pub fn kind(self) -> Kind {
        if self == What::DataSet { Kind::DataSet } else { Kind::Model }
    }

    pub fn title(self) -> &'static str {
        match self {
            What::DataSet => "data set",
            What::Adapter => "adapter",
            What::Model => "model",
            What::Gguf => "gguf",
        }
    }

    pub fn title_in_commit(self) -> &'static str {
        match self {
            What::DataSet => "Data set",
            What::Adapter => "Adapter",
            What::Model => "Model",
            What::Gguf => "GGUF",
        }
    }

    /// Whether a file is a part of the result. A list of what goes up, not of what stays: a file that nobody
    /// thought of stays.
    fn wants(self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let upper = name.to_uppercase();
        if path == name && (name == CARD || upper.starts_with("LICENSE") || upper.starts_with("NOTICE")) {
            return true;
        }
        let ends = |endings: &[&str]| endings.iter().any(|end| name.ends_with(end));
        match self {
            What::DataSet => {
                let plain = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
                let is_data = [".parquet", ".jsonl", ".json"].iter().any(|end| plain.ends_with(end));
                is_data && (path.starts_with("data/") || path == name)
            }
            _ if path != name => false,
            What::Adapter => {
                ["adapter_config.json", "adapter_model.safetensors"].contains(&name) || is_beside(name)
            }
            What::Model => {
                let weights = name.starts_with("model") && ends(&[".safetensors", ".safetensors.index.json"]);
                weights || ["config.json", "generation_config.json"].contains(&name) || is_beside(name)
            }
            What::Gguf => ends(&[".gguf", ".gguf.certificate.json"]),
        }
    }
}

pub const CARD: &str = "README.md";

/// What goes with weights of any kind.
fn is_beside(name: &str) -> bool {
    TOKENIZER_FILES.contains(&name) || ["template.json", "certificate.json", "card.json"].contains(&name)
}

/// A file to be sent.
pub struct File {
    /// In the repository.
    pub path: String,
    pub content: Content,
}

pub enum Content {
    /// As it lies here.
    Here(PathBuf, u64),
    Made(String),
}

impl File {
    pub fn bytes(&self) -> u64 {
        match &self.content {
            Content::Here(_, bytes) => *bytes,
            Content::Made(text) => text.len() as u64,
        }
    }

    pub fn for_hub(&self) -> PushFile {
        let source = match &self.content {
            Content::Here(path, _) => Source::File(path.clone()),
            Content::Made(text) => Source::Bytes(text.clone().into()),
        };
        PushFile { path: self.path.clone(), source }
    }
}

/// What is sent and what is not.
pub struct Plan {
    pub folder: PathBuf,
    pub what: What,
    pub files: Vec<File>,
    pub left_out: Vec<String>,
}

/// Larger files are weights or data, and are not searched for secrets.
const SEARCHED_BYTES: u64 = 4 << 20;

impl Plan {
    /// # Errors
    /// There is nothing that could be pushed, or a file to be included is not there.
    pub fn of(place: &Path, include: &[String]) -> Result<Self, Failure> {
        let missing = || Failure::input(format!("there is no {}", place.display()));
        let metadata = fs::metadata(place).map_err(|_| missing())?;
        let (folder, only) = match metadata.is_dir() {
            true => (place.to_path_buf(), None),
            false => {
                let name = place.file_name().and_then(|name| name.to_str()).ok_or_else(missing)?;
                (place.parent().unwrap_or(Path::new("")).to_path_buf(), Some(name.to_string()))
            }
        };
        let all = files_below(&folder)?;
        let what = match &only {
            Some(name) if name.ends_with(".gguf") => What::Gguf,
            Some(name) => {
                return Err(Failure::usage(format!("{name} is no GGUF file")).hint("push its folder instead"));
            }
            None => what_is(&all).ok_or_else(|| {
                Failure::usage(format!("{} holds no data set, adapter or model", place.display())).hint(
                    "push what `tolmach dataset`, `train`, `merge` or `export` wrote; a data set has a README.md",
                )
            })?,
        };
        let own_file = |path: &str| {
            only.as_ref().is_none_or(|name| {
                path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest == ".certificate.json")
            })
        };
        if let Some(name) = include.iter().find(|name| !all.iter().any(|(path, _)| path == *name)) {
            return Err(Failure::input(format!("--include {name}: {} has no such file", folder.display())));
        }
        let (mut files, mut left_out) = (Vec::new(), Vec::new());
        for (path, bytes) in all {
            let named = include.contains(&path);
            if named || (what.wants(&path) && own_file(&path)) {
                let content = Content::Here(folder.join(&path), bytes);
                files.push(File { path, content });
            } else if only.is_none() {
                left_out.push(path);
            }
        }
        Ok(Self { folder, what, files, left_out })
    }

    /// The text of a file that is to be sent.
    pub fn text(&self, path: &str) -> Option<String> {
        match &self.files.iter().find(|file| file.path == path)?.content {
            Content::Here(path, _) => fs::read_to_string(path).ok(),
            Content::Made(text) => Some(text.clone()),
        }
    }

    /// Nothing that goes up may hold the token, or what looks like one of the Hub's.
    ///
    /// # Errors
    /// It does; the message names the file.
    pub fn refuse_secret(&self, token: Option<&str>) -> Result<(), Failure> {
        for file in self.files.iter().filter(|file| file.bytes() <= SEARCHED_BYTES) {
            let bytes = match &file.content {
                Content::Here(path, _) => fs::read(path)?,
                Content::Made(text) => text.clone().into_bytes(),
            };
            let holds = |token: &str| bytes.windows(token.len()).any(|part| part == token.as_bytes());
            if token.is_some_and(holds) || holds_token(&bytes) {
                return Err(Failure::input(format!("{} holds an access token; nothing was sent", file.path))
                    .hint("take it out of the file; if it was ever published, revoke it"));
            }
        }
        Ok(())
    }
}

/// `hf_` and thirty or more letters and digits.
fn holds_token(bytes: &[u8]) -> bool {
    let starts = bytes.windows(3).enumerate().filter(|(_, part)| *part == b"hf_").map(|(at, _)| at + 3);
    starts.into_iter().any(|at| bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric()).count() >= 30)
}

fn what_is(all: &[(String, u64)]) -> Option<What> {
    let has = |name: &str| all.iter().any(|(path, _)| path == name);
    let any = |test: &dyn Fn(&str) -> bool| all.iter().any(|(path, _)| test(path));
    if has("adapter_config.json") {
        Some(What::Adapter)
    } else if has("config.json") && any(&|path| What::Model.wants(path) && path.contains(".safetensors")) {
        Some(What::Model)
    } else if has(CARD) && any(&|path| path != CARD && What::DataSet.wants(path)) {
        Some(What::DataSet)
    } else if any(&|path| path.ends_with(".gguf")) {
        Some(What::Gguf)
    } else {
        None
    }
}

/// Every file by its path with `/` and its size; hidden ones and links to folders are not looked at.
fn files_below(folder: &Path) -> Result<Vec<(String, u64)>, Failure> {
    let mut files = Vec::new();
    let mut open = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        let failed = |e: std::io::Error| Failure::input(format!("cannot read {}: {e}", shown.display()));
        for entry in fs::read_dir(shown).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let metadata = fs::metadata(entry.path()).map_err(failed)?;
            if metadata.is_file() {
                files.push((format!("{prefix}{name}"), metadata.len()));
            } else if entry.file_type().map_err(failed)?.is_dir() {
                open.push((entry.path(), format!("{prefix}{name}/")));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_result_goes_up() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "adapter_config.json",
            "adapter_model.safetensors",
            "README.md",
            "template.json",
            "metrics.jsonl",
            "training-state.safetensors",
            ".env",
            "token",
            "journal.sqlite",
            "notes.txt",
        ] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let plan = Plan::of(dir.path(), &[]).unwrap();
        assert_eq!(plan.what, What::Adapter);
        let paths: Vec<&str> = plan.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["README.md", "adapter_config.json", "adapter_model.safetensors", "template.json"]);
        let left = ["journal.sqlite", "metrics.jsonl", "notes.txt", "token", "training-state.safetensors"];
        assert_eq!(plan.left_out, left);
        let more = Plan::of(dir.path(), &["metrics.jsonl".into()]).unwrap();
        assert!(more.files.iter().any(|file| file.path == "metrics.jsonl"));
        assert!(Plan::of(dir.path(), &["other".into()]).is_err());
    }

    #[test]
    fn a_token_goes_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("README.md"), "---\n---\nhf_transfer is a package").unwrap();
        fs::write(dir.path().join("data/train.jsonl"), "{}").unwrap();
        let plan = Plan::of(dir.path(), &[]).unwrap();
        assert_eq!(plan.what, What::DataSet);
        plan.refuse_secret(Some("my-own-token")).unwrap();
        fs::write(dir.path().join("data/train.jsonl"), "{\"a\": \"my-own-token\"}").unwrap();
        assert!(
            plan.refuse_secret(Some("my-own-token")).unwrap_err().to_string().contains("data/train.jsonl")
        );
        fs::write(dir.path().join("data/train.jsonl"), format!("hf_{}", "aB3".repeat(11))).unwrap();
        assert!(plan.refuse_secret(None).is_err());
    }
}
