//! The two hashes that the Hub names content by.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use std::fmt::Write;
use std::io::{self, Read};

/// What an entity tag promises of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256 of a large file (64 hexadecimal digits).
    Sha256,
    /// Git's name of a blob: SHA-1 of `blob SIZE\0` and the content (40 digits).
    GitBlob,
}

impl Digest {
    /// What kind of promise an entity tag is; `None`: none that can be checked.
    pub fn of_etag(etag: &str) -> Option<Self> {
        if !etag.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return None;
        }
        match etag.len() {
            64 => Some(Digest::Sha256),
            40 => Some(Digest::GitBlob),
            _ => None,
        }
    }

    /// Begin with the hash of content that has so many bytes.
    pub fn start(self, size: u64) -> Hasher {
        match self {
            Digest::Sha256 => Hasher(Context::new(&SHA256)),
            Digest::GitBlob => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {size}\0").as_bytes());
                Hasher(context)
            }
        }
    }
}

/// A hash in the making.
pub struct Hasher(Context);

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal.
    pub fn finish(self) -> String {
        let mut text = String::new();
        for byte in self.0.finish().as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// The hash of everything that a reader gives; `size` must be what it gives.
///
/// # Errors
/// The reader's.
pub fn digest_of(mut reader: impl Read, digest: Digest, size: u64) -> io::Result<String> {
    let mut hasher = digest.start(size);
    let mut buffer = vec![0; 1 << 18];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_sha256sum() {
        // `echo hello | git hash-object --stdin`, `echo hello | sha256sum`
        let text = b"hello\n";
        assert_eq!(
            digest_of(&text[..], Digest::GitBlob, 6).unwrap(),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
        assert_eq!(
            digest_of(&text[..], Digest::Sha256, 6).unwrap(),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        );
    }

    #[test]
    fn an_etag_tells_its_kind_by_its_length() {
        assert_eq!(Digest::of_etag(&"ab".repeat(32)), Some(Digest::Sha256));
        assert_eq!(Digest::of_etag(&"ab".repeat(20)), Some(Digest::GitBlob));
        assert_eq!(Digest::of_etag(&"AB".repeat(20)), None);
        assert_eq!(Digest::of_etag("d41d8cd98f00b204e9800998ecf8427e-5"), None);
    }
}
