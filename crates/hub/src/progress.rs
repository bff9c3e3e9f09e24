//! What a caller may hear while bytes move.

/// Called from several threads.
pub trait Progress: Send + Sync {
    /// So many files with so many bytes are to be moved; `present` of the bytes are there already.
    fn begin(&self, files: usize, bytes: u64, present: u64);
    /// More bytes moved; negative where they have to be moved again.
    fn advance(&self, bytes: i64);
    /// Something worth a line: a retry, a wait, a fall-back to the cache.
    fn note(&self, message: &str);
    /// All is moved, or nothing more will be.
    fn end(&self);
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: usize, _: u64, _: u64) {}
    fn advance(&self, _: i64) {}
    fn note(&self, _: &str) {}
    fn end(&self) {}
}
