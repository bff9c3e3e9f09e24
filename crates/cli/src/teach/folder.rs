//! The run's folder: one folder per stage, what was asked for, and a lock.

use super::facts::{Marker, hash_file};
use super::{Stage, Started};
use crate::recipe::{RunPlan, Validation};
use crate::report::Failure;
use serde_json::{Value, json};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// What was asked for and what was done: versions, seeds, content hashes.
pub const RUN_FILE: &str = "run.json";
/// The recipe with nothing left out.
pub const RESOLVED_RECIPE: &str = "recipe.resolved.toml";
const LOCK: &str = ".lock";

/// Where a run lies. While it is open, no other program works in it.
pub struct RunFolder {
    path: PathBuf,
    /// Released when the program ends, however it ends.
    _lock: Option<File>,
}

impl RunFolder {
    /// Open or make the folder to work in it.
    ///
    /// # Errors
    /// It is in use; it holds something that is no run (unless `force`); it cannot be made.
    pub fn open(path: &Path, force: bool) -> Result<Self, Failure> {
        let name = path.display();
        let cannot = |e: std::io::Error| Failure::input(format!("cannot use the run folder {name}: {e}"));
        std::fs::create_dir_all(path).map_err(cannot)?;
        let is_run = [RUN_FILE, LOCK].iter().any(|file| path.join(file).exists());
        let is_empty = std::fs::read_dir(path).map_err(cannot)?.next().is_none();
        if !is_run && !is_empty && !force {
            return Err(Failure::usage(format!("{name} holds files that are no run of tolmach"))
                .hint("name another folder with -o, or use this one with --force"));
        }
        let lock = File::create(path.join(LOCK)).map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::usage(format!("another tolmach is working in {name}"))
                    .hint("wait for it, or name another folder with -o"));
            }
            // Not every file system has locks; without one the user must take care.
            Err(TryLockError::Error(_)) => {}
        }
        Ok(Self { path: path.to_path_buf(), _lock: Some(lock) })
    }

    /// The folder to look at only; it need not be there.
    pub fn look(path: &Path) -> Self {
        Self { path: path.to_path_buf(), _lock: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn stage(&self, stage: Stage) -> PathBuf {
        self.path.join(stage.folder())
    }

    pub fn file(&self, stage: Stage, name: &str) -> PathBuf {
        self.stage(stage).join(name)
    }

    /// Save what is asked for, before anything starts.
    ///
    /// # Errors
    /// An input cannot be read or a file cannot be written.
    pub fn record(&self, plan: &RunPlan, started: &Started) -> Result<Record, Failure> {
        let resolved = toml::to_string(&plan.resolved())?;
        let head = format!(
            "# {} with every setting filled in, as tolmach {} ran it.\n\n",
            started.recipe.display(),
            env!("CARGO_PKG_VERSION")
        );
        tolmach_durable::write(&self.path.join(RESOLVED_RECIPE), head + &resolved)?;
        let (split_seed, validation) = match &plan.validation {
            Validation::File(path) => (None, Some(path)),
            Validation::Share { seed, .. } => (Some(*seed), None),
        };
        let memory = plan.translate.as_ref().and_then(|t| t.memory.as_ref());
        let mut inputs = serde_json::Map::new();
        for path in [Some(&started.recipe), Some(&plan.data), validation, memory].into_iter().flatten() {
            inputs.insert(crate::hub::shown(path), hash_file(path)?.into());
        }
        let value = json!({
            "tolmach": env!("CARGO_PKG_VERSION"),
            "platform": {"os": std::env::consts::OS, "arch": std::env::consts::ARCH},
            "recipe": started.recipe,
            "set": started.sets,
            "seeds": {"train": plan.train.seed, "split": split_seed, "eval": plan.eval.seed},
            "inputs": inputs,
            "base": crate::hub::pinned(&plan.base).unwrap_or_else(|| plan.base.clone()),
            "stages": {},
        });
        let record = Record { path: self.path.join(RUN_FILE), value };
        record.write()?;
        Ok(record)
    }
}

/// `run.json`, growing with the stages.
pub struct Record {
    path: PathBuf,
    value: Value,
}

impl Record {
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, stage: Stage, marker: &Marker) -> Result<(), Failure> {
        let mut entry = serde_json::to_value(marker)?;
        entry["folder"] = stage.folder().into();
        self.value["stages"][stage.name()] = entry;
        self.write()
    }

    /// The stages so far.
    pub fn stages(&self) -> &Value {
        &self.value["stages"]
    }

    fn write(&self) -> Result<(), Failure> {
        Ok(tolmach_durable::write(&self.path, format!("{:#}\n", self.value))?)
    }
}
