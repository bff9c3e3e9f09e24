//! `metrics.jsonl`: one row for each step, one more for each evaluation.

use crate::error::Error;
use crate::state::{Evaluation, Progress};
use crate::train::StepReport;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file, open for appending.
///
/// A step's row holds `step`, `epoch`, `train/loss` (nats per labelled token), `lr`, `grad_norm` (before
/// clipping), `tokens` (so far), `tokens_per_second` (of this step), `seconds` (in steps so far),
/// `resident_bytes` (memory held now; null where the system does not say); an evaluation's row `step`,
/// `eval/loss`, `eval/perplexity`.
pub struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Open for a run that stands at `progress`: rows of steps and evaluations that it does not know
    /// of (a killed run wrote them after its last saved state) are dropped, as is a row cut short.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path, progress: &Progress) -> Result<Self, Error> {
        let old = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(Error::Read { path: path.to_path_buf(), source }),
        };
        let is_known = |row: &Value| {
            let evaluated = progress.evaluations.last().map(|e| e.step as u64);
            let step = row["step"].as_u64();
            let limit = if row.get("eval/loss").is_some() { evaluated } else { Some(progress.step as u64) };
            step.is_some() && step <= limit
        };
        let kept: String = old
            .lines()
            .filter(|line| serde_json::from_str(line).is_ok_and(|row| is_known(&row)))
            .map(|line| format!("{line}\n"))
            .collect();
        tolmach_durable::write(path, kept).map_err(|source| Error::Write { source })?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// # Errors
    /// The file cannot be written.
    pub fn step(&mut self, step: &StepReport) -> Result<(), Error> {
        self.row(&json!({
            "step": step.step,
            "epoch": rounded(step.epoch, 1e4),
            "train/loss": step.loss,
            "lr": step.learning_rate,
            "grad_norm": step.grad_norm,
            "tokens": step.tokens_so_far,
            "tokens_per_second": rounded(step.tokens_per_second, 10.0),
            "seconds": rounded(step.seconds, 1e3),
            "resident_bytes": step.resident_bytes,
        }))
    }

    /// # Errors
    /// The file cannot be written.
    pub fn evaluation(&mut self, evaluation: &Evaluation) -> Result<(), Error> {
        let Evaluation { step, loss } = evaluation;
        self.row(&json!({"step": step, "eval/loss": loss, "eval/perplexity": loss.exp()}))
    }

    fn row(&mut self, row: &Value) -> Result<(), Error> {
        self.file.write_all(format!("{row}\n").as_bytes()).map_err(|e| self.failed(&e))
    }

    /// Have the rows on the disk: before a state that counts on them is saved.
    ///
    /// # Errors
    /// The disk is full, say.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|e| self.failed(&e))
    }

    fn failed(&self, e: &std::io::Error) -> Error {
        let message = format!("cannot write {}: {e}", self.path.display());
        Error::Write { source: std::io::Error::new(e.kind(), message) }
    }
}

fn rounded(value: f64, places: f64) -> f64 {
    (value * places).round() / places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: usize) -> StepReport {
        StepReport {
            step,
            epoch: 0.5,
            loss: 1.25,
            learning_rate: 1e-4,
            grad_norm: 2.0,
            tokens: 10,
            tokens_so_far: 10 * step as u64,
            tokens_per_second: 99.0,
            seconds: 1.5,
            resident_bytes: Some(1 << 20),
        }
    }

    fn steps(path: &Path) -> Vec<(u64, bool)> {
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        rows.map(|r| (r["step"].as_u64().unwrap(), r.get("eval/loss").is_some())).collect()
    }

    #[test]
    fn a_resumed_run_repeats_no_row() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut progress = Progress::default();
        let mut file = MetricsFile::open(&path, &progress).unwrap();
        for step in 1..=5 {
            file.step(&report(step)).unwrap();
            file.evaluation(&Evaluation { step, loss: 1.0 }).unwrap();
        }
        file.file.write_all(b"{\"step\": 6, \"trai").unwrap(); // killed here
        drop(file);
        // The saved state is of step 3, whose evaluation was not done yet.
        progress.step = 3;
        progress.evaluations.push(Evaluation { step: 2, loss: 1.0 });
        let mut file = MetricsFile::open(&path, &progress).unwrap();
        file.evaluation(&Evaluation { step: 3, loss: 1.0 }).unwrap();
        file.step(&report(4)).unwrap();
        let expected = [(1, false), (1, true), (2, false), (2, true), (3, false), (3, true), (4, false)];
        assert_eq!(steps(&path), expected);
    }
}
