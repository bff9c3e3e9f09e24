//! Tokenizers, prompt templates, label mask, packing.
