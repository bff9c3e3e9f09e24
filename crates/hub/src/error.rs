//! What can go wrong between here and the Hub, and what to do about it.

use crate::repo::Repo;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{name}` is no name of a repository: {reason}")]
    Name { name: String, reason: String },
    #[error("the Hub cannot be used: {reason}")]
    Setup { reason: String },
    #[error("the Hub has no {} {} that you may read", .repo.kind.title(), .repo.id)]
    RepoNotFound { repo: Repo, token: bool },
    #[error("{} {} has no branch, tag or commit `{}`", .repo.kind.title(), .repo.id, .repo.revision)]
    RevisionNotFound { repo: Repo },
    #[error("{} {repo} has no file `{path}`", .repo.kind.title())]
    EntryNotFound { repo: Repo, path: String },
    #[error("access to {} {} has to be asked for", .repo.kind.title(), .repo.id)]
    Gated { repo: Repo, page: String, token: bool },
    #[error("{address} refuses: {message}")]
    Refused { address: String, status: u16, message: String },
    #[error("this needs an access token, and there is none")]
    NoToken,
    #[error("{address} does not know the access token (from {source_name})")]
    BadToken { address: String, source_name: String },
    #[error("cannot reach {address}: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("{address} asks to wait {} s", .wait.as_secs())]
    TooLongWait { address: String, wait: Duration },
    #[error("{address} answers what is not in the Hub's protocol: {reason}")]
    Protocol { address: String, reason: String },
    #[error("HF_HUB_OFFLINE is set, and {what} is not in the cache at {}", .cache.display())]
    Offline { what: String, cache: PathBuf },
    #[error("{} {repo} holds no {what}", .repo.kind.title())]
    NothingWanted { repo: Repo, what: &'static str, files: Vec<String> },
    #[error("{} {repo} has several data files: {}", .repo.kind.title(), .files.join(", "))]
    SeveralDataFiles { repo: Repo, files: Vec<String> },
    #[error("{file} of {repo} arrived damaged: {expected} was promised, {found} came")]
    Damaged { repo: Box<Repo>, file: String, expected: String, found: String },
    #[error("{} is damaged: its content is not what its name says", .path.display())]
    DamagedBlob { path: PathBuf },
    #[error("{} needs {} MB, and {} MB are free there", .path.display(), .needed / 1_000_000 + 1, .free / 1_000_000)]
    DiskSpace { path: PathBuf, needed: u64, free: u64 },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} changed while it was read", .path.display())]
    Changed { path: PathBuf },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { path, source }
    }

    /// Whether the fault is the network's or the service's, not the input's.
    pub fn is_network(&self) -> bool {
        matches!(
            self,
            Error::Unreachable { .. }
                | Error::TooLongWait { .. }
                | Error::Protocol { .. }
                | Error::Damaged { .. }
                | Error::Refused { .. }
        )
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let token = "make a token at https://huggingface.co/settings/tokens and set HF_TOKEN";
        Some(match self {
            Error::Name { .. } => "a name is org/name or org/name@revision".into(),
            Error::RepoNotFound { token: true, .. } => {
                "check the spelling; if it is private, the token must belong to somebody who may read it".into()
            }
            Error::RepoNotFound { .. } => format!("check the spelling; if it is private, {token}"),
            Error::RevisionNotFound { repo } => format!("without @{} the branch `main` is taken", repo.revision),
            Error::Gated { page, token: true, .. } => {
                format!("accept the conditions at {page} as the owner of your token, then try again")
            }
            Error::Gated { page, .. } => format!("accept the conditions at {page}, then {token}"),
            Error::NoToken => token.into(),
            Error::BadToken { .. } => format!("it may have been revoked: {token}"),
            Error::Refused { status: 401 | 403, .. } => "the token needs the right to write to this repository".into(),
            Error::Unreachable { .. } => {
                "check the connection (HF_ENDPOINT names another address); what has arrived is kept, the same \
                 command goes on from there"
                    .into()
            }
            Error::TooLongWait { .. } => "too many requests: try again later; a token raises the limit".into(),
            Error::Offline { .. } => "run once with HF_HUB_OFFLINE=0 to fetch it".into(),
            Error::NothingWanted { files, .. } if !files.is_empty() => format!("it holds {}", shown(files)),
            Error::SeveralDataFiles { repo, files } => match files.first() {
                Some(file) => format!("name one of them, {repo}/{file}, or several with a `*` in the file's name"),
                None => return None,
            },
            Error::Damaged { .. } => "a proxy may have changed it; the same command fetches it anew".into(),
            Error::DamagedBlob { path } => format!("remove it, and it is fetched anew: rm {}", path.display()),
            Error::DiskSpace { .. } => "free some, or name another folder with HF_HUB_CACHE".into(),
            Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "the disk is full: free some, or name another folder with HF_HUB_CACHE; what has arrived is kept".into()
            }
            Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "name a folder that you may write to with HF_HUB_CACHE".into()
            }
            _ => return None,
        })
    }
}

/// The first few names of a list.
fn shown(files: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = files.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if files.len() > SHOWN {
        text.push_str(&format!(" and {} more", files.len() - SHOWN));
    }
    text
}
