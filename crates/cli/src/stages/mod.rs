//! Stages of the line that a command of their own and `teach` both run: options in, summary out.

pub mod train;
