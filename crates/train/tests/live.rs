//! A training that is watched: what can be looked at meanwhile, and that it changes nothing.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use common::{Bench, adapter_bytes, base, lora, model, ten_steps};
use std::path::Path;
use tolmach_engine::CpuBackend;
use tolmach_model::{AdapterInfo, snapshot_step};
use tolmach_train::{Event, Live, TrainConfig};

fn live(folder: &Path) -> Live {
    let info = AdapterInfo { lora: lora(), base_model_name_or_path: None };
    Live { folder: folder.join("live"), request: folder.join("live.request"), info }
}

fn watched(folder: &Path) -> Bench {
    let mut bench = Bench::new(folder, &TrainConfig { eval_every: Some(4), ..ten_steps() });
    bench.files.live = Some(live(folder));
    bench
}

#[test]
fn the_present_adapter_is_laid_down_at_evaluations_and_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let bench = watched(dir.path());
    let request = dir.path().join("live.request");
    let mut written = Vec::new();
    bench
        .run(&mut model(), |event| match event {
            Event::Step(report) if report.step == 6 => std::fs::write(&request, "").unwrap(),
            Event::Live { step, written: Ok(()) } => {
                assert_eq!(snapshot_step(&dir.path().join("live")).unwrap(), Some(step));
                assert!(!request.exists(), "answered");
                written.push(step);
            }
            Event::Live { step, written: Err(e) } => panic!("step {step}: {e}"),
            _ => {}
        })
        .unwrap();
    assert_eq!(written, [0, 4, 6, 8]);
}

#[test]
fn what_is_laid_down_is_the_adapter_of_that_step() {
    let dir = tempfile::tempdir().unwrap();
    let bench = watched(dir.path());
    bench.run(&mut model(), |_| {}).unwrap();
    let mut shown = base(CpuBackend::new());
    shown.load_adapter(&dir.path().join("live")).unwrap();

    // The same run, stopped after the eighth step.
    let dir = tempfile::tempdir().unwrap();
    let bench = watched(dir.path());
    let mut stopped = model();
    let cancel = |event: Event<CpuBackend>| {
        if let Event::Step(report) = event
            && report.step == 8
        {
            bench.cancel.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    };
    bench.run(&mut stopped, cancel).unwrap();
    assert!(adapter_bytes(&mut shown) == adapter_bytes(&mut stopped));
}

#[test]
fn being_watched_changes_no_byte_and_a_failure_to_show_stops_nothing() {
    let run = |show: bool, broken: bool| {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(dir.path(), &TrainConfig { eval_every: Some(3), ..ten_steps() });
        bench.files.live = show.then(|| live(dir.path()));
        let request = dir.path().join("live.request");
        if broken {
            std::fs::write(dir.path().join("live"), "no folder").unwrap();
        }
        let (mut model, mut failures) = (model(), 0);
        bench
            .run(&mut model, |event| match event {
                Event::Step(_) if show => std::fs::write(&request, "").unwrap(),
                Event::Live { written, .. } => failures += usize::from(written.is_err()),
                _ => {}
            })
            .unwrap();
        (adapter_bytes(&mut model), failures)
    };
    let (expected, _) = run(false, false);
    assert!(run(true, false) == (expected.clone(), 0));
    let (bytes, failures) = run(true, true);
    assert!(bytes == expected && failures == 10, "{failures}");
}
