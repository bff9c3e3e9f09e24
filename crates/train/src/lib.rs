//! Training: plan, loop, optimizer, schedule, training state, metrics.
