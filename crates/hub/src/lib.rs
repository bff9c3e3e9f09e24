//! The Hugging Face Hub: what its environment variables say, the cache that is shared with `huggingface_hub`,
//! download and upload.
//!
//! In reading order: [`settings`] (the environment) → [`repo`] (what `org/name@revision` means) → `http` (one
//! client: redirects, retries, what an answer means) → `tree` (which files a commit has) → [`select`] (which of
//! them are needed) → `cache` (where they lie) → `download` (one file, resumed and verified) → [`snapshot`] (all of
//! them) → [`push`] (the way back).
//!
//! Calls block; the asynchronous runtime stays inside. Nothing is printed: progress goes to [`Progress`].

mod cache;
mod digest;
mod download;
mod error;
mod http;
mod progress;
pub mod push;
pub mod repo;
pub mod select;
pub mod settings;
pub mod snapshot;
mod tree;
mod verify;

pub use digest::{Digest, digest_of};
pub use error::{Error, Result};
pub use progress::{Progress, Silent};
pub use push::{Push, PushFile, PushReport, Source};
pub use repo::{Kind, Repo};
pub use select::{Wanted, data_files};
pub use settings::{Settings, VARIABLES, Variable};
pub use snapshot::Fetched;
pub use verify::{BadBlob, CacheFigures, free_bytes};

use http::Client;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// A client of one hub with one cache.
pub struct Hub {
    settings: Settings,
    client: Arc<Client>,
    runtime: Runtime,
}

impl Hub {
    /// # Errors
    /// The endpoint is no HTTP address, the token cannot be a header, or the machine's TLS is unusable.
    pub fn new(settings: Settings) -> Result<Self> {
        let client = Arc::new(Client::new(&settings)?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("hub")
            .enable_all()
            .build()
            .map_err(|e| Error::Setup { reason: format!("cannot start the HTTP runtime: {e}") })?;
        Ok(Self { settings, client, runtime })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The hub's address, for people: without a user and a password that may be in it.
    pub fn address(&self) -> String {
        http::address(&self.client.endpoint).trim_end_matches('/').to_string()
    }

    /// Who the token belongs to.
    ///
    /// # Errors
    /// No token, one that the hub does not know, or no connection.
    pub fn whoami(&self) -> Result<String> {
        self.runtime.block_on(push::whoami(&self.client))
    }

    /// Whether the endpoint answers at all, and how it does.
    ///
    /// # Errors
    /// No connection.
    pub fn reach(&self) -> Result<u16> {
        self.runtime.block_on(self.client.reach())
    }
}
