//! What can go wrong before or beside a request. What a client is told is in `api::error`.

use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },

    #[error("the server stopped: {0}")]
    Server(std::io::Error),

    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),

    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },

    #[error("{} is not loopback: other machines could use this server, so it needs an API key", address.ip())]
    NeedsKey { address: SocketAddr },

    #[error("there is a model `{name}` already")]
    ModelExists { name: String },

    #[error("there is no model `{name}`")]
    NoModel { name: String },

    #[error("`{name}` is a base model; only adapters can be replaced or unloaded")]
    IsBase { name: String },

    #[error(transparent)]
    Model(#[from] tolmach_model::Error),

    #[error(transparent)]
    Tokenize(#[from] tolmach_tokenize::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
