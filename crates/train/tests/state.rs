//! The training state on disk: damaged, foreign, large.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use common::{Bench, model, ten_steps};
use tolmach_engine::CpuBackend;
use tolmach_train::{Error, Identity, State, TrainConfig};

fn saved() -> (tempfile::TempDir, Bench) {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig { max_steps: Some(2), keep_best: true, ..ten_steps() };
    let bench = Bench::new(dir.path(), &config);
    bench.run(&mut model(), |_| {}).unwrap();
    (dir, bench)
}

fn load(bench: &Bench, identity: &Identity) -> Result<State<CpuBackend>, Error> {
    State::load(&bench.files.state, &mut model(), identity)
}

#[test]
fn what_is_saved_is_loaded() {
    let (_dir, bench) = saved();
    let state = load(&bench, &bench.files.identity).unwrap();
    assert_eq!((state.progress.step, state.progress.losses.len()), (2, 2));
    assert_eq!(state.progress.evaluations.len(), 2); // before the first step and after the last
    let bytes = std::fs::read(&bench.files.state).unwrap();
    let mut model = model();
    let state = State::load(&bench.files.state, &mut model, &bench.files.identity).unwrap();
    state.save(&bench.files.state, &mut model, &bench.files.identity).unwrap();
    assert!(bytes == std::fs::read(&bench.files.state).unwrap(), "loaded and saved again: the same bytes");
}

#[test]
fn a_state_cut_or_changed_anywhere_is_refused_by_name() {
    let (_dir, bench) = saved();
    let whole = std::fs::read(&bench.files.state).unwrap();
    let check = |bytes: &[u8], what: &str| {
        std::fs::write(&bench.files.state, bytes).unwrap();
        let error = load(&bench, &bench.files.identity).err().unwrap_or_else(|| panic!("{what} was read"));
        assert!(matches!(error, Error::CorruptState { .. }), "{what}: {error}");
        let message = error.to_string();
        assert!(message.contains("training-state.safetensors") && error.hint().is_some(), "{message}");
    };
    for cut in (0..whole.len()).step_by(whole.len() / 40).chain([whole.len() - 1]) {
        check(&whole[..cut], &format!("cut at {cut}"));
    }
    // The padding after the header says nothing; every other byte counts.
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let padding = whole[..8 + header].iter().rposition(|&b| b != b' ').unwrap() + 1..8 + header;
    for at in (0..whole.len()).step_by(97).filter(|at| !padding.contains(at)) {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        check(&changed, &format!("a bit flipped at {at}"));
    }
}

#[test]
fn a_state_of_another_run_names_what_differs() {
    let (_dir, bench) = saved();
    let other = bench.files.identity.clone().with("learning_rate", &0.5).with("base", &"b");
    let error = load(&bench, &other).err().unwrap();
    let message = error.to_string();
    assert!(matches!(error, Error::OtherRun { .. }));
    assert!(message.contains("learning_rate: 0.01 then, 0.5 now"), "{message}");
    assert!(message.contains("base: absent then, b now"), "{message}");
    assert!(!message.contains("seed"), "{message}");
}

#[test]
fn a_missing_state_is_said_to_be_missing() {
    let (_dir, bench) = saved();
    std::fs::remove_file(&bench.files.state).unwrap();
    let message = load(&bench, &bench.files.identity).err().unwrap().to_string();
    assert!(message.contains("cannot read") && message.contains("training-state"), "{message}");
}

#[test]
fn a_failed_save_keeps_the_older_state() {
    let (dir, bench) = saved();
    let before = std::fs::read(&bench.files.state).unwrap();
    let mut model = model();
    let state = State::load(&bench.files.state, &mut model, &bench.files.identity).unwrap();
    let backend = std::sync::Arc::clone(&model.backend);
    use tolmach_engine::Backend;
    backend.write(&[f32::NAN], &mut model.parameters_mut()[0].value);
    let error = state.save(&bench.files.state, &mut model, &bench.files.identity).unwrap_err();
    assert!(matches!(error, Error::WeightNotFinite { step: 2, .. }), "{error}");
    assert!(before == std::fs::read(&bench.files.state).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "state and metrics, nothing temporary");
}
