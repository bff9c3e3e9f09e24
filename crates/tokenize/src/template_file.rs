//! `template.json`: which prompt template a folder's model or adapter was trained with.

use crate::error::Error;
use crate::template::PromptTemplate;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// `{"template": "alpaca-ru"}`, or the template's strings in place of the name.
pub const TEMPLATE_FILE: &str = "template.json";

#[derive(Serialize, Deserialize)]
struct TemplateFile {
    template: PromptTemplate,
}

impl PromptTemplate {
    /// The template that a folder names; `None` where it names none.
    ///
    /// # Errors
    /// The file cannot be read, or holds no template.
    pub fn of_folder(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(TEMPLATE_FILE);
        match std::fs::read(&path) {
            Ok(text) => {
                let file: TemplateFile =
                    serde_json::from_slice(&text).map_err(|source| Error::TemplateFile { path, source })?;
                Ok(Some(file.template))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Say in a folder that its model or adapter was trained with this template.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<(), Error> {
        let json = serde_json::to_string_pretty(&TemplateFile { template: self.clone() });
        let text = json.expect("strings are always JSON") + "\n";
        tolmach_durable::write(&folder.join(TEMPLATE_FILE), text).map_err(Error::Write)
    }
}
