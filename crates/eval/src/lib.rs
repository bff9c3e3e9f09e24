//! The report card: base and tuned model side by side.
