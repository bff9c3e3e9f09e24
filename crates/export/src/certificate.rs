//! The certificate beside an export: what was compared, how far it was off, and of which bytes.

use crate::compare::Figures;
use crate::error::{Error, Result};
use serde::Serialize;
use std::io::Read;
use std::path::Path;

/// Written as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    /// This program's version.
    pub tolmach: &'static str,
    pub format: String,
    /// Name of the base model's folder, and the fingerprint of its weights.
    pub base: String,
    pub base_fingerprint: Option<String>,
    pub adapter: Option<String>,
    /// Texts that both models read.
    pub prompts: usize,
    /// What is on disk against the tuned model as it was trained, its adapter beside the base.
    pub logits: Option<Figures>,
    /// The merged weights before they were rounded, against the same: tight whatever the format.
    pub merged: Option<Figures>,
    /// What is on disk against the merged weights.
    pub weights: Vec<WeightFigures>,
    /// Texts that the exported tokenizer cuts into the same tokens.
    pub equal_texts: Option<usize>,
    pub warnings: Vec<String>,
    /// What does not hold; empty: the export is the model.
    pub failures: Vec<String>,
    pub files: Vec<FileFigures>,
}

/// All tensors of one stored type together.
#[derive(Clone, Debug, Serialize)]
pub struct WeightFigures {
    pub stored_as: String,
    pub tensors: usize,
    /// √(Σ difference² / Σ value²) of the worst tensor, and its name.
    pub worst_relative_rms: f64,
    pub worst_tensor: String,
    pub bound: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct FileFigures {
    pub name: String,
    pub bytes: u64,
    pub blake3: String,
}

impl Certificate {
    pub fn holds(&self) -> bool {
        self.failures.is_empty()
    }

    /// The merge is exact, every number is rounded as the format has it, and all but the logits is equal: it is
    /// the format that costs too much.
    pub fn is_coarse(&self) -> bool {
        let logits = self.logits.as_ref().map_or(0, |figures| figures.failures().len());
        self.merged.is_some() && logits > 0 && logits == self.failures.len()
    }

    /// # Errors
    /// The certificate says that the export is not the model.
    pub fn require(self) -> Result<Self> {
        if self.holds() { Ok(self) } else { Err(Error::NotEqual(Box::new(self))) }
    }

    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |source| Error::Write { path: path.to_path_buf(), source };
        let text = serde_json::to_string_pretty(self).map_err(|e| failed(e.into()))?;
        tolmach_durable::write(path, text + "\n").map_err(failed)
    }
}

impl FileFigures {
    /// # Errors
    /// The file cannot be read.
    pub fn of(path: &Path, name: &str) -> Result<Self> {
        let failed = |source| Error::Read { path: path.to_path_buf(), source };
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let mut hash = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        let mut bytes = 0;
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => break,
                read => {
                    hash.update(&buffer[..read]);
                    bytes += read as u64;
                }
            }
        }
        Ok(Self { name: name.into(), bytes, blake3: hash.finalize().to_hex().to_string() })
    }
}
