//! One file per command: its arguments, and the glue from them to the crates.

pub mod clean;
pub mod inspect;
pub mod translate;
