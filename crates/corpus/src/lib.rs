//! Examples and their formats, cleaning rules, duplicates, split.

mod example;

pub use example::{Body, Example, Message, Role, Translation};
