//! What the tests share: the corpus beside the checkout.

pub mod acts;
pub mod cloud_api;
pub mod edn_json;
pub mod forge_answers;
pub mod forge_api;
pub mod forge_pulls;
pub mod git_graph;
pub mod git_http;
pub mod git_remote;
pub mod lab_world;
pub mod openapi;
pub mod receiver;
pub mod smtp;
pub mod world;

use std::path::PathBuf;

/// The corpus of real inputs, `../shared/corpus` beside the checkout. Says so and gives `None` when it is absent.
pub fn corpus() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: this test needs the corpus in {}", path.display());
    None
}
