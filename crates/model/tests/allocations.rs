//! A step of training works in buffers that earlier ones made: no activation, gradient or scratch memory is
//! allocated, or mapped past the allocator.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tolmach_engine::CpuBackend;
use tolmach_engine::cpu::mapped_bytes;
use tolmach_model::{Batch, Config, Decoder, LoraConfig, Noises, Rope, RopeScaling};

struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::Relaxed) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
            BYTES.fetch_add(layout.size(), Ordering::Relaxed);
            LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: by this function's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: by this function's contract.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROWS: usize = 256;
const HIDDEN: usize = 128;
const HEAD_DIM: usize = 16;

#[test]
fn a_later_step_allocates_no_buffer() {
    let config = Config {
        hidden_size: HIDDEN,
        intermediate_size: 256,
        num_hidden_layers: 3,
        num_attention_heads: 8,
        num_key_value_heads: 2,
        head_dim: HEAD_DIM,
        vocab_size: 96,
        max_position_embeddings: 256,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
    };
    let mut model = Decoder::random(Arc::new(CpuBackend::new()), config, 3).unwrap();
    model.add_lora(&LoraConfig::of_rank(8), 5).unwrap();
    let ids: Vec<u32> = (0..ROWS as u32).map(|i| i * 31 % 96).collect();
    let segments = [0..32, 32..100, 100..180, 180..ROWS];
    let prefixes = [0..0, 0..32, 0..32, 0..32];
    let positions: Vec<u32> = segments
        .iter()
        .zip(&prefixes)
        .flat_map(|(s, p)| (0..s.len()).map(|i| (p.len() + i) as u32))
        .collect();
    let rows: Vec<usize> = (40..ROWS - 1).filter(|row| row % 3 > 0).collect();
    let targets: Vec<u32> = rows.iter().map(|&row| ids[row + 1]).collect();
    let batch = || Batch {
        input_ids: &ids,
        positions: &positions,
        segments: &segments,
        prefixes: &prefixes,
        rows: &rows,
        targets: &targets,
    };
    let mut workspace = None;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        // What describes the micro-batch is made anew: its segments, and tables of sines and cosines.
        let (of_rows, table) = (4 * ROWS * HIDDEN, 4 * ROWS * HEAD_DIM);
        let mut step = || {
            for count in [&ALLOCATIONS, &BYTES, &LARGEST] {
                count.store(0, Ordering::Relaxed);
            }
            let mapped = mapped_bytes();
            COUNTS.store(true, Ordering::Relaxed);
            let losses = model.losses_backward(&mut workspace, batch(), Noises::default(), 1e-2).unwrap();
            COUNTS.store(false, Ordering::Relaxed);
            assert!(losses.iter().all(|l| l.is_finite()));
            let [count, bytes, largest] = [&ALLOCATIONS, &BYTES, &LARGEST].map(|c| c.load(Ordering::Relaxed));
            let mapped = mapped_bytes() - mapped;
            let (bytes, largest) = (bytes + mapped, largest.max(mapped));
            println!("{count} allocations, {bytes} bytes, the largest {largest}");
            (bytes, largest)
        };
        let (first, _) = step();
        assert!(first > 20 * of_rows, "the counter counts");
        // A thread's scratch memory grows while it meets larger tasks than before, and who meets which is open.
        let later: Vec<(usize, usize)> = (0..30).map(|_| step()).collect();
        let grown: usize = later.iter().map(|(bytes, _)| bytes.saturating_sub(of_rows)).sum();
        assert!(grown < first / 4, "30 steps allocated {grown} bytes more than their description takes");
        let settled = later.iter().filter(|&&(bytes, largest)| largest <= table && bytes < of_rows);
        assert!(
            settled.count() >= 20,
            "(bytes, largest) of each step: {later:?}; a buffer of [T, C] has {of_rows}"
        );
    });
}
