//! `metrics.jsonl`, read as it grows.

use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// A step's row, as far as it is drawn. Absent figures are NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub step: u64,
    pub epoch: f64,
    /// Nats per labelled token.
    pub loss: f64,
    pub learning_rate: f64,
    pub grad_norm: f64,
    /// So far.
    pub tokens: u64,
    pub tokens_per_second: f64,
    /// In steps so far.
    pub seconds: f64,
    pub resident_bytes: f64,
}

/// An evaluation's row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    pub step: u64,
    pub loss: f64,
}

/// What a run has measured so far, and how far its file was read.
#[derive(Clone, Debug, Default)]
pub struct Series {
    pub steps: Vec<Step>,
    pub evaluations: Vec<Evaluation>,
    /// Bytes of whole lines that were read.
    read: u64,
    /// Which file it was: a resumed run puts a new one in its place.
    file: Option<u64>,
}

#[derive(Deserialize)]
struct Row {
    step: u64,
    #[serde(default)]
    epoch: Option<f64>,
    #[serde(rename = "train/loss")]
    train_loss: Option<f64>,
    #[serde(rename = "eval/loss")]
    eval_loss: Option<f64>,
    lr: Option<f64>,
    grad_norm: Option<f64>,
    #[serde(default)]
    tokens: u64,
    tokens_per_second: Option<f64>,
    seconds: Option<f64>,
    resident_bytes: Option<f64>,
}

impl Series {
    /// Read what has come since the last time; a row that is not whole yet waits.
    ///
    /// # Errors
    /// The file cannot be read. One that is not there yet is no error.
    pub fn refresh(&mut self, path: &Path) -> std::io::Result<()> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                *self = Self::default();
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let facts = file.metadata()?;
        let which = identity(&facts);
        if which != self.file || facts.len() < self.read {
            *self = Self { file: which, ..Self::default() };
        }
        if facts.len() == self.read {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        for line in bytes[..whole].split(|&b| b == b'\n') {
            if let Ok(row) = serde_json::from_slice::<Row>(line) {
                self.add(&row);
            }
        }
        self.read += whole as u64;
        Ok(())
    }

    fn add(&mut self, row: &Row) {
        if let Some(loss) = row.eval_loss {
            self.evaluations.push(Evaluation { step: row.step, loss });
        }
        if let Some(loss) = row.train_loss {
            let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
            self.steps.push(Step {
                step: row.step,
                epoch: or_nan(row.epoch),
                loss,
                learning_rate: or_nan(row.lr),
                grad_norm: or_nan(row.grad_norm),
                tokens: row.tokens,
                tokens_per_second: or_nan(row.tokens_per_second),
                seconds: or_nan(row.seconds),
                resident_bytes: or_nan(row.resident_bytes),
            });
        }
    }

    /// Tokens per second over the last steps.
    pub fn rate(&self) -> Option<f64> {
        const STEPS: usize = 20;
        let last = self.steps.last()?;
        let before = self.steps.iter().rev().nth(STEPS);
        let (tokens, seconds) = match before {
            Some(before) => (last.tokens - before.tokens.min(last.tokens), last.seconds - before.seconds),
            None => (last.tokens, last.seconds),
        };
        let rate = tokens as f64 / seconds;
        rate.is_finite().then_some(rate).filter(|rate| *rate > 0.0)
    }

    /// Rows of steps after `since`, and of evaluations from there on, as in the file.
    pub fn rows_since(&self, since: u64) -> Value {
        let steps = self.steps.iter().filter(|row| row.step > since).map(|row| {
            json!({
                "step": row.step, "epoch": row.epoch, "train/loss": row.loss, "lr": row.learning_rate,
                "grad_norm": row.grad_norm, "tokens": row.tokens,
                "tokens_per_second": row.tokens_per_second, "seconds": row.seconds,
                "resident_bytes": row.resident_bytes,
            })
        });
        let evaluations = self.evaluations.iter().filter(|row| row.step >= since);
        let evaluations = evaluations.map(|row| json!({"step": row.step, "eval/loss": row.loss}));
        Value::Array(steps.chain(evaluations).collect())
    }
}

#[cfg(unix)]
fn identity(facts: &std::fs::Metadata) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(facts.ino())
}

/// Elsewhere a new file is known by being shorter.
#[cfg(not(unix))]
fn identity(_facts: &std::fs::Metadata) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn row(step: u64) -> String {
        let tokens = 100 * step;
        format!("{{\"step\": {step}, \"train/loss\": 2.5, \"tokens\": {tokens}, \"seconds\": {step}.0}}\n")
    }

    #[test]
    fn rows_come_as_they_are_written_and_a_half_one_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut series = Series::default();
        series.refresh(&path).unwrap();
        assert!(series.steps.is_empty() && series.rate().is_none());
        let mut file = File::create(&path).unwrap();
        let evaluation = "{\"step\": 0, \"eval/loss\": 3.0, \"eval/perplexity\": 20.0}\n";
        let (half, rest) = ("{\"step\": 2, \"train/l", "oss\": 1.5, \"tokens\": 300, \"seconds\": 2.0}\n");
        write!(file, "{evaluation}{}not a row\n{half}", row(1)).unwrap();
        series.refresh(&path).unwrap();
        assert_eq!(series.evaluations, [Evaluation { step: 0, loss: 3.0 }]);
        assert_eq!(series.steps.len(), 1);
        assert!(series.steps[0].learning_rate.is_nan());
        write!(file, "{rest}").unwrap();
        series.refresh(&path).unwrap();
        assert_eq!(series.steps.iter().map(|s| (s.step, s.loss)).collect::<Vec<_>>(), [(1, 2.5), (2, 1.5)]);
        assert_eq!(series.rate(), Some(150.0));
        assert_eq!(series.rows_since(1).as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_resumed_run_is_read_from_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut series = Series::default();
        tolmach_durable::write(&path, row(1) + &row(2) + &row(3)).unwrap();
        series.refresh(&path).unwrap();
        // The state was of step 2; then two steps more: longer than before, and another file.
        tolmach_durable::write(&path, row(1) + &row(2) + &row(3) + &row(4)).unwrap();
        series.refresh(&path).unwrap();
        assert_eq!(series.steps.iter().map(|s| s.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
