//! The backend that every machine has.

mod simd;
