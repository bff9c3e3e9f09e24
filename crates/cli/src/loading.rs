//! What several commands load: threads, tokenizers, prompt templates, and the failures of models.

use crate::report::Failure;
use crate::ui::Ui;
use std::path::Path;
use tolmach_tokenize::{PromptTemplate, TemplateStrings, Tokenizer};

pub use tolmach_tokenize::TEMPLATE_FILE;

/// The name that stands for no template at all: what the user writes is continued as it is.
const NO_TEMPLATE: &str = "none";

/// A pool of so many threads (absent: one per core). Arithmetic runs inside it.
pub fn pool(threads: Option<usize>) -> Result<rayon::ThreadPool, Failure> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    builder.build().map_err(|e| Failure::input(format!("cannot start threads: {e}")))
}

/// The tokenizer of a model folder; its oddities are told.
pub fn tokenizer(base: &Path, ui: &Ui) -> Result<Tokenizer, Failure> {
    let tokenizer = Tokenizer::load(base)?;
    for warning in tokenizer.warnings() {
        ui.warn(warning);
    }
    Ok(tokenizer)
}

/// A template by name, for the command line: a built-in's, or `none`.
pub fn named_template(name: &str) -> Result<PromptTemplate, String> {
    if name == NO_TEMPLATE {
        let strings = TemplateStrings { without_input: "{instruction}".into(), with_input: None, turn: None };
        return PromptTemplate::own(strings).map_err(|e| e.to_string());
    }
    PromptTemplate::named(name).map_err(|e| format!("{e}; or `{NO_TEMPLATE}`"))
}

/// The template that an adapter was trained with; `alpaca-en` where its folder does not say.
pub fn adapter_template(adapter: Option<&Path>) -> Result<PromptTemplate, Failure> {
    let Some(folder) = adapter else { return Ok(PromptTemplate::default()) };
    let found = PromptTemplate::of_folder(folder);
    Ok(found.map_err(|e| Failure::from(e).hint("--template names another one"))?.unwrap_or_default())
}

/// Say in an adapter's folder which template it was trained with.
pub fn write_template(adapter: &Path, template: &PromptTemplate) -> Result<(), Failure> {
    Ok(template.write_to(adapter)?)
}

/// A model's error with its hint.
pub fn model_failure(error: tolmach_model::Error) -> Failure {
    let hint = error.hint();
    Failure::from(error).maybe_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_remembers_its_template() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(adapter_template(Some(dir.path())).unwrap().name(), "alpaca-en");
        let own =
            TemplateStrings { without_input: "Q: {instruction}\nA: ".into(), with_input: None, turn: None };
        for template in [PromptTemplate::named("alpaca-ru").unwrap(), PromptTemplate::own(own).unwrap()] {
            write_template(dir.path(), &template).unwrap();
            assert_eq!(adapter_template(Some(dir.path())).unwrap(), template);
        }
        std::fs::write(dir.path().join(tolmach_tokenize::TEMPLATE_FILE), r#"{"template": "alpaka"}"#)
            .unwrap();
        let message = adapter_template(Some(dir.path())).unwrap_err().to_string();
        assert!(message.contains("template.json") && message.contains("alpaka"), "{message}");
    }

    #[test]
    fn none_continues_what_is_written() {
        assert_eq!(named_template("none").unwrap().render_prompt("Once", ""), "Once");
        assert!(named_template("llama").unwrap_err().contains("alpaca-ru"));
    }
}
