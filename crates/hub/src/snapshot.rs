//! What is wanted of a repository at a revision, whole and on disk: from the cache, or fetched into it.

use crate::Hub;
use crate::cache::RepoCache;
use crate::download::{Download, is_intact};
use crate::error::{Error, Result};
use crate::http::ATTEMPTS;
use crate::progress::Progress;
use crate::repo::{Kind, Repo};
use crate::select::{OPTIONAL, Wanted, index_in, pattern, select, shards, weights};
use crate::tree::{self, Tree};
use crate::verify::free_bytes;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Files that are fetched at the same time.
const AT_ONCE: usize = 4;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The snapshot's folder; of one file, the file.
    pub path: PathBuf,
    /// The commit that the revision is.
    pub commit: String,
    /// Bytes that came over the network.
    pub bytes: u64,
    /// What a model's weights take in the repository, fetched or not; `None`: there are none, or nobody knows.
    pub weights: Option<u64>,
}

/// Where the files of a commit are known from.
struct Found {
    commit: String,
    /// `None`: offline, and the cache was written by a program that keeps no listing.
    tree: Option<Tree>,
    /// The Hub cannot or must not be asked.
    offline: bool,
}

impl Hub {
    /// Make sure that what is wanted lies in the cache. A branch is looked up anew each time; where the network is
    /// down, what the cache has of it serves.
    ///
    /// # Errors
    /// The repository, the revision or the file does not exist or may not be read; the network or the disk fails;
    /// offline, the cache lacks something.
    pub fn fetch(&self, repo: &Repo, wanted: &Wanted, progress: &Arc<dyn Progress>) -> Result<Fetched> {
        let fetched = self.runtime.block_on(self.fetch_async(repo, wanted, progress));
        progress.end();
        fetched
    }

    async fn fetch_async(
        &self,
        repo: &Repo,
        wanted: &Wanted,
        progress: &Arc<dyn Progress>,
    ) -> Result<Fetched> {
        let cache = RepoCache::new(&self.settings.cache, repo);
        let found = self.find(repo, &cache, progress).await?;
        let snapshot = cache.snapshot(&found.commit);
        let paths: BTreeSet<String> = match &found.tree {
            Some(tree) => tree.keys().cloned().collect(),
            None => files_below(&snapshot),
        };
        let selected = match select(repo, wanted, &paths) {
            // Without a listing nobody knows what else there is.
            Err(Error::NothingWanted { .. } | Error::EntryNotFound { .. }) if found.tree.is_none() => {
                return Err(self.not_in_cache(&repo.to_string()));
            }
            selected => selected?,
        };
        let mut bytes = self.complete(repo, &cache, &found, &selected, progress).await?;
        if let (Wanted::Model, Some(index)) = (wanted, index_in(&selected)) {
            let shards = self.shards(repo, &snapshot.join(index), &paths, found.offline)?;
            bytes += self.complete(repo, &cache, &found, &shards, progress).await?;
        }
        if !found.offline {
            // A cache that may only be read does without.
            let _ = cache.set_ref(&repo.revision, &found.commit);
            let absent = OPTIONAL.iter().filter(|path| repo.kind == Kind::Model && !paths.contains(**path));
            absent.for_each(|path| cache.set_absent(&found.commit, path));
        }
        let path = match (wanted, &selected[..]) {
            (Wanted::File(_) | Wanted::DataFile, [file]) => snapshot.join(file),
            (Wanted::File(pattern), _) => snapshot.join(pattern),
            (Wanted::DataFile, files) => {
                snapshot.join(pattern(files).expect("parts of one file were selected"))
            }
            _ => snapshot,
        };
        let weights = found.tree.as_ref().map(|tree| weights(tree.keys()).map(|path| tree[path].size).sum());
        Ok(Fetched { path, commit: found.commit, bytes, weights: weights.filter(|&bytes: &u64| bytes > 0) })
    }

    /// The commit and its files.
    async fn find(&self, repo: &Repo, cache: &RepoCache, progress: &Arc<dyn Progress>) -> Result<Found> {
        let cached = cache.commit_of(&repo.revision).filter(|commit| cache.snapshot(commit).is_dir());
        if self.settings.offline {
            let commit = cached.ok_or_else(|| self.not_in_cache(&repo.to_string()))?;
            let tree = tree::read_cached(&cache.tree(&commit));
            return Ok(Found { commit, tree, offline: true });
        }
        // With something to fall back on, nobody waits for a network that is down.
        let attempts = if cached.is_some() { 1 } else { ATTEMPTS };
        let commit = match repo.is_pinned() {
            true => Ok(repo.revision.clone()),
            false => tree::commit_of(&self.client, repo, attempts, progress).await,
        };
        let commit = match (commit, cached) {
            (Ok(commit), _) => commit,
            (Err(error), Some(commit)) if error.is_network() => {
                progress
                    .note(&format!("{error}; taking {repo} from the cache, as it was at {}", &commit[..8]));
                let tree = tree::read_cached(&cache.tree(&commit));
                return Ok(Found { commit, tree, offline: true });
            }
            (Err(error), _) => return Err(error),
        };
        let tree = match tree::read_cached(&cache.tree(&commit)) {
            Some(tree) => tree,
            None => {
                let tree = tree::list(&self.client, repo, &commit, progress).await?;
                cache.prepare()?;
                cache.write_tree(&commit, &tree::to_cached(&tree))?;
                tree
            }
        };
        Ok(Found { commit, tree: Some(tree), offline: false })
    }

