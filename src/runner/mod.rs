//! Stub: its room is being built.
