//! Machine translation of examples: engines, translation memory, journal.