    /// Fetch what is missing of the files; how many bytes that were.
    async fn complete(
        &self,
        repo: &Repo,
        cache: &RepoCache,
        found: &Found,
        files: &[String],
        progress: &Arc<dyn Progress>,
    ) -> Result<u64> {
        let Some(tree) = &found.tree else { return Ok(0) };
        let snapshot = cache.snapshot(&found.commit);
        let mut missing = Vec::new();
        for path in files {
            let Some(entry) = tree.get(path) else {
                return Err(Error::EntryNotFound { repo: repo.clone(), path: path.clone() });
            };
            let place = snapshot.join(path);
            if is_intact(&place, entry) {
                continue;
            }
            if found.offline {
                return Err(match place.exists() {
                    true => Error::DamagedBlob { path: cache.blob(entry.etag()) },
                    false => self.not_in_cache(&format!("{path} of {repo}")),
                });
            }
            missing.push((path.clone(), entry.clone()));
        }
        if missing.is_empty() {
            return Ok(0);
        }
        cache.prepare()?;
        let total: u64 = missing.iter().map(|(_, entry)| entry.size).sum();
        let present = missing.iter().map(|(_, entry)| present(cache, entry.etag(), entry.size)).sum();
        check_space(cache.root(), total - present)?;
        progress.begin(missing.len(), total, present);
        let downloads = missing.into_iter().map(|(path, entry)| Download {
            client: Arc::clone(&self.client),
            cache: cache.clone(),
            repo: repo.clone(),
            commit: found.commit.clone(),
            path,
            entry,
            progress: Arc::clone(progress),
        });
        run_all(downloads).await?;
        Ok(total - present)
    }

    fn shards(
        &self,
        repo: &Repo,
        index: &Path,
        paths: &BTreeSet<String>,
        offline: bool,
    ) -> Result<Vec<String>> {
        let text = fs::read(index).map_err(Error::io(index))?;
        let shards = shards(&text).map_err(|reason| Error::Io {
            path: index.to_path_buf(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, reason),
        })?;
        match shards.iter().find(|shard| !paths.contains(*shard)) {
            Some(shard) if offline => Err(self.not_in_cache(&format!("{shard} of {repo}"))),
            Some(shard) => Err(Error::EntryNotFound { repo: repo.clone(), path: shard.clone() }),
            None => Ok(shards.into_iter().collect()),
        }
    }

    fn not_in_cache(&self, what: &str) -> Error {
        Error::Offline { what: what.to_string(), cache: self.settings.cache.clone() }
    }
}

/// All of them, a few at a time; the first failure ends the rest.
async fn run_all(downloads: impl Iterator<Item = Download>) -> Result<()> {
    let mut downloads = downloads.fuse();
    let mut running: JoinSet<Result<()>> = JoinSet::new();
    for download in downloads.by_ref().take(AT_ONCE) {
        running.spawn(download.run());
    }
    while let Some(done) = running.join_next().await {
        done.map_err(|e| Error::Setup { reason: format!("a download ended unexpectedly: {e}") })??;
        if let Some(download) = downloads.next() {
            running.spawn(download.run());
        }
    }
    Ok(())
}

/// How much of a blob an earlier attempt has left.
fn present(cache: &RepoCache, etag: &str, size: u64) -> u64 {
    let length = |path: PathBuf| fs::metadata(path).map(|m| m.len()).ok();
    let length = length(cache.blob(etag)).or_else(|| length(cache.incomplete(etag)));
    length.filter(|length| *length <= size).unwrap_or(0)
}

fn check_space(folder: &Path, needed: u64) -> Result<()> {
    match free_bytes(folder) {
        Some(free) if free < needed => Err(Error::DiskSpace { path: folder.to_path_buf(), needed, free }),
        _ => Ok(()),
    }
}

/// Paths of the files in a folder, with `/`.
fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut open = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match fs::metadata(entry.path()) {
                Ok(m) if m.is_dir() => open.push((entry.path(), path + "/")),
                Ok(_) => drop(files.insert(path)),
                Err(_) => {} // a link without its blob
            }
        }
    }
    files
}
