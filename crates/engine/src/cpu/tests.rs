//! Every compilation of the loops against the reference, not only the fastest that this processor runs.
//! (`tests/cpu.rs` runs the same scenarios on the fastest.)

use super::CpuBackend;
use super::simd::{FORCED, Level, level};
use crate::ReferenceBackend;

#[path = "../../tests/common/mod.rs"]
mod common;

use common::{assert_close, scenarios};

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    let best = level();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    for forced in [Level::Portable, Level::Avx2].into_iter().filter(|&level| level < best) {
        for name in scenarios::NAMES {
            let want = scenarios::run(name, &ReferenceBackend);
            // One thread: the level is forced for it alone.
            let got = pool.install(|| {
                FORCED.set(Some(forced));
                scenarios::run(name, &CpuBackend::new())
            });
            let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            for ((what, got), (_, want)) in got.iter().zip(&want) {
                assert_close(&format!("{forced:?}: {what}"), &wide(got), &wide(want), 1e-4);
            }
        }
    }
}
