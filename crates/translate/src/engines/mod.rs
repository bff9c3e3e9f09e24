//! The engines: one file per protocol.

mod libretranslate;
mod memory;
mod tmx;

pub use libretranslate::LibreTranslate;
pub use memory::{Memory, MemoryError, MemoryReport};
