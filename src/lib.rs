//! Airplanes: a deploy daemon for repositories that depend on each other by commit.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod deps;
pub mod edn;
pub mod forge;
pub mod git;
pub mod host;
pub mod http;
pub mod model;
pub mod pipeline;
pub mod planner;
pub mod process;
pub mod runner;
pub mod ssh;
pub mod store;
pub mod watch;
