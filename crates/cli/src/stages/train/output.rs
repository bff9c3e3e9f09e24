//! The output folder: what may be there beforehand, and what is there afterwards.

use super::{TrainOptions, Tuning, train_failure};
use crate::loading::{model_failure, write_template};
use crate::report::Failure;
use crate::ui::Ui;
use std::path::{Path, PathBuf};
use tolmach_engine::{CpuBackend, Dtype};
use tolmach_model::{ADAPTER_WEIGHTS, AdapterInfo, Decoder};
use tolmach_tokenize::TOKENIZER_FILES;
use tolmach_train::{Identity, Live, State};

/// The training state in the output folder.
pub const STATE: &str = "training-state.safetensors";
const METRICS: &str = "metrics.jsonl";
/// Replies to the sample prompts, step by step.
const SAMPLES: &str = "samples.jsonl";
/// The facts of the run and how it stands.
const RECORD: &str = "training.json";
/// The adapter as it is while it trains, and the file that asks for it.
const LIVE: &str = "live";
const LIVE_REQUEST: &str = "live.request";
const MODEL_WEIGHTS: &str = "model.safetensors";

/// An output folder that may be written to.
pub struct Output {
    folder: PathBuf,
    full: bool,
}

impl Output {
    /// # Errors
    /// The folder holds a result or an unfinished training, and neither `resume` nor `force` is set;
    /// it is the folder of the base.
    pub fn check(options: &TrainOptions) -> Result<Self, Failure> {
        let folder = options.output.clone();
        let output = Self { folder, full: matches!(options.tuning, Tuning::Full) };
        let name = output.folder.display();
        if let (Ok(a), Ok(b)) = (output.folder.canonicalize(), options.base.canonicalize())
            && a == b
        {
            return Err(Failure::usage(format!("{name} is the base model's own folder"))
                .hint("give the result a folder of its own with -o"));
        }
        if options.force || options.resume {
            return Ok(output);
        }
        let (result, what) = output.result();
        if result.exists() {
            return Err(Failure::usage(format!("{name} holds {what} already"))
                .hint("--force overwrites it, another -o keeps it"));
        }
        if output.state().exists() {
            return Err(Failure::usage(format!("{name} holds an unfinished training"))
                .hint("--resume goes on with it, --force starts over"));
        }
        Ok(output)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn state(&self) -> PathBuf {
        self.folder.join(STATE)
    }

    pub fn metrics(&self) -> PathBuf {
        self.folder.join(METRICS)
    }

    pub fn samples(&self) -> PathBuf {
        self.folder.join(SAMPLES)
    }

    pub fn record(&self) -> PathBuf {
        self.folder.join(RECORD)
    }

    /// Where the adapter can be looked at while it trains, ready to be asked for. A model trained in full
    /// is too large for that.
    ///
    /// # Errors
    /// The prompt template cannot be written there.
    pub fn live(
        &self,
        options: &TrainOptions,
        adapter: Option<&AdapterInfo>,
    ) -> Result<Option<Live>, Failure> {
        let Some(info) = adapter else { return Ok(None) };
        let (folder, request) = (self.folder.join(LIVE), self.folder.join(LIVE_REQUEST));
        self.forget_live();
        write_template(&folder, &options.template)?;
        Ok(Some(Live { folder, request, info: info.clone() }))
    }

    /// Take the passing adapter away: there is a lasting one, or none that goes on.
    pub fn forget_live(&self) {
        // What cannot be removed is only in the way; it is never taken for the result.
        let _ = std::fs::remove_dir_all(self.folder.join(LIVE));
        let _ = std::fs::remove_file(self.folder.join(LIVE_REQUEST));
    }

    fn result(&self) -> (PathBuf, &'static str) {
        if self.full {
            (self.folder.join(MODEL_WEIGHTS), "a model")
        } else {
            (self.folder.join(ADAPTER_WEIGHTS), "an adapter")
        }
    }

    /// The state to start from: a fresh one, or the saved one with its weights put into the model.
    pub fn start(
        &self,
        options: &TrainOptions,
        model: &mut Decoder<CpuBackend>,
        identity: &Identity,
        ui: &Ui,
    ) -> Result<State<CpuBackend>, Failure> {
        self.sweep();
        let path = self.state();
        if options.resume && !options.force {
            if path.exists() {
                let state = State::load(&path, model, identity).map_err(train_failure)?;
                ui.say(format!("going on after step {}", state.progress.step));
                return Ok(state);
            }
            ui.say(format!("no training state in {}: starting at step 0", self.folder.display()));
        }
        // Before the first step: what a killed run leaves must not be taken for an older run's.
        for old in [path, self.metrics(), self.samples()] {
            if let Err(e) = std::fs::remove_file(&old)
                && e.kind() != std::io::ErrorKind::NotFound
            {
                return Err(Failure::input(format!("cannot remove {}: {e}", old.display())));
            }
        }
        State::new(model).map_err(train_failure)
    }

    /// Remove what a killed run left half written: its temporary files, which nobody will rename any more.
    fn sweep(&self) {
        let is_left_over = |name: &str| {
            let ours = [STATE, METRICS, SAMPLES, RECORD, ADAPTER_WEIGHTS, MODEL_WEIGHTS];
            let ours = ours.iter().any(|file| name.starts_with(&format!(".{file}.")));
            ours && name.ends_with(".tmp")
        };
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if is_left_over(&entry.file_name().to_string_lossy()) {
                let _ = std::fs::remove_file(entry.path()); // it only takes up space
            }
        }
    }

    /// The adapter with its prompt template, or the model with its tokenizer.
    pub fn write_result(
        &self,
        options: &TrainOptions,
        model: &mut Decoder<CpuBackend>,
        adapter: Option<&AdapterInfo>,
    ) -> Result<(), Failure> {
        match adapter {
            Some(info) => {
                model.save_adapter(&self.folder, info).map_err(model_failure)?;
                write_template(&self.folder, &options.template)
            }
            None => {
                model.save(&self.folder, Dtype::F32).map_err(model_failure)?;
                // The tokenizer and how to generate are those of the base.
                for name in TOKENIZER_FILES.into_iter().chain(["generation_config.json"]) {
                    if let Ok(bytes) = std::fs::read(options.base.join(name)) {
                        tolmach_durable::write(&self.folder.join(name), bytes)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Size of the weights that were written.
    pub fn result_bytes(&self) -> Result<u64, Failure> {
        Ok(std::fs::metadata(self.result().0)?.len())
    }
}
