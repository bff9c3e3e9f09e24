//! The loop: exactness, resuming, stopping, evaluation.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use common::{Bench, adapter_bytes, base, config, examples, lora, model, plan, ten_steps};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tolmach_engine::{Backend, CpuBackend, ReferenceBackend};
use tolmach_model::{AdapterInfo, Decoder, LoraConfig};
use tolmach_train::{Error, Event, Outcome, Run, State, TrainConfig, train};

/// Losses of a run without files.
fn losses<B: Backend>(model: &mut Decoder<B>, config: &TrainConfig, count: usize) -> Vec<f64> {
    let data = examples(count);
    let plan = plan(config, &data, &[]);
    let mut state = State::new(model).unwrap();
    let run =
        Run { plan: &plan, train: &data, validation: &[], files: None, cancel: &AtomicBool::new(false) };
    assert_eq!(train(model, &mut state, &run, |_| {}).unwrap(), Outcome::Finished);
    state.progress.losses
}

#[test]
fn the_model_learns() {
    let config = TrainConfig { max_steps: Some(60), learning_rate: 0.02, ..ten_steps() };
    let mut model = base(CpuBackend::new());
    model.train_all();
    let losses = losses(&mut model, &config, 20);
    assert!(losses[0] > 3.0 && losses[59] < 0.5, "{:?}", (losses[0], losses[59]));
}

