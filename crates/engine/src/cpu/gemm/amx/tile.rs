//! The tile unit: its permission, its configuration, and the inner loops.
//!
//! A tile register holds 16 rows of 64 bytes. `tdpbf16ps c, a, b` adds to `c [16, 16]` of f32 the product of
//! `a [16 lines, 32 depths]` and `b [16 pairs of depths, 16 lines, 2]` of bf16: for each element one chain of
//! fused multiply-adds over the even depths from zero, one over the odd ones, their sum, and that added to `c`;
//! subnormal numbers count as zero throughout (Intel, *Architecture Instruction Set Extensions Programming
//! Reference*, chapter 3; the order is tested in `tests.rs`).
//!
//! The instructions are written as assembly, which stable Rust has no other way to. The compiler never uses tile
//! registers, so a configuration stays from one block of assembly to the next.

use std::arch::asm;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Lines of a tile.
pub const LINES: usize = 16;
/// Depths of a tile.
pub const DEPTHS: usize = 32;
/// Bytes of a tile.
pub const TILE: usize = 1024;

/// Whether this processor has tiles of bf16 and the system lets this process use them. Asks once.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| present() && permitted())
}

fn present() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    /// Leaf 7, register EDX.
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    /// State components of tiles: their configuration and their data.
    const STATES: u64 = 0b11 << 17;
    #[target_feature(enable = "xsave")]
    fn states() -> u64 {
        // SAFETY: the feature was asked for below.
        unsafe { _xgetbv(0) }
    }
    let wanted = AMX_BF16 | AMX_TILE;
    if __cpuid(0).eax < 7 || !is_x86_feature_detected!("avx512f") || !is_x86_feature_detected!("avx512bw") {
        return false;
    }
    // SAFETY: a processor with AVX-512 whose system lets us use it has XGETBV.
    __cpuid_count(7, 0).edx & wanted == wanted && unsafe { states() } & STATES == STATES
}

/// Ask the kernel for tile data: 8 KiB more to save for each thread that uses it (Linux, `x86/xstate.rst`).
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call only changes what this process may do; threads begun later inherit it.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// Palette 1: eight tiles, all of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// This thread's tiles, ready for use; given back when dropped, or each switch of threads would save them.
pub struct Tiles(PhantomData<*const ()>);

impl Tiles {
    /// # Safety
    /// Tiles are [`available`].
    pub unsafe fn configure() -> Self {
        // SAFETY: the configuration is valid, the instruction present.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) };
        Tiles(PhantomData)
    }

    /// `C (+)= A · B` over `steps` tiles of depth, for a panel of A and one of B of one or two strips of 16 lines.
    ///
    /// `a [steps, 3, strips, tile]` is split in three parts, `b [steps, parts, strips, tile]` in one to three, see
    /// `split.rs`. `c` holds tile (i, j) of at most two by two at `2 i + j` tiles.
    ///
    /// # Safety
    /// `steps` is not 0; the panels are that long; nobody else touches `c`, which has room for four tiles.
    pub unsafe fn multiply(&self, steps: usize, a: Panel, b: Panel, parts: usize, add: bool, c: *mut u8) {
        let kernel = LOOPS[a.strips - 1][b.strips - 1][parts - 1];
        // SAFETY: by this function's contract; the tiles of this thread are configured.
        unsafe { kernel(steps, a.start, b.start, c, add) }
    }
}

