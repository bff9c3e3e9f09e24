//! One file per command: its arguments, and the glue from them to the crates.

pub mod chat;
pub mod clean;
pub mod dataset;
pub mod demo;
pub mod doctor;
pub mod eval;
pub mod export;
pub mod inspect;
pub mod merge;
pub mod plan;
pub mod push;
pub mod score;
pub mod serve;
pub mod teach;
pub mod train;
pub mod translate;
