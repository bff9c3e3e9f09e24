//! One file into the cache: resumed where it was cut off, verified, and only then given its name.

use crate::cache::RepoCache;
use crate::digest::{Digest, Hasher, digest_of};
use crate::error::{Error, Result};
use crate::http::{ATTEMPTS, Client, Request, back_off, unreachable};
use crate::progress::Progress;
use crate::repo::Repo;
use crate::tree::Entry;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Method, StatusCode};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Up to here a cached file is hashed whenever it is used; larger ones are looked at by their size (see
/// `Hub::verify_cache`).
const HASHED_ON_USE: u64 = 1 << 20;

/// Where one file comes from and goes to.
pub struct Download {
    pub client: Arc<Client>,
    pub cache: RepoCache,
    pub repo: Repo,
    pub commit: String,
    pub path: String,
    pub entry: Entry,
    pub progress: Arc<dyn Progress>,
}

/// Whether a cached file can be what its entry says.
pub fn is_intact(path: &Path, entry: &Entry) -> bool {
    let Ok(file) = File::open(path) else { return false };
    if !file.metadata().is_ok_and(|m| m.is_file() && m.len() == entry.size) {
        return false;
    }
    match Digest::of_etag(entry.etag()) {
        Some(digest) if entry.size <= HASHED_ON_USE => {
            digest_of(file, digest, entry.size).is_ok_and(|hash| hash == entry.etag())
        }
        _ => true,
    }
}

impl Download {
    /// Fetch the blob if it is not there, and link it into the snapshot.
    pub async fn run(self) -> Result<()> {
        let etag = self.entry.etag();
        let blob = self.cache.blob(etag);
        let _lock = self.cache.lock(etag, &self.path, &self.progress).await?;
        if blob.exists() && !is_intact(&blob, &self.entry) {
            self.progress.note(&format!("{} in the cache is damaged: fetching it anew", self.path));
            fs::remove_file(&blob).map_err(Error::io(&blob))?;
        }
        if blob.exists() {
            // Another program, or another repository's file with the same content, was quicker.
            self.progress.advance(self.entry.size.cast_signed());
        } else {
            self.fetch(&blob).await?;
        }
        self.cache.link(&self.commit, &self.path, etag)
    }

    /// Until the content is what its name promises; once more from the beginning where it is not.
    async fn fetch(&self, blob: &Path) -> Result<()> {
        let incomplete = self.cache.incomplete(self.entry.etag());
        for attempt in 0.. {
            let mut part = Part::open(incomplete.clone(), &self.entry)?;
            self.progress.advance(part.have.cast_signed());
            self.fill(&mut part).await?;
            let (promised, found) = part.finish(&self.entry)?;
            if promised == found {
                break;
            }
            fs::remove_file(&incomplete).map_err(Error::io(&incomplete))?;
            if attempt > 0 {
                let (repo, file) = (Box::new(self.repo.clone()), self.path.clone());
                return Err(Error::Damaged { repo, file, expected: promised, found });
            }
            self.progress.note(&format!("{} arrived damaged: fetching it anew", self.path));
            self.progress.advance(-self.entry.size.cast_signed());
        }
        fs::rename(&incomplete, blob).map_err(Error::io(blob))
    }

    /// Until all bytes are there: a connection that is cut is opened anew at the byte where it was cut.
    async fn fill(&self, part: &mut Part) -> Result<()> {
        let mut fruitless = 0;
        while part.have < self.entry.size {
            let before = part.have;
            let Err(error) = self.fill_once(part).await else { continue };
            fruitless = if part.have > before { 1 } else { fruitless + 1 };
            if !matches!(error, Error::Unreachable { .. }) || fruitless >= ATTEMPTS {
                return Err(error);
            }
            let wait = back_off(fruitless);
            self.progress.note(&format!("{error}; going on in {:.1} s", wait.as_secs_f64()));
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    async fn fill_once(&self, part: &mut Part) -> Result<()> {
        let url = self.client.resolve(&self.repo, &self.commit, &self.path);
        let mut request = Request::new(Method::GET, url.clone()).about(&self.repo);
        request.headers = self.range(part.have);
        let mut answer = self.client.send(&request, &self.progress).await?;
        match answer.response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&answer.headers, part.have) => {}
            // The server ignores ranges, or the content is another one now.
            StatusCode::OK => {
                self.progress.advance(-part.have.cast_signed());
                part.restart(&self.entry)?;
            }
            status => {
                let reason = format!("{status} to a request for the bytes from {}", part.have);
                return Err(Error::Protocol { address: crate::http::address(&url), reason });
            }
        }
        while let Some(bytes) = answer.response.chunk().await.map_err(|e| unreachable(&url, e))? {
            if part.have + bytes.len() as u64 > self.entry.size {
                let reason = format!("{} is longer than the {} bytes listed", self.path, self.entry.size);
                return Err(Error::Protocol { address: crate::http::address(&url), reason });
            }
            part.push(&bytes)?;
            self.progress.advance(bytes.len() as i64);
        }
        if part.have < self.entry.size {
            let reason = format!("the connection ended after {} of {} bytes", part.have, self.entry.size);
            return Err(Error::Unreachable { address: crate::http::address(&url), reason });
        }
        Ok(())
    }

    fn range(&self, have: u64) -> HeaderMap {
        // Compressed, it would be neither as long nor as hashed.
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        if have > 0 {
            let etag = format!("\"{}\"", self.entry.etag());
            for (name, value) in [(RANGE, format!("bytes={have}-")), (IF_RANGE, etag)] {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers.insert(name, value);
                }
            }
        }
        headers
    }
}

/// `Content-Range: bytes 100-199/200` starts at 100.
fn starts_at(headers: &HeaderMap, have: u64) -> bool {
    let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
    start == Some(have)
}

/// What has arrived of a file.
struct Part {
    path: PathBuf,
    file: File,
    /// `None`: the tag is none of a hash.
    hasher: Option<Hasher>,
    have: u64,
}

impl Part {
    /// Go on with what an earlier attempt left.
    fn open(path: PathBuf, entry: &Entry) -> Result<Self> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(Error::io(&path))?;
        let hasher = hasher(entry);
        let mut part = Self { path, file, hasher, have: 0 };
        if part.file.metadata().map_err(Error::io(&part.path))?.len() > entry.size {
            part.restart(entry)?;
            return Ok(part);
        }
        let mut buffer = vec![0; 1 << 18];
        loop {
            let read = part.file.read(&mut buffer).map_err(Error::io(&part.path))?;
            if read == 0 {
                return Ok(part);
            }
            part.count(&buffer[..read]);
        }
    }

    fn restart(&mut self, entry: &Entry) -> Result<()> {
        self.hasher = hasher(entry);
        self.have = 0;
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(drop).map_err(Error::io(&self.path))
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io(&self.path))?;
        self.count(bytes);
        Ok(())
    }

    fn count(&mut self, bytes: &[u8]) {
        self.have += bytes.len() as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
    }

    /// What was promised, and what came.
    fn finish(self, entry: &Entry) -> Result<(String, String)> {
        self.file.sync_all().map_err(Error::io(&self.path))?;
        let promised = entry.etag().to_string();
        let found = self.hasher.map_or_else(|| promised.clone(), Hasher::finish);
        Ok((promised, found))
    }
}

fn hasher(entry: &Entry) -> Option<Hasher> {
    Digest::of_etag(entry.etag()).map(|digest| digest.start(entry.size))
}