#[test]
fn transformers_34191_two_micro_batches_equal_one() {
    let with = |tokens| TrainConfig { micro_batch_tokens: Some(tokens), ..ten_steps() };
    let run = |tokens| {
        let mut model = base(ReferenceBackend);
        model.add_lora(&LoraConfig { dropout: 0.0, ..lora() }, 7).unwrap();
        losses(&mut model, &with(tokens), 12)
    };
    for (apart, together) in run(20).iter().zip(run(500)) {
        assert!((apart - together).abs() < 1e-9 * together, "{apart} {together}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut model = model();
        let losses = pool.install(|| losses(&mut model, &ten_steps(), 20));
        (losses, adapter_bytes(&mut model))
    };
    assert!(run(1) == run(2), "one thread and two must give the same bits");
    assert!(run(1) == run(3));
}

/// alpaca-lora#72, FastChat#1280: a resumed run jumped, or had lost the optimizer's state.
#[test]
fn alpaca_lora_72_fastchat_1280_a_resumed_run_is_the_same_run() {
    let dir = tempfile::tempdir().unwrap();
    let whole = Bench::new(dir.path(), &ten_steps());
    let mut uninterrupted = model();
    let (_, state) = whole.run(&mut uninterrupted, |_| {}).unwrap();
    let expected = (state.progress.losses.clone(), adapter_bytes(&mut uninterrupted));

    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path(), &ten_steps());
    // Stopped in the middle of a step, again and again; every sitting is a new model and a new program.
    let (mut sittings, mut micro_batches) = (0, 0);
    let resumed = loop {
        bench.cancel.store(false, Ordering::Relaxed);
        let mut model = model();
        let stop_after = 3 + sittings % 4;
        let mut here = 0;
        let (outcome, state) = bench
            .run(&mut model, |event| {
                if let Event::MicroBatch { .. } = event {
                    (here, micro_batches) = (here + 1, micro_batches + 1);
                    bench.cancel.store(here >= stop_after, Ordering::Relaxed);
                }
            })
            .unwrap();
        sittings += 1;
        if outcome == Outcome::Finished {
            break (state.progress.losses, adapter_bytes(&mut model));
        }
        assert_eq!(outcome, Outcome::Interrupted);
        assert!(sittings < 60, "no progress");
    };
    assert!(sittings > 4 && micro_batches > 30, "{sittings} sittings, {micro_batches} micro-batches");
    assert!(expected == resumed, "a resumed run must give the same bits");

    let rows: Vec<Value> = std::fs::read_to_string(&bench.files.metrics)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let steps = |key: &str| -> Vec<u64> {
        rows.iter().filter(|r| r.get(key).is_some()).map(|r| r["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(steps("train/loss"), (1..=10).collect::<Vec<_>>(), "each step has one row");
    // Four steps an epoch: before the first step, at two epochs' ends, after the last step.
    assert_eq!(steps("eval/loss"), [0, 4, 8, 10]);
}

#[test]
fn saving_and_evaluating_change_nothing() {
    let run = |config: &TrainConfig, validated: bool| {
        let dir = tempfile::tempdir().unwrap();
        let validation = if validated { examples(4) } else { vec![] };
        let bench = Bench::with_data(dir.path(), config, examples(20), validation);
        let mut model = model();
        bench.run(&mut model, |_| {}).unwrap();
        adapter_bytes(&mut model)
    };
    let quiet = run(&TrainConfig { save_every: None, ..ten_steps() }, false);
    let busy = TrainConfig { eval_every: Some(1), sample_every: Some(1), ..ten_steps() };
    assert!(quiet == run(&busy, true));
}

/// Write a base whose weights are all finite, and whose arithmetic overflows on token 0 alone: only
/// that token's embedding has something at one place, and the first MLP blows that place up.
fn poison_token_0(folder: &Path) {
    const PLACE: usize = 3;
    let mut model = base(CpuBackend::new());
    model.train_all();
    let backend = Arc::clone(&model.backend);
    let width = config().hidden_size;
    for parameter in model.parameters_mut() {
        let mut values = parameter.to_f32(&backend);
        match parameter.name.as_str() {
            "model.embed_tokens.weight" => {
                values.iter_mut().skip(PLACE).step_by(width).for_each(|v| *v = 0.0);
                values[PLACE] = 1.0;
            }
            "model.layers.0.self_attn.o_proj.weight" => {
                values[PLACE * parameter.cols..][..parameter.cols].fill(0.0);
            }
            "model.layers.0.post_attention_layernorm.weight" => values[PLACE] = 1e25,
            _ => {}
        }
        backend.write(&values, &mut parameter.value);
    }
    model.save(folder, tolmach_engine::Dtype::F32).unwrap();
}

/// alpaca-lora#170: the loss turned NaN and training went on to an adapter of NaNs.
#[test]
fn alpaca_lora_170_a_nan_loss_stops_with_step_and_examples() {
    let dir = tempfile::tempdir().unwrap();
    let shuffle = TrainConfig { shuffle: false, step_examples: Some(2), ..ten_steps() };
    let mut bench = Bench::new(dir.path(), &shuffle);
    for example in &mut bench.train {
        for t in 0..example.len() {
            example.input_ids[t] = example.input_ids[t].max(1);
            example.labels[t] = if example.labels[t] >= 0 { example.input_ids[t] as i32 } else { -100 };
        }
    }
    bench.train[5].input_ids[1] = 0; // in the third step
    let folder = dir.path().join("base");
    poison_token_0(&folder);
    let model = || {
        let mut model = Decoder::load(Arc::new(CpuBackend::new()), &folder).unwrap();
        let upper = vec!["model.layers.1.mlp.down_proj".to_string()];
        model.add_lora(&LoraConfig { target_modules: upper, ..lora() }, 7).unwrap();
        model
    };
    let mut tuned = model();
    let error = bench.run(&mut tuned, |_| {}).err().unwrap();
    match &error {
        Error::LossNotFinite { step: 3, examples } => assert_eq!(examples, &["e5"]),
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("step 3") && error.to_string().contains("example e5"), "{error}");
    let backend = Arc::clone(&tuned.backend);
    assert!(tuned.parameters_mut().iter().all(|p| p.to_f32(&backend).iter().all(|v| v.is_finite())));
    let kept = State::load(&bench.files.state, &mut model(), &bench.files.identity).unwrap();
    assert_eq!(kept.progress.step, 2, "the last good state is kept");
}

#[test]
fn weights_that_overflow_are_never_saved_as_a_state() {
    let dir = tempfile::tempdir().unwrap();
    let wild = TrainConfig { learning_rate: 1e38, warmup_steps: Some(0), max_grad_norm: 0.0, ..ten_steps() };
    let bench = Bench::with_data(dir.path(), &wild, examples(20), vec![]);
    let error = bench.run(&mut model(), |_| {}).err().unwrap();
    let named = matches!(
        error,
        Error::LossNotFinite { .. } | Error::GradientNotFinite { .. } | Error::WeightNotFinite { .. }
    );
    assert!(named, "{error}");
    if bench.files.state.exists() {
        State::load(&bench.files.state, &mut model(), &bench.files.identity).unwrap();
    }
}

#[test]
fn early_stop_ends_and_keeps_the_best() {
    // Validation text that contradicts the training text: its loss can only rise in the long run.
    let mut validation = examples(6);
    for example in &mut validation {
        example.input_ids.iter_mut().for_each(|id| *id = (*id * 7 + 3) % common::VOCAB as u32);
        let ids = example.input_ids.clone();
        example.labels.iter_mut().zip(ids).for_each(|(label, id)| {
            if *label >= 0 {
                *label = id as i32;
            }
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        max_steps: Some(100),
        learning_rate: 0.02,
        eval_every: Some(2),
        early_stop: Some(3),
        ..ten_steps()
    };
    let bench = Bench::with_data(dir.path(), &config, examples(20), validation);
    let mut tuned = model();
    let mut at_best = Vec::new();
    let (outcome, state) = bench
        .run(&mut tuned, |event| {
            if let Event::Evaluated(e) = event {
                at_best.push(e);
            }
        })
        .unwrap();
    assert_eq!(outcome, Outcome::StoppedEarly);
    let best = state.progress.best().unwrap();
    assert_eq!(state.progress.step, best.step + 6, "three evaluations after the best");
    // The weights left in the model are those of the best evaluation.
    let validation: Vec<_> = bench.validation.iter().collect();
    let tokens = bench.plan.eval_micro_batch_tokens();
    let loss =
        tolmach_train::mean_loss(&tuned, &mut None, &validation, tokens, tolmach_model::Side::Tuned, |_| {
            std::ops::ControlFlow::Continue(())
        });
    assert_eq!(loss.unwrap(), Some(best.loss));
    // And a resumed run, which finds nothing left to do, ends with the same ones.
    let mut again = model();
    assert_eq!(bench.run(&mut again, |_| {}).unwrap().0, Outcome::StoppedEarly);
    assert!(adapter_bytes(&mut again) == adapter_bytes(&mut tuned));
}

/// axolotl#2568: going on from an adapter put a second one on top of it.
#[test]
fn axolotl_2568_an_adapter_is_continued_not_adapted_again() {
    let mut first = model();
    let hot = TrainConfig { max_steps: Some(40), learning_rate: 0.05, ..ten_steps() };
    losses(&mut first, &hot, 20);
    let dir = tempfile::tempdir().unwrap();
    let info = AdapterInfo { lora: lora(), base_model_name_or_path: None };
    first.save_adapter(dir.path(), &info).unwrap();
    let mut second = base(CpuBackend::new());
    second.load_adapter(dir.path()).unwrap();
    let names = |model: &mut Decoder<CpuBackend>| -> Vec<String> {
        model.parameters_mut().iter().map(|p| p.name.clone()).collect()
    };
    assert_eq!(names(&mut first), names(&mut second));
    assert!(adapter_bytes(&mut first) == adapter_bytes(&mut second), "it starts where the first ended");
    // The loss goes on, it does not start again.
    let config = TrainConfig { warmup_steps: Some(0), learning_rate: 1e-4, ..ten_steps() };
    let (fresh, continued) = (losses(&mut model(), &config, 20)[0], losses(&mut second, &config, 20)[0]);
    assert!(continued < fresh - 0.04, "{fresh} {continued}");
}

#[test]
fn a_model_that_trains_nothing_is_refused() {
    let error = State::new(&mut base(CpuBackend::new())).err().unwrap();
    assert!(matches!(error, Error::NothingToTrain));
}
