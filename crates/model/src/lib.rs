//! Llama models: configuration, weights, decoder forward and backward, LoRA, KV cache, sampling.
