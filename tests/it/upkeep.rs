//! Upkeep on the real daemon: what goes, what stays, and what waits for room.

mod keep;
mod mirrors;
mod month;
mod room;
