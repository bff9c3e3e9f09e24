//! Machine translation of examples: engines, translation memory, journal.
//!
//! [`translate_examples`] is the whole stage: every field of every example is cut into a skeleton and
//! [segments](structure), each different segment is looked up in the [`Journal`] and else asked of the
//! [`Engine`], every answer is stored the moment it arrives, and the skeletons are filled again. An example
//! is emitted whole or set aside whole, with the reason.
//!
//! | to change | file |
//! |---|---|
//! | what is kept away from the engine | `structure/` |
//! | what an engine is, its limits and its price | `engine.rs` |
//! | an engine's protocol | `engines/`, `http.rs` |
//! | the local engine | `marian/` |
//! | batches, rates, retries, outages, money | `dispatch/` |
//! | joining segments into one text | `join.rs` |
//! | what is stored | `journal.rs` |
//! | chrF, BLEU, the round trip, the report page | `quality/` |
//! | settings of a recipe | `config.rs` |
//! | the known services, their limits and prices | `kind.rs` |
//! | how a segment is put to an engine, and what is tried when the answer is wrong | `forms.rs`, `repair.rs` |
//! | what makes an answer wrong | `verify/` (whose translation it is: `lexicon.rs`) |
//! | what an emitted example carries | `assemble.rs` |
//! | what is set aside, and how it comes back | `review.rs` |

mod assemble;
mod config;
mod dispatch;
mod engine;
mod engines;
mod error;
mod forms;
mod http;
mod join;
mod journal;
mod kind;
mod language;
mod marian;
pub mod quality;
mod repair;
mod review;
mod run;
pub mod structure;
pub mod verify;

pub use config::{ModelWeights, OnMiss, Options, TranslateConfig};
pub use dispatch::RetryPolicy;
pub use engine::{Answer, Engine, EngineError, Limits, Manner, Miss, Price};
pub use engines::{Memory, MemoryError, MemoryReport};
pub use error::Error;
pub use journal::{Journal, JournalError, Scope, Stored};
pub use kind::EngineKind;
pub use language::LanguagePair;
pub use marian::{Marian, MarianError, MarianOptions, Precision};
pub use review::{OpenSegment, REVIEW_KEY, Review, Why};
pub use run::{Missed, Progress, Stats, Survey, Translated, survey, translate_examples};
