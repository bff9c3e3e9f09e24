//! The adapter as it is now, for whoever watches a training: a folder that can be loaded while it goes on.

use crate::error::Error;
use std::path::PathBuf;
use tolmach_engine::Backend;
use tolmach_model::{AdapterInfo, Decoder};

/// Where the present adapter is laid down, in PEFT's format, at each evaluation and whenever asked for.
///
/// It is only read from the model: a training that is watched gives the same bytes as one that is not.
#[derive(Clone, Debug)]
pub struct Live {
    pub folder: PathBuf,
    /// While a file of this name is there, someone wants to see the adapter as it is now.
    pub request: PathBuf,
    pub info: AdapterInfo,
}

impl Live {
    /// Whether someone has asked since the last time; one look at a folder, between steps.
    pub(crate) fn is_requested(&self) -> bool {
        self.request.exists()
    }

    /// Write the adapter. What is asked for from here on is answered by the next one.
    pub(crate) fn write<B: Backend>(&self, model: &mut Decoder<B>, step: usize) -> Result<(), Error> {
        match std::fs::remove_file(&self.request) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Write { source });
            }
            _ => {}
        }
        Ok(model.save_snapshot(&self.folder, &self.info, step)?)
    }
}
