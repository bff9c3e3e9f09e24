//! What every handler sees.

use crate::options::Options;
use crate::registry::Registry;
use std::sync::Arc;

pub struct AppState {
    pub options: Options,
    pub registry: Arc<Registry>,
    /// Unix seconds.
    pub started: u64,
}
