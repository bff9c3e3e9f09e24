//! The arithmetic of training: the Backend trait, the CPU backend, the naive f64 reference.
