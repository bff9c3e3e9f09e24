//! Tiny tokenizers for tests, made in code.
