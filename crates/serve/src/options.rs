//! What the operator decides: flat and already valid when it arrives here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a server runs. Not to be printed: it holds the key.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; anything but loopback demands an `api_key`.
    pub address: SocketAddr,
    /// What a client must present as `Authorization: Bearer …`.
    pub api_key: Option<String>,
    /// More names under which browsers may reach it (`Host`), besides the address itself and localhost.
    pub hosts: Vec<String>,
    /// Folders from which `/v1/load_lora_adapter` may load; empty: from none.
    pub adapter_roots: Vec<PathBuf>,
    /// Folders that hold training runs, for the training page.
    pub runs: Vec<PathBuf>,
    /// Review files of `tolmach translate`, for the review page.
    pub reviews: Vec<PathBuf>,
    pub limits: Limits,
    /// Where the operator reads what clients are not told.
    pub log: Log,
}

/// Takes one line for the operator.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Bounds on what one request or all of them may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// How long a client may take to send its head, and then its body.
    pub receive: Duration,
    /// Connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Tokens of a reply.
    pub max_tokens: usize,
    /// Tokens of a reply where the client does not say.
    pub default_tokens: usize,
    /// Replies to one request (`n` times its prompts).
    pub replies: usize,
    /// How long a request may take, waiting included.
    pub request: Duration,
    /// How long running replies may go on once the server was told to stop.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 2 << 20,
            receive: Duration::from_secs(30),
            connections: 512,
            max_tokens: 4096,
            default_tokens: 512,
            replies: 16,
            request: Duration::from_secs(600),
            shutdown: Duration::from_secs(10),
        }
    }
}

/// A model to serve from the start: `NAME=BASE[+ADAPTER]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    pub name: String,
    pub base: PathBuf,
    pub adapter: Option<PathBuf>,
}
