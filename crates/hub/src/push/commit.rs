//! How each file is to travel, and the commit that makes them visible.

use super::{Push, Ready};
use crate::error::{Error, Result};
use crate::http::{Client, Payload, Request, address};
use crate::progress::Progress;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

/// As many as the Hub takes in one question.
const FILES_PER_QUESTION: usize = 256;
/// The Hub judges by the beginning whether a file is text.
const SAMPLE_BYTES: u64 = 512;

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The repository has it just so.
    Unchanged,
    /// Within the commit.
    Small,
    /// To the storage first.
    Large,
}

/// Ask how each file is to travel.
pub async fn modes(
    client: &Client,
    push: &Push,
    files: &[Ready<'_>],
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Mode>> {
    let url = client.api(push.repo.kind, &push.repo.id, &["preupload", &push.repo.revision]);
    let mut modes = Vec::new();
    for files in files.chunks(FILES_PER_QUESTION) {
        let question = files.iter().map(describe).collect::<Result<Vec<Value>>>()?;
        let request = Request::new(Method::POST, url.clone()).about(&push.repo).writing();
        let (_, answer) = client.json(&request.json(&json!({"files": question})), progress).await?;
        let answers = answer["files"].as_array().map(Vec::as_slice).unwrap_or_default();
        let answers: HashMap<&str, &Value> =
            answers.iter().filter_map(|answer| Some((answer["path"].as_str()?, answer))).collect();
        for file in files {
            let answer = answers.get(file.file.path.as_str()).copied().unwrap_or(&Value::Null);
            modes.push(mode(file, answer).ok_or_else(|| Error::Protocol {
                address: address(&url),
                reason: format!("it does not say how {} is to be sent", file.file.path),
            })?);
        }
    }
    Ok(modes)
}

fn describe(file: &Ready<'_>) -> Result<Value> {
    let (reader, size) = file.file.source.open()?;
    let mut sample = Vec::new();
    reader.take(SAMPLE_BYTES).read_to_end(&mut sample).map_err(Error::io(&file.file.path))?;
    Ok(json!({"path": file.file.path, "size": size, "sample": STANDARD.encode(sample)}))
}

fn mode(file: &Ready<'_>, answer: &Value) -> Option<Mode> {
    // Git's hash of a small file, SHA-256 of a large one.
    let remote = answer["oid"].as_str();
    if remote.is_some_and(|oid| oid == file.git_blob || oid == file.sha256) {
        return Some(Mode::Unchanged);
    }
    match answer["uploadMode"].as_str()? {
        "regular" => Some(Mode::Small),
        // The storage takes no empty objects.
        "lfs" if file.size == 0 => Some(Mode::Small),
        "lfs" => Some(Mode::Large),
        _ => None,
    }
}

/// Commit; its hash. Sent once only: whether a commit whose answer was lost was made, nobody knows.
pub async fn commit(
    client: &Client,
    push: &Push,
    small: &[&Ready<'_>],
    large: &[&Ready<'_>],
    progress: &Arc<dyn Progress>,
) -> Result<String> {
    let mut lines = line("header", &json!({"summary": push.summary, "description": ""}));
    for ready in small {
        let content = ready.file.source.read()?;
        // What was hashed is what is sent.
        if content.len() as u64 != ready.size {
            return Err(Error::Changed { path: (&ready.file.path).into() });
        }
        let content = STANDARD.encode(content);
        lines += &line("file", &json!({"path": ready.file.path, "encoding": "base64", "content": content}));
    }
    for ready in large {
        let object =
            json!({"path": ready.file.path, "algo": "sha256", "oid": ready.sha256, "size": ready.size});
        lines += &line("lfsFile", &object);
    }
    let url = client.api(push.repo.kind, &push.repo.id, &["commit", &push.repo.revision]);
    let request = Request::new(Method::POST, url).about(&push.repo).writing().attempts(1);
    let request = request.header(CONTENT_TYPE, "application/x-ndjson").body(Payload::Bytes(lines.into()));
    let (_, answer) = client.json(&request, progress).await?;
    answer["commitOid"]
        .as_str()
        .map(str::to_string)
        .ok_or_else(|| Error::Protocol { address: address(&request.url), reason: "no `commitOid`".into() })
}

fn line(key: &str, value: &Value) -> String {
    json!({"key": key, "value": value}).to_string() + "\n"
}
