//! Pushing, against a hub on this machine.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod server;

use server::{FakeHub, TOKEN, noise};
use std::sync::Arc;
use tolmach_hub::{Error, Hub, Kind, Progress, Push, PushFile, PushReport, Repo, Settings, Silent, Source};

fn client(hub: &FakeHub, token: Option<&str>) -> Hub {
    let find = |name: &str| match name {
        "HF_ENDPOINT" => Some(hub.endpoint()),
        "HF_HOME" => Some("/nonexistent".into()),
        "HF_TOKEN" => token.map(str::to_string),
        _ => None,
    };
    Hub::new(Settings::resolve(&find)).unwrap()
}

fn push_of(name: &str, kind: Kind, files: &[(&str, &[u8])]) -> Push {
    let file = |(path, content): &(&str, &[u8])| PushFile {
        path: path.to_string(),
        source: Source::Bytes(content.to_vec().into()),
    };
    let repo = Repo::parse(name, kind).unwrap().0;
    Push { repo, files: files.iter().map(file).collect(), private: false, summary: "Teach it Russian".into() }
}

fn send(hub: &FakeHub, push: &Push) -> Result<PushReport, Error> {
    let progress: Arc<dyn Progress> = Arc::new(Silent);
    client(hub, Some(TOKEN)).push(push, &progress)
}

#[test]
fn small_files_go_into_the_commit_and_large_ones_through_the_storage() {
    let hub = FakeHub::start();
    let folder = tempfile::tempdir().unwrap();
    let weights = noise(1, 700_000);
    let path = folder.path().join("w");
    std::fs::write(&path, &weights).unwrap();
    let mut push =
        push_of("org/name", Kind::Model, &[("README.md", "Карточка".as_bytes()), ("empty.bin", b"")]);
    push.files.push(PushFile { path: "adapter_model.safetensors".into(), source: Source::File(path) });
    let report = send(&hub, &push).unwrap();
    assert!(report.created && report.url.ends_with("/org/name"));
    assert_eq!(report.uploaded_bytes, 700_000);
    assert_eq!(report.sent.len(), 3);
    assert_eq!(hub.file("models/org/name", "main", "adapter_model.safetensors").unwrap(), weights);
    assert_eq!(hub.file("models/org/name", "main", "README.md").unwrap(), "Карточка".as_bytes());
    assert_eq!(hub.file("models/org/name", "main", "empty.bin").unwrap(), b"");
    assert_eq!(hub.state().repos["models/org/name"].messages.last().unwrap(), "Teach it Russian");

    // The same again sends nothing; what changed alone is sent.
    hub.forget_requests();
    let again = send(&hub, &push).unwrap();
    assert_eq!((again.commit, again.created, again.unchanged.len()), (None, false, 3));
    assert!(hub.storage_requests().is_empty());
    push.files[0].source = Source::Bytes("new".into());
    let changed = send(&hub, &push).unwrap();
    assert_eq!((changed.sent, changed.uploaded_bytes), (vec!["README.md".to_string()], 0));
}

#[test]
fn a_file_in_parts_arrives_whole() {
    let hub = FakeHub::start();
    hub.state().part_size = Some(100_000);
    let data = noise(2, 250_001);
    let push = push_of("org/data", Kind::DataSet, &[("data/train.parquet", &data)]);
    let report = send(&hub, &push).unwrap();
    assert_eq!(report.uploaded_bytes, 250_001);
    assert_eq!(hub.file("datasets/org/data", "main", "data/train.parquet").unwrap(), data);
    let parts = hub.storage_requests().iter().filter(|seen| seen.path.starts_with("/part/")).count();
    assert_eq!(parts, 3);
}

#[test]
fn a_branch_is_made_and_main_stays() {
    let hub = FakeHub::start();
    hub.commit("models/org/name", "main", &[("README.md", b"old")]);
    let report = send(&hub, &push_of("org/name@v2", Kind::Model, &[("README.md", b"new")])).unwrap();
    assert!(!report.created);
    assert_eq!(hub.file("models/org/name", "main", "README.md").unwrap(), b"old");
    assert_eq!(hub.file("models/org/name", "v2", "README.md").unwrap(), b"new");
    send(&hub, &push_of("org/name@v2", Kind::Model, &[("README.md", b"newer")])).unwrap();
    assert_eq!(hub.file("models/org/name", "v2", "README.md").unwrap(), b"newer");
}

#[test]
fn private_is_private_or_nothing_is_sent() {
    let hub = FakeHub::start();
    let mut push = push_of("org/name", Kind::Model, &[("README.md", b"secret")]);
    push.private = true;
    send(&hub, &push).unwrap();
    assert!(hub.state().repos["models/org/name"].private);
    hub.commit("models/org/public", "main", &[("x", b"")]);
    push.repo.id = "org/public".into();
    let error = send(&hub, &push).unwrap_err().to_string();
    assert!(error.contains("org/public is public"), "{error}");
    assert_eq!(hub.file("models/org/public", "main", "README.md"), None);
}

#[test]
fn refusals_name_the_token_and_send_nothing() {
    let hub = FakeHub::start();
    let push = push_of("org/name", Kind::Model, &[("README.md", b"x")]);
    let progress: Arc<dyn Progress> = Arc::new(Silent);
    let error = client(&hub, None).push(&push, &progress).unwrap_err();
    assert!(matches!(error, Error::NoToken) && error.hint().unwrap().contains("HF_TOKEN"));
    let error = client(&hub, Some("hf_wrong")).push(&push, &progress).unwrap_err();
    assert!(matches!(error, Error::BadToken { .. }) && !error.to_string().contains("hf_wrong"), "{error}");
    assert!(hub.state().repos.is_empty());
    hub.state().refuse_objects = true;
    let large = push_of("org/name", Kind::Model, &[("a.safetensors", b"x")]);
    let error = send(&hub, &large).unwrap_err().to_string();
    assert!(error.contains("a.safetensors") && error.contains("no room"), "{error}");
    assert_eq!(hub.file("models/org/name", "main", "a.safetensors"), None);
    assert_eq!(client(&hub, Some(TOKEN)).whoami().unwrap(), "tester");
}
