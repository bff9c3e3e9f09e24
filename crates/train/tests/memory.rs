//! Peak memory, counted by the allocator: saving needs next to none (peft#447), and the estimate that
//! a user sees beforehand is true.

mod common;

use common::{Bench, examples, ten_steps};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tolmach_engine::cpu::mapped_bytes;
use tolmach_engine::{CpuBackend, Dtype};
use tolmach_model::{AdapterInfo, Config, Decoder, LoraConfig, Shape, Trained};
use tolmach_train::{BaseWeights, Data, Footprint, TrainConfig};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's; only the sizes are counted beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: handed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: handed on as it came.
        unsafe { System.dealloc(pointer, layout) }
    }

    // Large blocks move by remapping their pages: the old and the new one never both exist.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        let now = NOW.fetch_add(size, Ordering::Relaxed) + size;
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: handed on as it came.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes above those held at the start.
fn peak_of(f: impl FnOnce()) -> usize {
    let held = NOW.load(Ordering::Relaxed);
    PEAK.store(held, Ordering::Relaxed);
    f();
    PEAK.load(Ordering::Relaxed) - held
}

// One test: the counters are of the whole process.
#[test]
fn peft_447_saving_needs_no_memory_and_the_estimate_holds() {
    let dir = tempfile::tempdir().unwrap();
    // A base of 24 MB, an adapter of 0.6 MB.
    let config = Config {
        hidden_size: 256,
        intermediate_size: 512,
        num_hidden_layers: 6,
        num_attention_heads: 8,
        num_key_value_heads: 4,
        head_dim: 32,
        vocab_size: 8192,
        ..common::config()
    };
    let base_folder = dir.path().join("base");
    Decoder::random(Arc::new(CpuBackend::new()), config, 1).unwrap().save(&base_folder, Dtype::F32).unwrap();
    let base = std::fs::metadata(base_folder.join("model.safetensors")).unwrap().len();
    let mut model = Decoder::load(Arc::new(CpuBackend::new()), &base_folder).unwrap();
    let model_config = model.config.clone();
    let lora = LoraConfig { rank: 8, dropout: 0.0, ..common::lora() };
    let before = NOW.load(Ordering::Relaxed);
    model.add_lora(&lora, 1).unwrap();
    let adapter: usize = model.parameters_mut().iter().map(|p| 4 * p.len()).sum();
    assert!(base > 20 << 20 && adapter < 1 << 20, "{base} {adapter}");

    let train = TrainConfig {
        max_steps: Some(2),
        step_examples: Some(40),
        micro_batch_tokens: Some(400),
        ..ten_steps()
    };
    let bench = Bench::with_data(dir.path(), &train, examples(80), vec![]);
    let shape = Shape { config: &model_config, trained: Trained::Lora(&lora) };
    let base_weights = BaseWeights::mapped(&shape, |_| Ok::<_, ()>(Dtype::F32)).unwrap();
    let footprint = Footprint { shape, base: base_weights, program: 0, threads: 1 };
    let data = Data { train: &bench.train, validation: &[] };
    let estimate = footprint.memory(&bench.plan, &data, 0);
    assert_eq!(estimate.trained, adapter as u64);
    assert!(estimate.mapped < base && estimate.mapped > base / 2, "{} of {base}", estimate.mapped);
    let expected = estimate.total() - estimate.mapped;
    let held_by_adapter = NOW.load(Ordering::Relaxed) - before; // values and gradients
    let mut state = None;
    // One thread, which the estimate was told of: each has its own packing buffers.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mapped = mapped_bytes();
    let peak = peak_of(|| state = Some(pool.install(|| bench.run(&mut model, |_| {})).unwrap().1));
    // Buffers in regions of their own are none of the allocator's. All that were made: one that grew counts twice.
    let peak = peak + (mapped_bytes() - mapped);
    let (found, expected) = ((held_by_adapter + peak) as f64, expected as f64);
    assert!(
        (0.9..1.35).contains(&(found / expected)),
        "{:.1} MB were needed, {:.1} MB estimated",
        found / 1e6,
        expected / 1e6
    );

    let state = state.unwrap();
    let peak = peak_of(|| state.save(&bench.files.state, &mut model, &bench.files.identity).unwrap());
    assert!(peak < adapter, "saving the state took {peak} bytes, all trained tensors are {adapter}");
    let info = AdapterInfo { lora, base_model_name_or_path: None };
    let folder = dir.path().join("adapter");
    let peak = peak_of(|| model.save_adapter(&folder, &info).unwrap());
    assert!(peak < 2 * adapter, "saving the adapter took {peak} bytes, it has {adapter}");
    let saved = std::fs::metadata(folder.join(tolmach_model::ADAPTER_WEIGHTS)).unwrap().len() as usize;
    assert!(saved > adapter, "alpaca-lora#293: the file holds {saved} bytes, the adapter {adapter}");
}
