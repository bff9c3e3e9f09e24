//! From what the user typed to what is valid, in one place.

use super::{BaseSection, DataSection, Recipe, Source};
use crate::commands::translate::fetch_engine;
use crate::hub;
use crate::report::{Exit, Failure};
use crate::stages::train::Quantize;
use crate::ui::Ui;
use std::path::{Path, PathBuf};
use tolmach_corpus::{CleanConfig, data_files};
use tolmach_eval::EvalConfig;
use tolmach_hub::Kind;
use tolmach_model::LoraConfig;
use tolmach_tokenize::{BUILT_IN_TEMPLATES, PromptTemplate};
use tolmach_train::TrainConfig;
use tolmach_translate::{EngineKind, TranslateConfig};

/// A valid run: every default filled in, paths as seen from the working folder, files known to be there.
#[derive(Clone, Debug)]
pub struct RunPlan {
    pub data: PathBuf,
    pub from: String,
    pub to: String,
    pub validation: Validation,
    /// 0 where nothing is translated.
    pub replay_share: f64,
    pub train_on_prompt: bool,
    pub clean: CleanConfig,
    pub translate: Option<TranslateConfig>,
    pub base: PathBuf,
    pub quantize: Option<Quantize>,
    pub template: PromptTemplate,
    pub source_template: PromptTemplate,
    pub lora: LoraConfig,
    pub train: TrainConfig,
    pub eval: EvalConfig,
}

/// What the loss is watched on.
#[derive(Clone, Debug, PartialEq)]
pub enum Validation {
    File(PathBuf),
    /// A share of the examples, chosen by a hash of their source text under a seed.
    Share {
        share: f64,
        seed: u64,
    },
}

const DEFAULT_VALIDATION_SHARE: f64 = 0.02;
const DEFAULT_REPLAY_SHARE: f64 = 0.1;
/// Replies to held-out examples of the data set itself, where `[eval]` sets no `limit`.
const DEFAULT_EVAL_LIMIT: usize = 200;

impl RunPlan {
    /// Check a recipe and fill in its defaults; relative paths are relative to the recipe's folder.
    ///
    /// # Errors
    /// A setting is missing, impossible or contradicts another (exit 2), with its line where it has one;
    /// a file or folder is not there (exit 3).
    pub fn new(recipe: Recipe, source: &Source) -> Result<Self, Failure> {
        let folder = source.file.parent().unwrap_or(Path::new(""));
        Self::check(recipe, folder).map_err(|failure| source.locate(failure))
    }

    fn check(recipe: Recipe, folder: &Path) -> Result<Self, Failure> {
        let Recipe { data, clean, translate, base, lora, train, eval } = recipe;
        // Beside the recipe, or at the Hub.
        let place = |path: Option<PathBuf>, kind| path.map(|path| beside_or_remote(folder, path, kind));
        let here = |path| place(path, Kind::DataSet);
        let from = data.from.unwrap_or_else(|| "en".to_string());
        let to = data.to.ok_or_else(|| missing("[data] to", "the language to be learnt, as `ru`"))?;
        let validation = validation(here(data.validation), data.validation_share, data.split_seed)?;
        let translate = translation(translate, &from, &to, folder)?;
        let replay_share = match (&translate, data.replay_share) {
            (None, None | Some(0.0)) => 0.0,
            (None, Some(_)) => {
                return Err(Failure::usage(format!(
                    "[data] replay_share is set, but nothing is translated: the examples are in {to} already"
                )));
            }
            (Some(_), share) => share.unwrap_or(DEFAULT_REPLAY_SHARE),
        };
        within("[data] replay_share", replay_share, 10.0)?;

        clean.validate().map_err(Failure::usage)?;
        lora.check().map_err(|e| Failure::usage(format!("[lora] {e}")))?;
        train.check().map_err(Failure::usage)?;
        let template = base.template.unwrap_or_else(|| alpaca(&to));
        let source_template = base.source_template.unwrap_or_else(|| alpaca(&from));
        let plan = Self {
            data: here(data.path).ok_or_else(|| missing("[data] path", "the file with the examples"))?,
            validation,
            replay_share,
            train_on_prompt: data.train_on_prompt.unwrap_or(false),
            clean,
            translate,
            base: place(base.model, Kind::Model).ok_or_else(|| {
                missing("[base] model", "the folder of the base model, or org/name at the Hub")
            })?,
            quantize: base.quantize,
            eval: evaluation(eval, folder, (&template, &source_template), (&from, &to))?,
            template,
            source_template,
            lora,
            train,
            from,
            to,
        };
        plan.check_held_out()?;
        plan.check_files()?;
        Ok(plan)
    }

    /// Whether the card is made on held-out examples of the data set itself.
    pub fn evaluates_validation(&self) -> bool {
        self.eval.data.is_none()
    }

