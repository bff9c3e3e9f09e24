//! The report card: base and tuned model side by side, from one loaded model.
//!
//! | measure | file | in one sentence |
//! |---|---|---|
//! | bits per byte | `bits` | how surprised the model is by held-out answers or texts |
//! | replies in the language | `language` | script and whichlang; digits alone are left out |
//! | exact match | `exact` | the reply is the reference, but for case, spacing and a final period |
//! | loops, rep-4 | `repetition` | the reply goes round in circles |
//! | stop rate, empty replies | `replies` | the reply ends by itself; it says something |
//! | control | `control` | the base side is the base, bit for bit |
//!
//! The same on a source-language set tells what the model has forgotten (`source_…`). Shares carry
//! 95 % confidence intervals (`share`).
//!
//! Invariants: figures depend on the model, the data and the settings only, not on the number of threads;
//! nothing here reads arguments or writes files.

mod bits;
mod card;
mod config;
mod control;
mod error;
mod evaluate;
mod exact;
mod language;
mod markdown;
mod prepare;
mod repetition;
mod replies;
mod share;
#[cfg(test)]
mod testing;

pub use bits::Bits;
pub use card::{MEASURES, Measure, ReplyPair, ReportCard, SideCard, Skipped, Unit};
pub use config::{EvalConfig, Settings};
pub use control::Control;
pub use error::{Error, Result};
pub use evaluate::{EvalSets, Evaluation, Progress, Subject, evaluate, marked_language};
pub use exact::exact_match;
pub use language::{Verdict, judge};
pub use markdown::Row;
pub use prepare::EvalSet;
pub use repetition::{loops, rep_4};
pub use share::Share;

use tolmach_model::Side;

/// The word for a side in messages and on the card.
pub fn side_name(side: Side) -> &'static str {
    match side {
        Side::Base => "base",
        Side::Tuned => "tuned",
    }
}
