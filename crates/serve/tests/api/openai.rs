//! The official `openai` Python client, unchanged, against this server.

use crate::common::{Server, options};
use std::path::Path;
use std::process::Command;
use tolmach_serve::EngineOptions;

/// The interpreter that has the client, if any: `TOLMACH_PYTHON`, else `python3`.
fn python() -> Option<String> {
    let python = std::env::var("TOLMACH_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", "import openai"]).output();
    match found {
        Ok(output) if output.status.success() => Some(python),
        _ => {
            eprintln!("skipped: `{python}` has no package `openai` (pip install openai; TOLMACH_PYTHON)");
            None
        }
    }
}

#[test]
fn the_openai_client_works_unchanged() {
    let Some(python) = python() else { return };
    let mut options = options();
    options.api_key = Some("sk-test".into());
    let server = Server::with(options, EngineOptions::default(), None);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/openai_client.py");
    let url = format!("http://{}/v1", server.address);
    let output = Command::new(python).arg(script).args([&url, "sk-test", "base"]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    eprintln!("{out}");
}
