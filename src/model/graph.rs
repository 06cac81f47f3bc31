//! What depends on what, as the daemon knows it, for people and programs to look at.

use serde::{Deserialize, Serialize};

use super::names::AppName;
use super::url::RepoId;

/// `GET /graph`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GraphView {
    /// Apps, and repositories that no app lives in, by wave and name.
    pub nodes: Vec<GraphNode>,
    /// What goes from one to the other when it moves.
    pub edges: Vec<GraphEdge>,
    /// Apps that depend on each other in a circle, each of which a plan cuts at one place.
    pub cycles: Vec<Vec<AppName>>,
    /// What a person should know: apps that could not be read.
    pub notes: Vec<String>,
}

/// An app, or a repository that no app lives in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphNode {
    /// The app.
    pub app: Option<AppName>,
    /// The repository.
    pub repo: RepoId,
    /// How many others have to run before it at most, if everything moves.
    pub wave: u16,
    /// How its last job is or ended.
    pub last_state: Option<String>,
    /// Who holds it or libraries of it, and why, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
}

impl GraphNode {
    /// What edges call it.
    pub fn name(&self) -> &str {
        self.app.as_ref().map_or(self.repo.as_str(), AppName::as_str)
    }
}

/// A dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphEdge {
    /// What is depended on: an app's name, or a repository.
    pub from: String,
    /// The app that depends on it.
    pub to: AppName,
    /// What moves it there: `branch 2.x`, `tags`, `nothing` where it is pinned, `not known`.
    pub follows: Vec<String>,
    /// What a person should know of it: a branch that is not there, a commit that was not taken, why nothing moves it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
