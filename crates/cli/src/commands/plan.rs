//! `tolmach plan`

use crate::report::{Failure, Outcome};
use crate::ui::Ui;

/// To come
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args, _ui: &Ui) -> Outcome {
    Err(Failure::usage("not yet"))
}
