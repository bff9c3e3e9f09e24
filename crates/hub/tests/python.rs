//! One cache for two programs: what the `huggingface_hub` package fetches serves here, and the other way round.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod server;

use server::{FakeHub, noise};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tolmach_hub::{Hub, Kind, Progress, Repo, Settings, Silent, Wanted};

/// The first Python with the package.
fn python() -> Option<String> {
    let named = std::env::var("TOLMACH_PYTHON").ok();
    let found = named.into_iter().chain(["python3".to_string()]).find(|python| {
        let import = Command::new(python).args(["-c", "import huggingface_hub"]).output();
        import.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        eprintln!("skipped: no python3 (or TOLMACH_PYTHON) with the package huggingface_hub");
    }
    found
}

/// What a script prints, run with the cache and the hub.
fn run(python: &str, script: &str, cache: &Path, endpoint: &str, offline: bool) -> Result<String, String> {
    let output = Command::new(python)
        .args(["-c", script])
        .env_clear()
        .envs(["PATH", "HOME", "LD_LIBRARY_PATH"].iter().filter_map(|n| Some((n, std::env::var_os(n)?))))
        .env("HF_HUB_CACHE", cache)
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HUB_OFFLINE", if offline { "1" } else { "0" })
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_string()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn fetch(cache: &Path, endpoint: &str, offline: bool) -> tolmach_hub::Result<PathBuf> {
    let find = |name: &str| match name {
        "HF_HUB_CACHE" => Some(cache.display().to_string()),
        "HF_ENDPOINT" => Some(endpoint.to_string()),
        "HF_HUB_OFFLINE" => offline.then(|| "1".to_string()),
        _ => None,
    };
    let progress: Arc<dyn Progress> = Arc::new(Silent);
    let repo = Repo::parse("org/name", Kind::Model).unwrap().0;
    Ok(Hub::new(Settings::resolve(&find)).unwrap().fetch(&repo, &Wanted::Model, &progress)?.path)
}

fn hub() -> FakeHub {
    let hub = FakeHub::start();
    // The last two are not fetched here: a snapshot may be a part of its commit.
    let files: [(&str, &[u8]); 5] = [
        ("config.json", b"{}"),
        ("model.safetensors", &noise(1, 50_000)),
        ("tokenizer.json", b"{\"a\": 1}"),
        ("README.md", b"card"),
        ("flax_model.msgpack", b"flax"),
    ];
    hub.commit("models/org/name", "main", &files);
    hub
}

const ALL: &str = "
from huggingface_hub import snapshot_download
print(snapshot_download('org/name', allow_patterns=['*.json', '*.safetensors']))";
const EACH: &str = "
from huggingface_hub import hf_hub_download
for name in ['config.json', 'model.safetensors', 'tokenizer.json']:
    path = hf_hub_download('org/name', name)
print(path.rsplit('/', 1)[0])";

#[test]
fn what_tolmach_fetched_serves_huggingface_hub() {
    let Some(python) = python() else { return };
    let (hub, cache) = (hub(), tempfile::tempdir().unwrap());
    let ours = fetch(cache.path(), &hub.endpoint(), false).unwrap();
    for script in [ALL, EACH] {
        let theirs = run(&python, script, cache.path(), &hub.endpoint(), true).unwrap();
        assert_eq!(Path::new(&theirs), ours);
        hub.forget_requests();
        let theirs = run(&python, script, cache.path(), &hub.endpoint(), false).unwrap();
        assert_eq!(Path::new(&theirs), ours);
        assert!(hub.storage_requests().is_empty(), "it was fetched again");
    }
    // A file that the commit lacks: the package knows it without a question.
    let absent = "
from huggingface_hub import try_to_load_from_cache, _CACHED_NO_EXIST
print(try_to_load_from_cache('org/name', 'generation_config.json') is _CACHED_NO_EXIST)";
    assert_eq!(run(&python, absent, cache.path(), &hub.endpoint(), true).unwrap(), "True");
    let scan = "
from huggingface_hub import scan_cache_dir
report = scan_cache_dir()
print(len(report.repos), len(report.warnings), sum(r.nb_files for r in report.repos))";
    assert_eq!(run(&python, scan, cache.path(), &hub.endpoint(), true).unwrap(), "1 0 3");
}

#[test]
fn what_huggingface_hub_fetched_serves_tolmach() {
    let Some(python) = python() else { return };
    for script in [ALL, EACH] {
        let (hub, cache) = (hub(), tempfile::tempdir().unwrap());
        let theirs = run(&python, script, cache.path(), &hub.endpoint(), false).unwrap();
        assert_eq!(fetch(cache.path(), &hub.endpoint(), true).unwrap(), Path::new(&theirs));
        hub.forget_requests();
        assert_eq!(fetch(cache.path(), &hub.endpoint(), false).unwrap(), Path::new(&theirs));
        assert!(hub.storage_requests().is_empty(), "it was fetched again");
    }
}

#[test]
fn the_hub_of_these_tests_takes_what_the_package_uploads() {
    let Some(python) = python() else { return };
    let (hub, cache) = (hub(), tempfile::tempdir().unwrap());
    let upload = format!(
        "
import os
os.environ['HF_HUB_DISABLE_XET'] = '1'
from huggingface_hub import HfApi
api = HfApi(token='{}')
api.create_repo('org/new', exist_ok=True)
open('{1}/w.safetensors', 'wb').write(bytes(range(256)) * 40)
api.upload_file(path_or_fileobj='{1}/w.safetensors', path_in_repo='model.safetensors', repo_id='org/new')
api.upload_file(path_or_fileobj=b'{{}}', path_in_repo='config.json', repo_id='org/new')
print('done')",
        server::TOKEN,
        cache.path().display()
    );
    let done = run(&python, &upload, cache.path(), &hub.endpoint(), false);
    assert_eq!(done.unwrap(), "done");
    assert_eq!(hub.file("models/org/new", "main", "model.safetensors").unwrap().len(), 10_240);
}
