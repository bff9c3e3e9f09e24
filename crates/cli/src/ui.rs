//! What the user sees: messages and progress on stderr, data on stdout.

use anstream::{eprintln, stdout};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::io::Write;
use std::time::Duration;

/// Flags that every command takes.
#[derive(Args, Clone, Default)]
pub struct UiArgs {
    /// Print one JSON object on stdout at the end; messages stay on stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Clone)]
pub struct Ui {
    pub json: bool,
    pub quiet: bool,
    pub verbose: u8,
}

impl Ui {
    pub fn new(args: &UiArgs) -> Self {
        Ui { json: args.json, quiet: args.quiet, verbose: args.verbose }
    }

    /// A line of data on stdout. A broken pipe (`| head`) ends the program silently.
    pub fn stdout_line(&self, line: &str) {
        if writeln!(stdout(), "{line}").is_err() {
            std::process::exit(0);
        }
    }

    /// The JSON object of `--json`, byte for byte: [`Ui::stdout_line`] would take characters like U+007F
    /// out of its texts as if they were colours.
    pub fn stdout_json(&self, value: &serde_json::Value) {
        if writeln!(std::io::stdout(), "{value}").is_err() {
            std::process::exit(0);
        }
    }

    /// A message on stderr, unless `--quiet`.
    pub fn say(&self, message: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", message.as_ref());
        }
    }

    pub fn warn(&self, message: impl AsRef<str>) {
        eprintln!("\x1b[1;33mwarning:\x1b[0m {}", message.as_ref());
    }

    pub fn error(&self, message: &str) {
        eprintln!("\x1b[1;31merror:\x1b[0m {message}");
    }

    pub fn caused_by(&self, message: &str) {
        eprintln!("  caused by: {message}");
    }

    pub fn hint(&self, message: &str) {
        eprintln!("\x1b[1;36mhint:\x1b[0m {message}");
    }

    /// A bar over bytes.
    pub fn bytes_bar(&self, length: u64, what: &str) -> ProgressBar {
        let bar = self.bar(length, what);
        let style = "{prefix:>12} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta} {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("the template above is valid"));
        bar
    }

    /// A progress bar with rate and ETA; hidden with `--quiet` and where stderr is no terminal.
    pub fn bar(&self, length: u64, what: &str) -> ProgressBar {
        let target = if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        let style = "{prefix:>12} {bar:30} {human_pos}/{human_len} {rate} eta {eta} {msg}";
        let style = ProgressStyle::with_template(style).expect("the template above is valid");
        bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&rate(state.per_sec())); // a String takes everything
        }));
        bar.set_prefix(what.to_string());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// So many a second, with two or three digits that matter.
fn rate(per_second: f64) -> String {
    let decimals = if per_second >= 100.0 { 0 } else { 1 + usize::from(per_second < 10.0) };
    format!("{per_second:.decimals$}/s")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_rate_has_no_digits_that_say_nothing() {
        let found = [0.0512, 2.3456, 52.3961, 1234.5678].map(super::rate);
        assert_eq!(found, ["0.05/s", "2.35/s", "52.4/s", "1235/s"]);
    }
}