    fn check_held_out(&self) -> Result<(), Failure> {
        let none = matches!(self.validation, Validation::Share { share, .. } if share == 0.0);
        if none && self.evaluates_validation() {
            return Err(Failure::usage(
                "[data] validation_share is 0 and [eval] has no data: nothing is held out",
            )
            .hint("hold out a share, or name a file of held-out examples: [eval] data"));
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), Failure> {
        let validation = match &self.validation {
            Validation::File(path) => Some(path),
            Validation::Share { .. } => None,
        };
        let memory = self.translate.as_ref().and_then(|t| t.memory.as_ref());
        let files = [
            ("[data] path", Some(&self.data)),
            ("[data] validation", validation),
            ("[translate] memory", memory),
            ("[eval] data", self.eval.data.as_ref()),
            ("[eval] source_data", self.eval.source_data.as_ref()),
            ("[eval] text", self.eval.text.as_ref()),
            ("[eval] source_text", self.eval.source_text.as_ref()),
        ];
        for (key, path) in files {
            let is_here =
                |path: &Path| data_files(path).is_ok_and(|files| files.iter().all(|file| file.is_file()));
            if let Some(path) = path.filter(|path| !is_here(path) && !hub::is_remote(path, Kind::DataSet)) {
                return Err(Failure::input(format!("{key}: there is no file {}", path.display()))
                    .hint("relative paths are relative to the recipe"));
            }
        }
        if !self.base.is_dir() && !hub::is_remote(&self.base, Kind::Model) {
            let folder = self.base.display();
            return Err(Failure::input(format!("[base] model: there is no folder {folder}"))
                .hint("relative paths are relative to the recipe; the folder holds config.json, the weights and the tokenizer"));
        }
        Ok(())
    }

    /// Have what is named at the Hub on this machine; from here on the plan names files and folders alone.
    ///
    /// # Errors
    /// The Hub does not give it; the message names the key.
    pub fn fetch(&mut self, ui: &Ui) -> Result<(), Failure> {
        let named = |key: &'static str| {
            move |mut failure: Failure| {
                failure.error = anyhow::anyhow!("{key}: {}", failure.error);
                failure
            }
        };
        self.base = hub::model(&self.base, ui).map_err(named("[base] model"))?;
        self.data = hub::data(&self.data, ui).map_err(named("[data] path"))?;
        if let Validation::File(path) = &mut self.validation {
            *path = hub::data(path, ui).map_err(named("[data] validation"))?;
        }
        let eval = &mut self.eval;
        for (key, path) in [
            ("[eval] data", &mut eval.data),
            ("[eval] source_data", &mut eval.source_data),
            ("[eval] text", &mut eval.text),
            ("[eval] source_text", &mut eval.source_text),
        ] {
            *path = hub::optional(path.as_deref(), hub::data, ui).map_err(named(key))?;
        }
        match &mut self.translate {
            Some(translate) => fetch_engine(translate, ui).map_err(named("[translate] model")),
            None => Ok(()),
        }
    }