/// One or two strips of lines, packed.
#[derive(Clone, Copy)]
pub struct Panel {
    pub start: *const u8,
    pub strips: usize,
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: they were configured, so the instruction is present.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// A loop over depth: A in tmm4 and tmm5, B in tmm6 and tmm7, C in tmm0 to tmm3.
type Loop = unsafe fn(steps: usize, a: *const u8, b: *const u8, c: *mut u8, add: bool);

/// For each of the tiles of C in a panel of `$a` × `$b` strips: the text with its number, and the tiles it is of.
macro_rules! each_c {
    (1, 1, $text:ident) => {
        $text!("0", "4", "6")
    };
    (1, 2, $text:ident) => {
        concat!($text!("0", "4", "6"), $text!("1", "4", "7"))
    };
    (2, 1, $text:ident) => {
        concat!($text!("0", "4", "6"), $text!("2", "5", "6"))
    };
    (2, 2, $text:ident) => {
        concat!($text!("0", "4", "6"), $text!("1", "4", "7"), $text!("2", "5", "6"), $text!("3", "5", "7"))
    };
}
macro_rules! zero {
    ($c:literal, $a:literal, $b:literal) => {
        concat!("tilezero tmm", $c, "\n")
    };
}
macro_rules! load {
    ($c:literal, $a:literal, $b:literal) => {
        concat!("tileloadd tmm", $c, ", [{c} + {row} + 1024*", $c, "]\n")
    };
}
macro_rules! store {
    ($c:literal, $a:literal, $b:literal) => {
        concat!("tilestored [{c} + {row} + 1024*", $c, "], tmm", $c, "\n")
    };
}
macro_rules! multiply {
    ($c:literal, $a:literal, $b:literal) => {
        concat!("tdpbf16ps tmm", $c, ", tmm", $a, ", tmm", $b, "\n")
    };
}
/// Load part `$part` of A, the smallest first, or of B, the largest first: both are read forwards.
macro_rules! a {
    (1, $part:literal) => {
        concat!("tileloadd tmm4, [{a} + {row} + 1024*", $part, "]\n")
    };
    (2, $part:literal) => {
        concat!(
            "tileloadd tmm4, [{a} + {row} + 2048*",
            $part,
            "]\n",
            "tileloadd tmm5, [{a} + {row} + 2048*",
            $part,
            " + 1024]\n",
        )
    };
}
macro_rules! b {
    (1, $part:literal) => {
        concat!("tileloadd tmm6, [{b} + {row} + 1024*", $part, "]\n")
    };
    (2, $part:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {row} + 2048*",
            $part,
            "]\n",
            "tileloadd tmm7, [{b} + {row} + 2048*",
            $part,
            " + 1024]\n",
        )
    };
}

/// The products of parts of one step: those that are smallest come first, and each shares an operand with the one
/// before. What is left out is below 2⁻²³ of a product.
macro_rules! products {
    ($a:tt, $b:tt, 1) => {
        concat!(
            b!($b, "0"),
            a!($a, "0"),
            each_c!($a, $b, multiply),
            a!($a, "1"),
            each_c!($a, $b, multiply),
            a!($a, "2"),
            each_c!($a, $b, multiply),
        )
    };
    ($a:tt, $b:tt, 2) => {
        concat!(
            b!($b, "0"),
            a!($a, "0"),
            each_c!($a, $b, multiply),
            a!($a, "1"),
            each_c!($a, $b, multiply),
            b!($b, "1"),
            each_c!($a, $b, multiply),
            a!($a, "2"),
            each_c!($a, $b, multiply),
            b!($b, "0"),
            each_c!($a, $b, multiply),
        )
    };
    ($a:tt, $b:tt, 3) => {
        concat!(
            b!($b, "0"),
            a!($a, "0"),
            each_c!($a, $b, multiply),
            a!($a, "1"),
            each_c!($a, $b, multiply),
            b!($b, "1"),
            each_c!($a, $b, multiply),
            a!($a, "2"),
            each_c!($a, $b, multiply),
            b!($b, "2"),
            each_c!($a, $b, multiply),
            b!($b, "0"),
            each_c!($a, $b, multiply),
        )
    };
}

/// The loop for panels of `$a` and `$b` strips, B in `$parts` parts.
macro_rules! kernel {
    ($a:tt, $b:tt, $parts:tt) => {{
        /// See [`Loop`].
        unsafe fn kernel(steps: usize, a: *const u8, b: *const u8, c: *mut u8, add: bool) {
            // SAFETY: by the contract of `Tiles::multiply`.
            unsafe {
                asm!(
                    "test {add:e}, {add:e}",
                    "jnz 2f",
                    each_c!($a, $b, zero),
                    "jmp 3f",
                    "2:",
                    each_c!($a, $b, load),
                    "3:",
                    products!($a, $b, $parts),
                    "add {a}, {a_step}",
                    "add {b}, {b_step}",
                    "dec {steps}",
                    "jnz 3b",
                    each_c!($a, $b, store),
                    a = inout(reg) a => _,
                    b = inout(reg) b => _,
                    steps = inout(reg) steps => _,
                    c = in(reg) c,
                    add = in(reg) u32::from(add),
                    row = in(reg) 64_usize,
                    a_step = const 3 * $a * TILE,
                    b_step = const $parts * $b * TILE,
                    options(nostack),
                );
            }
        }
        kernel as Loop
    }};
}

/// By strips of A, strips of B and parts of B, each less one.
static LOOPS: [[[Loop; 3]; 2]; 2] = [
    [
        [kernel!(1, 1, 1), kernel!(1, 1, 2), kernel!(1, 1, 3)],
        [kernel!(1, 2, 1), kernel!(1, 2, 2), kernel!(1, 2, 3)],
    ],
    [
        [kernel!(2, 1, 1), kernel!(2, 1, 2), kernel!(2, 1, 3)],
        [kernel!(2, 2, 1), kernel!(2, 2, 2), kernel!(2, 2, 3)],
    ],
];
