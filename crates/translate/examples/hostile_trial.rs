//! The figures of the hostile service on a data set of your own.
//!
//! ```text
//! cargo run --release -p tolmach-translate --example hostile_trial -- FILE [RECORDS] [CHARACTERS]
//! ```
#![allow(dead_code, clippy::unwrap_used, reason = "the test's own service, used for a trial")]

#[path = "../tests/it/hostile.rs"]
mod hostile;
#[path = "../tests/it/support.rs"]
mod support;
#[path = "../tests/it/trust.rs"]
mod trust;

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let file = arguments.first().ok_or("expected FILE [RECORDS] [CHARACTERS]")?;
    let number = |at: usize, or: usize| arguments.get(at).map_or(Ok(or), |n| n.parse());
    let mut records = tolmach_corpus::read_examples(Path::new(file))?;
    records.truncate(number(1, 5000)?);
    println!("{}", trust::hostile_figures(&records, number(2, 2000)?));
    Ok(())
}
