//! The integration tests, in one binary: linking is the slow part.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cli;
mod config_files;
mod crash;
mod demo;
mod deps;
mod doctor;
mod edn;
mod fold;
mod forge;
mod git;
mod http;
mod journey;
mod lab;
mod lab_journey;
mod notify;
mod process;
mod readme;
mod setup;
mod ssh;
mod store;
mod support;
mod tidy;
mod unit;
mod upkeep;
mod watch;
