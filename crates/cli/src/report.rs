//! From an error to what the user reads: `error:` / `caused by:` / `hint:`, and the exit code.

use crate::ui::Ui;
use std::fmt;
use std::process::ExitCode;

/// Exit codes of every command. 0 is success; clap itself exits with 2 on a usage error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ran, but its own check failed (a report card below its bound, a proof that does not hold).
    CheckFailed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Missing or invalid input.
    Input = 3,
    /// The network or a service failed.
    Network = 4,
    /// Interrupted by Ctrl-C; state saved.
    Interrupted = 130,
}

/// An error with its exit code and, where there is one, a hint.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub hint: Option<String>,
    pub error: anyhow::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)
    }
}

/// Anything that `?` meets without saying more is an input error.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(e: E) -> Self {
        Failure { exit: Exit::Input, hint: None, error: e.into() }
    }
}

impl Failure {
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Failure { exit, hint: None, error: anyhow::anyhow!("{message}") }
    }

    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn input(message: impl fmt::Display) -> Self {
        Self::new(Exit::Input, message)
    }

    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// [`Failure::hint`] where an error has one.
    pub fn maybe_hint(self, hint: Option<impl fmt::Display>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

/// What every command returns. The JSON value, if any, is printed with `--json`.
pub type Outcome = Result<Option<serde_json::Value>, Failure>;

/// Print the result and choose the exit code.
pub fn finish(result: Outcome, ui: &Ui) -> ExitCode {
    match result {
        Ok(value) => {
            if let (true, Some(v)) = (ui.json, value) {
                ui.stdout_json(&v);
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            print_failure(&failure, ui);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn print_failure(failure: &Failure, ui: &Ui) {
    let mut chain = failure.error.chain();
    if let Some(first) = chain.next() {
        ui.error(&first.to_string());
    }
    // thiserror messages often already end with their source's text: do not say it twice.
    let mut said = failure.error.to_string();
    for cause in chain {
        let text = cause.to_string();
        if !said.contains(&text) {
            ui.caused_by(&text);
        }
        said = text;
    }
    if let Some(hint) = &failure.hint {
        ui.hint(hint);
    }
}
