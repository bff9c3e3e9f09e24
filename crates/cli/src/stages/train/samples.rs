//! `samples.jsonl`: what the sample prompts were replied to, step by step.

use super::Sample;
use crate::report::Failure;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Which side replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replier {
    /// The untouched base, once before the first step.
    Base,
    /// The model as it was after `step` updates.
    Tuned,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub step: usize,
    pub side: Replier,
    pub prompt: String,
    pub reply: String,
}

/// The file, open for appending.
pub struct SamplesFile {
    path: PathBuf,
    file: File,
    /// Prompts that the base has replied to.
    of_base: Vec<String>,
}

impl SamplesFile {
    /// Open for a run that stands after `step` updates and will reply again at that very step: rows from
    /// there on (a killed run wrote them) are dropped, as is a row cut short.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path, step: usize) -> Result<Self, Failure> {
        let old = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Failure::input(format!("cannot read {}: {e}", path.display()))),
        };
        let is_known = |row: &Row| row.side == Replier::Base || row.step < step;
        let rows = old.lines().filter_map(|line| serde_json::from_str::<Row>(line).ok());
        let rows: Vec<Row> = rows.filter(is_known).collect();
        let mut kept = String::new();
        for row in &rows {
            kept += &(serde_json::to_string(row)? + "\n");
        }
        tolmach_durable::write(path, kept)?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(|e| Failure::input(format!("cannot write {}: {e}", path.display())))?;
        let of_base = rows.into_iter().filter(|row| row.side == Replier::Base).map(|row| row.prompt);
        Ok(Self { path: path.to_path_buf(), file, of_base: of_base.collect() })
    }

    /// Whether the base has replied to all of these.
    pub fn has_base(&self, prompts: &[String]) -> bool {
        prompts.iter().all(|prompt| self.of_base.contains(prompt))
    }

    /// Add the replies of one side, all or none as far as a reader of whole lines sees.
    ///
    /// # Errors
    /// The disk is full, say.
    pub fn add(&mut self, step: usize, side: Replier, samples: &[Sample]) -> Result<(), Failure> {
        let mut lines = String::new();
        for Sample { prompt, reply } in samples {
            let row = Row { step, side, prompt: prompt.clone(), reply: reply.clone() };
            lines += &(serde_json::to_string(&row)? + "\n");
        }
        if side == Replier::Base {
            self.of_base.extend(samples.iter().map(|sample| sample.prompt.clone()));
        }
        self.file
            .write_all(lines.as_bytes())
            .map_err(|e| Failure::input(format!("cannot write {}: {e}", self.path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(reply: &str) -> [Sample; 1] {
        [Sample { prompt: "Say\nA".into(), reply: reply.into() }]
    }

    fn steps(path: &Path) -> Vec<(usize, Replier)> {
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Row>(line).unwrap());
        rows.map(|row| (row.step, row.side)).collect()
    }

    #[test]
    fn a_resumed_run_repeats_no_reply_and_asks_the_base_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.jsonl");
        let prompts = ["Say\nA".to_string()];
        let mut file = SamplesFile::open(&path, 0).unwrap();
        assert!(!file.has_base(&prompts));
        file.add(0, Replier::Base, &sample("A")).unwrap();
        for step in [0, 5, 10] {
            file.add(step, Replier::Tuned, &sample("А\n\"б\"")).unwrap();
        }
        file.file.write_all(b"{\"step\": 15, \"si").unwrap(); // killed here
        drop(file);
        // The saved state is of step 10: its replies are made again.
        let mut file = SamplesFile::open(&path, 10).unwrap();
        assert!(file.has_base(&prompts) && !file.has_base(&["another".to_string()]));
        file.add(10, Replier::Tuned, &sample("А")).unwrap();
        use Replier::{Base, Tuned};
        assert_eq!(steps(&path), [(0, Base), (0, Tuned), (5, Tuned), (10, Tuned)]);
    }
}