    /// The same run as a recipe with nothing left out and absolute paths; what is of the Hub is named with its
    /// commit.
    pub fn resolved(&self) -> Recipe {
        let full = |path: &PathBuf| {
            hub::pinned(path).unwrap_or_else(|| std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        };
        let (validation, share, seed) = match &self.validation {
            Validation::File(path) => (Some(full(path)), None, None),
            Validation::Share { share, seed } => (None, Some(*share), Some(*seed)),
        };
        let mut translate = self.translate.clone();
        if let Some(translate) = &mut translate {
            translate.memory = translate.memory.as_ref().map(full);
            translate.journal = translate.journal.as_ref().map(full);
            if let Some(name) = translate.model.as_ref().and_then(|model| hub::pinned(Path::new(model))) {
                translate.model = Some(name.to_string_lossy().into_owned());
            }
        }
        let mut eval = self.eval.clone();
        for path in [&mut eval.data, &mut eval.source_data, &mut eval.text, &mut eval.source_text] {
            *path = path.as_ref().map(full);
        }
        Recipe {
            data: DataSection {
                path: Some(full(&self.data)),
                from: Some(self.from.clone()),
                to: Some(self.to.clone()),
                validation,
                validation_share: share,
                split_seed: seed,
                replay_share: self.translate.as_ref().map(|_| self.replay_share),
                train_on_prompt: Some(self.train_on_prompt),
            },
            clean: self.clean.clone(),
            translate,
            base: BaseSection {
                model: Some(full(&self.base)),
                quantize: self.quantize,
                template: Some(self.template.clone()),
                source_template: Some(self.source_template.clone()),
            },
            lora: self.lora.clone(),
            train: self.train.clone(),
            eval,
        }
    }
}

/// What lies beside the recipe wins.
fn beside_or_remote(folder: &Path, path: PathBuf, kind: Kind) -> PathBuf {
    let beside = folder.join(&path);
    if !beside.exists() && hub::is_remote(&path, kind) { path } else { beside }
}

fn missing(key: &str, what: &str) -> Failure {
    Failure::usage(format!("{key} is missing: {what}"))
}

fn within(key: &str, value: f64, most: f64) -> Result<(), Failure> {
    match (0.0..=most).contains(&value) {
        true => Ok(()),
        false => Err(Failure::usage(format!("{key} = {value}: expected a number from 0 to {most}"))),
    }
}

fn validation(file: Option<PathBuf>, share: Option<f64>, seed: Option<u64>) -> Result<Validation, Failure> {
    match (file, share) {
        (Some(_), Some(_)) => Err(Failure::usage(
            "[data] validation_share and validation are both set; they say the same thing twice: remove one",
        )),
        (Some(file), None) => Ok(Validation::File(file)),
        (None, share) => {
            let share = share.unwrap_or(DEFAULT_VALIDATION_SHARE);
            within("[data] validation_share", share, 0.5)?;
            Ok(Validation::Share { share, seed: seed.unwrap_or(0) })
        }
    }
}

/// The section `[translate]` with the languages of `[data]`; none where nothing is to be translated.
///
/// # Errors
/// It is missing, superfluous or has a setting that makes no sense.
pub fn translation(
    section: Option<TranslateConfig>,
    from: &str,
    to: &str,
    folder: &Path,
) -> Result<Option<TranslateConfig>, Failure> {
    let same = from.eq_ignore_ascii_case(to);
    let mut section = match section {
        None if same => return Ok(None),
        None => {
            return Err(missing("[translate] engine", &format!("who translates from {from} to {to}?")).hint(
                "add a section [translate]; if the examples are in that language already, set [data] from to it",
            ));
        }
        Some(_) if same => {
            return Err(Failure::usage(format!(
                "[data] from and to are both `{to}`, but there is a section [translate]"
            ))
            .hint("remove the section, or say in [data] from which language the examples are in"));
        }
        Some(section) => section,
    };
    let default = TranslateConfig::default();
    let said = [("from", &section.from, &default.from, from), ("to", &section.to, &default.to, to)];
    if let Some((key, value, _, data)) =
        said.into_iter().find(|(_, value, default, data)| value != default && value != data)
    {
        return Err(Failure::usage(format!("[translate] {key} is \"{value}\", but \"{data}\" in [data]"))
            .hint("the languages are said in [data]; leave them out here"));
    }
    (section.from, section.to) = (from.to_string(), to.to_string());
    let mut engine = Some(&mut section);
    while let Some(config) = engine {
        config.memory = config.memory.take().map(|path| folder.join(path));
        if config.engine == EngineKind::Marian {
            let model = config.model.take().map(|model| beside_or_remote(folder, model.into(), Kind::Model));
            config.model = model.map(|model| model.to_string_lossy().into_owned());
        }
        engine = config.fallback.as_deref_mut();
    }
    section.journal = section.journal.map(|path| folder.join(path));
    section.options().map_err(|e| Failure::usage(format!("[translate] {e}")))?;
    Ok(Some(section))
}

/// The section `[eval]` with the templates of `[base]` and the languages of `[data]`.
fn evaluation(
    mut section: EvalConfig,
    folder: &Path,
    (template, source_template): (&PromptTemplate, &PromptTemplate),
    (from, to): (&str, &str),
) -> Result<EvalConfig, Failure> {
    for path in [&mut section.data, &mut section.source_data, &mut section.text, &mut section.source_text] {
        *path = path.take().map(|path| beside_or_remote(folder, path, Kind::DataSet));
    }
    section.template.get_or_insert_with(|| template.clone());
    section.source_template.get_or_insert_with(|| source_template.clone());
    section.language.get_or_insert_with(|| to.to_string());
    section.source_language.get_or_insert_with(|| from.to_string());
    if section.data.is_none() {
        section.limit.get_or_insert(DEFAULT_EVAL_LIMIT);
    }
    section.settings().map_err(|e| Failure::from(e).exit(Exit::Usage))?;
    Ok(section)
}

/// The alpaca template in a language, or in English where there is none.
fn alpaca(language: &str) -> PromptTemplate {
    let main = language.split(['-', '_']).next().unwrap_or(language).to_ascii_lowercase();
    let name = format!("alpaca-{main}");
    let built_in = BUILT_IN_TEMPLATES.iter().find(|t| t.name == name);
    built_in.and_then(|t| PromptTemplate::named(t.name).ok()).unwrap_or_default()
}
