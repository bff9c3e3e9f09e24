//! Files into a repository of the Hub, as one commit:
//!
//! create the repository (and the branch) → ask how each file is to travel (`preupload`) → send large ones to the
//! storage (`lfs`) → commit, which alone makes anything visible. What the repository has already is not sent.

mod commit;
mod lfs;

use crate::Hub;
use crate::digest::{Digest, digest_of};
use crate::error::{Error, Result};
use crate::http::{Client, Request, address};
use crate::progress::Progress;
use crate::repo::{DEFAULT_REVISION, Repo};
use bytes::Bytes;
use reqwest::Method;
use serde_json::json;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// What is to be pushed, and where.
#[derive(Clone, Debug)]
pub struct Push {
    /// Its revision is the branch.
    pub repo: Repo,
    pub files: Vec<PushFile>,
    /// Make the repository private, and refuse one that is public.
    pub private: bool,
    /// First line of the commit message.
    pub summary: String,
}

#[derive(Clone, Debug)]
pub struct PushFile {
    /// Its path in the repository.
    pub path: String,
    pub source: Source,
}

/// Where a file's content is.
#[derive(Clone, Debug)]
pub enum Source {
    File(PathBuf),
    Bytes(Bytes),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushReport {
    /// Where people see it.
    pub url: String,
    /// `None`: the repository had everything already.
    pub commit: Option<String>,
    pub created: bool,
    /// Paths that the commit holds.
    pub sent: Vec<String>,
    /// Paths that the repository had just so.
    pub unchanged: Vec<String>,
    /// Bytes that went to the storage; content that it had is not sent again.
    pub uploaded_bytes: u64,
}

/// A file that is ready to be sent.
struct Ready<'a> {
    file: &'a PushFile,
    size: u64,
    sha256: String,
    git_blob: String,
}

impl Source {
    fn open(&self) -> Result<(Box<dyn Read + Send + Sync>, u64)> {
        match self {
            Source::Bytes(bytes) => Ok((Box::new(Cursor::new(bytes.clone())), bytes.len() as u64)),
            Source::File(path) => {
                let file = File::open(path).map_err(Error::io(path))?;
                let size = file.metadata().map_err(Error::io(path))?.len();
                Ok((Box::new(file), size))
            }
        }
    }

    /// All of it; for small files.
    fn read(&self) -> Result<Bytes> {
        match self {
            Source::Bytes(bytes) => Ok(bytes.clone()),
            Source::File(path) => std::fs::read(path).map(Bytes::from).map_err(Error::io(path)),
        }
    }

    fn hash(&self, digest: Digest) -> Result<(String, u64)> {
        let (reader, size) = self.open()?;
        let path = match self {
            Source::File(path) => path.clone(),
            Source::Bytes(_) => PathBuf::new(),
        };
        Ok((digest_of(reader, digest, size).map_err(Error::io(path))?, size))
    }
}

impl<'a> Ready<'a> {
    fn new(file: &'a PushFile) -> Result<Self> {
        let (sha256, size) = file.source.hash(Digest::Sha256)?;
        let (git_blob, _) = file.source.hash(Digest::GitBlob)?;
        Ok(Self { file, size, sha256, git_blob })
    }
}

impl Hub {
    /// Send the files as one commit.
    ///
    /// # Errors
    /// There is no token, or it does not allow this; the repository is public though private was asked for; the
    /// network fails. Nothing is visible before the commit, which comes last.
    pub fn push(&self, push: &Push, progress: &Arc<dyn Progress>) -> Result<PushReport> {
        if self.settings.offline {
            let what = format!("pushing to {}", push.repo);
            return Err(Error::Setup { reason: format!("HF_HUB_OFFLINE is set: no {what}") });
        }
        let report = self.runtime.block_on(send(&self.client, push, progress));
        progress.end();
        report
    }
}

async fn send(client: &Client, push: &Push, progress: &Arc<dyn Progress>) -> Result<PushReport> {
    whoami(client).await?;
    let ready = push.files.iter().map(Ready::new).collect::<Result<Vec<_>>>()?;
    let created = create(client, push, progress).await?;
    let modes = commit::modes(client, push, &ready, progress).await?;
    let (mut large, mut small, mut unchanged) = (Vec::new(), Vec::new(), Vec::new());
    for (ready, mode) in ready.iter().zip(modes) {
        match mode {
            commit::Mode::Unchanged => unchanged.push(ready.file.path.clone()),
            commit::Mode::Large => large.push(ready),
            commit::Mode::Small => small.push(ready),
        }
    }
    let kind = (push.repo.kind == crate::Kind::DataSet).then_some("datasets");
    let page = client.below(kind.into_iter().chain(push.repo.id.split('/')));
    let mut report = PushReport {
        url: page.to_string(),
        commit: None,
        created,
        sent: vec![],
        unchanged,
        uploaded_bytes: 0,
    };
    if large.is_empty() && small.is_empty() {
        return Ok(report);
    }
    report.uploaded_bytes = lfs::upload(client, push, &large, progress).await?;
    report.commit = Some(commit::commit(client, push, &small, &large, progress).await?);
    report.sent = small.iter().chain(&large).map(|ready| ready.file.path.clone()).collect();
    Ok(report)
}

/// Who the token belongs to.
pub(crate) async fn whoami(client: &Client) -> Result<String> {
    if !client.has_token() {
        return Err(Error::NoToken);
    }
    let silent: Arc<dyn Progress> = Arc::new(crate::Silent);
    let request = Request::new(Method::GET, client.below(["api", "whoami-v2"])).writing();
    let (_, answer) = client.json(&request, &silent).await?;
    answer["name"]
        .as_str()
        .map(str::to_string)
        .ok_or_else(|| Error::Protocol { address: address(&request.url), reason: "no `name`".into() })
}

/// Make the repository and the branch if they are missing; whether the repository is new.
async fn create(client: &Client, push: &Push, progress: &Arc<dyn Progress>) -> Result<bool> {
    let repo = &push.repo;
    let (organization, name) = repo.id.split_once('/').unwrap_or_default();
    let body = json!({
        "type": repo.kind.api_name(), "name": name, "organization": organization, "private": push.private,
    });
    let request = Request::new(Method::POST, client.below(["api", "repos", "create"])).writing().json(&body);
    let created = match client.send(&request, progress).await {
        Ok(_) => Ok(true),
        Err(Error::Refused { status: 409, .. }) => Ok(false),
        // Perhaps it exists, and the token may write there but not create; else this error is the answer.
        Err(error @ Error::Refused { status: 401..=403, .. }) => Err(error),
        Err(error) => return Err(error),
    };
    let about = Request::new(Method::GET, client.api(repo.kind, &repo.id, &[])).about(repo).writing();
    let (created, about) = match (created, client.json(&about, progress).await) {
        (Ok(created), about) => (created, about?.1),
        (Err(_), Ok((_, about))) => (false, about),
        (Err(error), Err(_)) => return Err(error),
    };
    if push.private && about["private"] != json!(true) {
        let message = format!("{} is public, and --private was asked for; nothing was sent", repo.id);
        return Err(Error::Refused { address: address(&client.endpoint), status: 409, message });
    }
    if repo.revision != DEFAULT_REVISION {
        let url = client.api(repo.kind, &repo.id, &["branch", &repo.revision]);
        let request = Request::new(Method::POST, url).about(repo).writing().json(&json!({}));
        match client.send(&request, progress).await {
            Ok(_) | Err(Error::Refused { status: 409, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(created)
}
