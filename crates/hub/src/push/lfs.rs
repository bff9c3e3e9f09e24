//! Large files to the storage, by the protocol of Git LFS with the Hub's own transfer in parts.
//!
//! <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>

use super::{Push, Ready, Source};
use crate::error::{Error, Result};
use crate::http::{Client, Payload, Request, address};
use crate::progress::Progress;
use crate::repo::Kind;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

const LFS_JSON: &str = "application/vnd.git-lfs+json";
/// Objects in one question.
const OBJECTS_PER_BATCH: usize = 100;
/// Bytes read from the disk at a time.
const BLOCK: usize = 1 << 18;

/// Send what the storage lacks; how many bytes that were.
pub async fn upload(
    client: &Client,
    push: &Push,
    files: &[&Ready<'_>],
    progress: &Arc<dyn Progress>,
) -> Result<u64> {
    let mut work = Vec::new();
    for files in files.chunks(OBJECTS_PER_BATCH) {
        work.extend(batch(client, push, files, progress).await?);
    }
    let bytes = work.iter().map(|(file, _)| file.size).sum();
    progress.begin(work.len(), bytes, 0);
    for (file, actions) in &work {
        send(client, file, actions, progress).await?;
    }
    Ok(bytes)
}

/// Ask what to do with each object; those that the storage has are left out.
async fn batch<'f, 'a>(
    client: &Client,
    push: &Push,
    files: &[&'f Ready<'a>],
    progress: &Arc<dyn Progress>,
) -> Result<Vec<(&'f Ready<'a>, Value)>> {
    let (org, name) = push.repo.id.split_once('/').unwrap_or_default();
    let kind = (push.repo.kind == Kind::DataSet).then_some("datasets");
    let name = format!("{name}.git");
    let path = kind.into_iter().chain([org, &name, "info", "lfs", "objects", "batch"]);
    let url = client.below(path);
    let objects: Vec<Value> = files.iter().map(|f| json!({"oid": f.sha256, "size": f.size})).collect();
    let question = json!({
        "operation": "upload", "transfers": ["basic", "multipart"], "objects": objects,
        "hash_algo": "sha256", "ref": {"name": push.repo.revision},
    });
    let request = Request::new(Method::POST, url).writing().json(&question);
    let request = request.header(ACCEPT, LFS_JSON).header(CONTENT_TYPE, LFS_JSON);
    let (_, answer) = client.json(&request, progress).await?;
    let bad = |reason: String| Error::Protocol { address: address(&request.url), reason };
    let answers = answer["objects"].as_array().ok_or_else(|| bad("no `objects`".into()))?;
    let mut work = Vec::new();
    for file in files {
        let answer = answers.iter().find(|answer| answer["oid"] == json!(file.sha256));
        let answer = answer.ok_or_else(|| bad(format!("nothing about {}", file.file.path)))?;
        if let Some(message) = answer["error"]["message"].as_str() {
            let status = answer["error"]["code"].as_u64().and_then(|code| u16::try_from(code).ok());
            let message = format!("{}: {message}", file.file.path);
            return Err(Error::Refused {
                address: address(&request.url),
                status: status.unwrap_or(0),
                message,
            });
        }
        if !answer["actions"]["upload"].is_null() {
            work.push((*file, answer["actions"].clone()));
        }
    }
    Ok(work)
}

/// One object, whole or in parts; then let the Hub check it if it wants to.
async fn send(
    client: &Client,
    file: &Ready<'_>,
    actions: &Value,
    progress: &Arc<dyn Progress>,
) -> Result<()> {
    let upload = &actions["upload"];
    let target = href(client, upload)?;
    match part_size(&upload["header"]["chunk_size"]) {
        None => drop(put(client, file, &target, 0..file.size, progress).await?),
        Some(0) => return Err(bad_action(client, "parts of no bytes")),
        Some(size) => {
            let parts = part_urls(client, &upload["header"])?;
            if parts.len() as u64 != file.size.div_ceil(size) {
                return Err(bad_action(client, "another number of parts than the file has"));
            }
            let mut done = Vec::new();
            for (number, (url, start)) in parts.iter().zip((0..).step_by(size as usize)).enumerate() {
                let etag = put(client, file, url, start..(start + size).min(file.size), progress).await?;
                let etag = etag.ok_or_else(|| bad_action(client, "no entity tag for a part"))?;
                done.push(json!({"partNumber": number + 1, "etag": etag}));
            }
            let request = Request::new(Method::POST, target).writing();
            let request = request.json(&json!({"oid": file.sha256, "parts": done}));
            let request = request.header(ACCEPT, LFS_JSON).header(CONTENT_TYPE, LFS_JSON);
            client.send(&request, progress).await?;
        }
    }
    if !actions["verify"].is_null() {
        let request = Request::new(Method::POST, href(client, &actions["verify"])?).writing();
        client.send(&request.json(&json!({"oid": file.sha256, "size": file.size})), progress).await?;
    }
    Ok(())
}

/// A number, or a number as text.
fn part_size(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn href(client: &Client, action: &Value) -> Result<Url> {
    let url = action["href"].as_str().and_then(|href| client.endpoint.join(href).ok());
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| bad_action(client, "no address to send it to"))
}

fn bad_action(client: &Client, reason: &str) -> Error {
    Error::Protocol { address: address(&client.endpoint), reason: format!("how to upload: {reason}") }
}

/// The addresses of the parts, by their numbers: `"1": "https://…"`.
fn part_urls(client: &Client, header: &Value) -> Result<Vec<Url>> {
    let header = header.as_object().ok_or_else(|| bad_action(client, "no parts"))?;
    let numbered = header.iter().filter_map(|(key, url)| Some((key.parse::<u32>().ok()?, url.as_str()?)));
    let mut numbered: Vec<(u32, &str)> = numbered.collect();
    numbered.sort_unstable();
    let urls = numbered.iter().map(|(_, url)| client.endpoint.join(url));
    urls.collect::<Result<_, _>>().map_err(|_| bad_action(client, "a part's address is none"))
}

/// PUT a range of the file; the storage's entity tag. The address is signed: no token goes along.
async fn put(
    client: &Client,
    file: &Ready<'_>,
    url: &Url,
    range: std::ops::Range<u64>,
    progress: &Arc<dyn Progress>,
) -> Result<Option<String>> {
    let source = file.file.source.clone();
    let counter = Arc::clone(progress);
    let make = move || FilePart::open(&source, range.clone(), &counter).map(reqwest::Body::wrap);
    let request = Request::new(Method::PUT, url.clone()).body(Payload::Made(Box::new(make)));
    let answer = client.send(&request, progress).await?;
    Ok(answer.headers.get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_string))
}

