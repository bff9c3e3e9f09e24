//! Which files a commit has: the Hub's listing, and the copy of it that `huggingface_hub` keeps in the cache.

use crate::error::{Error, Result};
use crate::http::{Client, Request, address};
use crate::progress::Progress;
use crate::repo::{Repo, check_path, is_commit};
use reqwest::header::{HeaderMap, LINK};
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The version of the listing's file in the cache (`trees/<commit>.json`) that is read and written.
const FORMAT_VERSION: u64 = 1;
/// A listing that goes on and on is no listing.
const MOST_FILES: usize = 1_000_000;

/// One file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bytes of the content.
    pub size: u64,
    /// Git's name of the blob (of the pointer, for a large file).
    pub blob_id: String,
    /// SHA-256 of a large file's content.
    pub sha256: Option<String>,
    /// Its name in the Hub's other storage, kept for other readers of the cache.
    pub xet_hash: Option<String>,
}

impl Entry {
    /// The entity tag, which is the blob's name in the cache.
    pub fn etag(&self) -> &str {
        self.sha256.as_deref().unwrap_or(&self.blob_id)
    }
}

/// Files by path.
pub type Tree = BTreeMap<String, Entry>;

/// The commit that a revision is now.
pub async fn commit_of(
    client: &Client,
    repo: &Repo,
    attempts: u32,
    progress: &Arc<dyn Progress>,
) -> Result<String> {
    let url = client.api(repo.kind, &repo.id, &["revision", &repo.revision]);
    let request = Request::new(Method::GET, url).about(repo).attempts(attempts);
    let (_, answer) = client.json(&request, progress).await?;
    match answer["sha"].as_str() {
        Some(commit) if is_commit(commit) => Ok(commit.to_string()),
        _ => Err(Error::Protocol { address: address(&request.url), reason: "no commit in `sha`".into() }),
    }
}

/// Every file of a commit, page by page.
pub async fn list(client: &Client, repo: &Repo, commit: &str, progress: &Arc<dyn Progress>) -> Result<Tree> {
    let mut url = client.api(repo.kind, &repo.id, &["tree", commit]);
    url.query_pairs_mut().append_pair("recursive", "true");
    let mut tree = Tree::new();
    loop {
        let request = Request::new(Method::GET, url.clone()).about(repo);
        let (headers, page) = client.json(&request, progress).await?;
        let bad = |reason: String| Error::Protocol { address: address(&url), reason };
        let entries = page.as_array().ok_or_else(|| bad("the listing is no array".into()))?;
        for entry in entries.iter().filter(|entry| entry["type"] != "directory") {
            let (path, entry) = read_entry(entry).map_err(bad)?;
            tree.insert(path, entry);
        }
        match next_page(&headers, &url) {
            // The pages are the Hub's own: the token goes along.
            Some(next) if next.origin() == url.origin() && next != url && tree.len() < MOST_FILES => {
                url = next;
            }
            Some(_) => return Err(bad("the next page is nowhere".into())),
            None => return Ok(tree),
        }
    }
}

fn read_entry(entry: &Value) -> Result<(String, Entry), String> {
    let path = entry["path"].as_str().ok_or("a file without `path`")?;
    check_path(path)?;
    let size = entry["lfs"]["size"].as_u64().or(entry["size"].as_u64());
    let text = |value: &Value| value.as_str().map(str::to_string);
    let entry = Entry {
        size: size.ok_or_else(|| format!("{path} has no `size`"))?,
        blob_id: text(&entry["oid"])
            .filter(|id| is_file_name(id))
            .ok_or_else(|| format!("{path} has no `oid`"))?,
        sha256: text(&entry["lfs"]["oid"]).filter(|id| is_file_name(id)),
        xet_hash: text(&entry["xetHash"]),
    };
    Ok((path.to_string(), entry))
}

/// It becomes the name of a file.
fn is_file_name(id: &str) -> bool {
    (8..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// `Link: <https://…?cursor=…>; rel="next"`
fn next_page(headers: &HeaderMap, url: &Url) -> Option<Url> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let target = next.split_once('<')?.1.split_once('>')?.0;
    url.join(target).ok()
}

/// The listing in the cache, if it is there and readable.
pub fn read_cached(path: &Path) -> Option<Tree> {
    let text = std::fs::read(path).ok()?;
    let json: Value = serde_json::from_slice(&text).ok()?;
    if json["format_version"].as_u64() != Some(FORMAT_VERSION) {
        return None;
    }
    let text = |value: &Value| value.as_str().map(str::to_string);
    let mut tree = Tree::new();
    for (path, file) in json["files"].as_object()? {
        check_path(path).ok()?;
        let entry = Entry {
            size: file["lfs_size"].as_u64().or(file["size"].as_u64())?,
            blob_id: text(&file["blob_id"]).filter(|id| is_file_name(id))?,
            sha256: text(&file["lfs_sha256"]).filter(|id| is_file_name(id)),
            xet_hash: text(&file["xet_hash"]),
        };
        tree.insert(path.clone(), entry);
    }
    Some(tree)
}

/// The listing as `huggingface_hub` writes it.
pub fn to_cached(tree: &Tree) -> String {
    let mut files = Map::new();
    for (path, entry) in tree {
        let mut file = json!({"size": entry.size, "blob_id": entry.blob_id});
        if let Some(sha256) = &entry.sha256 {
            file["lfs_sha256"] = json!(sha256);
            file["lfs_size"] = json!(entry.size);
        }
        if let Some(hash) = entry.xet_hash.as_ref().filter(|hash| hash.len() == 64) {
            file["xet_hash"] = json!(hash);
        }
        files.insert(path.clone(), file);
    }
    json!({"format_version": FORMAT_VERSION, "files": files}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_survives_the_cache() {
        let (git, sha) = ("c".repeat(40), "a".repeat(64));
        let plain = json!({"type": "file", "path": "config.json", "size": 5, "oid": git});
        let large = json!({"type": "file", "path": "x/model.safetensors", "size": 9, "oid": git,
            "lfs": {"oid": sha, "size": 9, "pointerSize": 134}, "xetHash": "b".repeat(64)});
        let tree: Tree = [plain, large].iter().map(|entry| read_entry(entry).unwrap()).collect();
        assert_eq!(tree["config.json"].etag(), git);
        assert_eq!(tree["x/model.safetensors"].etag(), sha);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), to_cached(&tree)).unwrap();
        assert_eq!(read_cached(file.path()).unwrap(), tree);
    }

    #[test]
    fn a_listing_cannot_lead_out_of_the_cache() {
        let file = |path: &str, oid: &str| json!({"type": "file", "path": path, "size": 1, "oid": oid});
        for (path, oid) in [("../x", "c"), ("/etc/passwd", "c"), ("a//b", "c"), ("a", "../../x"), ("a", "")] {
            let oid = if oid == "c" { "c".repeat(40) } else { oid.to_string() };
            assert!(read_entry(&file(path, &oid)).is_err(), "{path} {oid}");
        }
    }

    #[test]
    fn the_next_page_is_in_the_link() {
        let url = Url::parse("http://h/api/models/a/b/tree/main").unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(next_page(&headers, &url), None);
        headers.insert(LINK, "<http://h/next?cursor=x>; rel=\"next\"".parse().unwrap());
        assert_eq!(next_page(&headers, &url).unwrap().as_str(), "http://h/next?cursor=x");
    }
}
