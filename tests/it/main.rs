//! The integration tests, in one binary: linking is the slow part.

mod config_files;
mod deps;
mod edn;
mod forge;
mod git;
mod process;
mod ssh;
mod support;