/// A range of a file as a request's body.
struct FilePart {
    reader: Box<dyn Read + Send + Sync>,
    left: u64,
    sent: u64,
    progress: Arc<dyn Progress>,
}

impl FilePart {
    fn open(source: &Source, range: std::ops::Range<u64>, progress: &Arc<dyn Progress>) -> Result<Self> {
        let reader: Box<dyn Read + Send + Sync> = match source {
            Source::Bytes(bytes) => {
                Box::new(io::Cursor::new(bytes.slice(range.start as usize..range.end as usize)))
            }
            Source::File(path) => {
                let mut file = File::open(path).map_err(Error::io(path))?;
                file.seek(SeekFrom::Start(range.start)).map_err(Error::io(path))?;
                Box::new(file)
            }
        };
        let left = range.end - range.start;
        Ok(Self { reader, left, sent: 0, progress: Arc::clone(progress) })
    }
}

impl Body for FilePart {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = self.left.min(BLOCK as u64) as usize;
        let mut block = vec![0; wanted];
        if let Err(e) = self.reader.read_exact(&mut block) {
            return Poll::Ready(Some(Err(e))); // shorter than when it was hashed
        }
        self.left -= wanted as u64;
        self.sent += wanted as u64;
        self.progress.advance(wanted as i64);
        Poll::Ready(Some(Ok(Frame::data(block.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// An attempt that was cut off counts for nothing.
impl Drop for FilePart {
    fn drop(&mut self) {
        if self.left > 0 {
            self.progress.advance(-self.sent.cast_signed());
        }
    }
}
