//! The structure of a field: what an engine sees of it, and what it can never break.
//!
//! ```text
//! field ── lines ──▶ skeleton + segments ── marks ──▶ texts that go to an engine
//!                                        └─ sentences ─▶ one by one where an engine needs that
//! ```

mod lines;
mod marks;
pub(crate) mod numbers;
mod protect;
mod sentences;

pub use lines::{Line, is_line_break, line_breaks, lines, rebuild, segments};
pub(crate) use lines::{is_edge, markers_length};
pub use marks::{Hide, Lost, Marked, Style};
pub use protect::{Kind, Part, hard_parts, has_translatable, parts};
pub use sentences::{count as sentence_count, sentences};
pub(crate) use sentences::{cut_to_fit, is_terminator, stops};
