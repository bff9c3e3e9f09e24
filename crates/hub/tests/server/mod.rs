//! A hub on this machine for tests: it speaks the protocol of the real one, on two ports (the second is the
//! storage server, another origin), remembers every request, and fails as it is told to.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a failed expectation is a failed test; not every test needs all"
)]

mod api;
mod wire;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The token that the hub knows.
pub const TOKEN: &str = "hf_local_token";

/// Files by path.
pub type Files = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
pub struct Repo {
    pub branches: HashMap<String, String>,
    pub commits: HashMap<String, Files>,
    pub messages: Vec<String>,
    pub private: bool,
    pub gated: bool,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The storage server's, not the hub's.
    pub storage: bool,
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
}

#[derive(Default)]
pub struct State {
    /// By `models/org/name`.
    pub repos: HashMap<String, Repo>,
    /// Large objects by SHA-256, and parts of them.
    pub objects: HashMap<String, Vec<u8>>,
    pub parts: HashMap<String, BTreeMap<usize, Vec<u8>>>,
    pub seen: Vec<Seen>,
    /// Owners of the token that may read gated repositories.
    pub accepted: HashSet<String>,
    // How to misbehave.
    /// Cut the next answers of the storage server after so many bytes.
    pub cut_after: Vec<usize>,
    /// Change a byte in so many answers of the storage server.
    pub corrupt: usize,
    /// Answer the next requests to the hub with these statuses and `Retry-After`.
    pub fail: Vec<(u16, Option<&'static str>)>,
    pub ignore_range: bool,
    /// Bytes at a time, and the pause between them.
    pub throttle: Option<(usize, Duration)>,
    /// Files in one page of a listing.
    pub page: Option<usize>,
    /// Take large files in parts of so many bytes.
    pub part_size: Option<usize>,
    /// Answer that the storage has no room.
    pub refuse_objects: bool,
    pub(self) ports: (u16, u16),
}

#[derive(Clone)]
pub struct FakeHub {
    state: Arc<Mutex<State>>,
}

impl FakeHub {
    pub fn start() -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let storage = TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = (hub.local_addr().unwrap().port(), storage.local_addr().unwrap().port());
        let state = Arc::new(Mutex::new(State { ports, ..State::default() }));
        for (listener, is_storage) in [(hub, false), (storage, true)] {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for connection in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || wire::serve(&connection, &state, is_storage));
                }
            });
        }
        Self { state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.state().ports.0)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Put files on a branch, beside those that are there; the new commit.
    pub fn commit(&self, key: &str, branch: &str, files: &[(&str, &[u8])]) -> String {
        let files = files.iter().map(|(path, content)| (path.to_string(), content.to_vec()));
        self.state().commit(key, branch, files.collect(), "by the test")
    }

    /// What the storage server was asked for: method, `Range` and `Authorization`.
    pub fn storage_requests(&self) -> Vec<Seen> {
        self.state().seen.iter().filter(|seen| seen.storage).cloned().collect()
    }

    /// Paths that were asked of the hub.
    pub fn hub_paths(&self) -> Vec<String> {
        self.state().seen.iter().filter(|seen| !seen.storage).map(|seen| seen.path.clone()).collect()
    }

    pub fn forget_requests(&self) {
        self.state().seen.clear();
    }

    /// A file as the repository has it now.
    pub fn file(&self, key: &str, branch: &str, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let repo = state.repos.get(key)?;
        repo.commits[repo.branches.get(branch)?].get(path).cloned()
    }
}

impl State {
    pub fn commit(&mut self, key: &str, branch: &str, files: Files, message: &str) -> String {
        let repo = self.repos.entry(key.to_string()).or_default();
        let mut all =
            repo.branches.get(branch).map(|commit| repo.commits[commit].clone()).unwrap_or_default();
        all.extend(files);
        let name = format!("{key}{branch}{}{}", repo.commits.len(), repo.messages.len());
        let commit = hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes()).as_ref());
        for content in all.iter().filter(|(path, content)| is_large(path, content.len())).map(|(_, c)| c) {
            self.objects.insert(sha256(content), content.clone());
        }
        repo.commits.insert(commit.clone(), all);
        repo.branches.insert(branch.to_string(), commit.clone());
        repo.messages.push(message.to_string());
        commit
    }
}

/// What travels through the storage.
pub fn is_large(path: &str, size: usize) -> bool {
    size > 4096 || [".safetensors", ".bin", ".parquet", ".gguf"].iter().any(|end| path.ends_with(end))
}

pub fn sha256(content: &[u8]) -> String {
    hex(digest(&SHA256, content).as_ref())
}

pub fn git_blob(content: &[u8]) -> String {
    let whole = [format!("blob {}\0", content.len()).as_bytes(), content].concat();
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &whole).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that do not repeat, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}
