//! What a host says of itself, read from the scripts' answers: `key value` a line between
//! `begin` and `end`.

use serde::{Deserialize, Serialize};

use crate::model::{FileSum, Sha};

/// How far the daemon's work on a working directory has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkerState {
    /// The tree is being moved, or has been and is not yet restarted and verified.
    Moving,
    /// Restarted and verified.
    Live,
}

/// `.git/airplanes.json` in a working directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The commit that it is about.
    pub sha: Sha,
    /// How far it has come.
    pub state: MarkerState,
    /// While moving: where HEAD was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Sha>,
    /// Of a release: the sha256 of its file. Which one is in force tells the host's own `sum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<String>,
}

/// A unit as systemd shows it. All empty where the host has no systemd.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnitState {
    /// `loaded`, `not-found`, …
    pub load_state: String,
    /// `active`, `failed`, `activating`, …
    pub active_state: String,
    /// `running`, `auto-restart`, …
    pub sub_state: String,
    /// How often systemd has restarted it by itself since it was last started.
    pub n_restarts: u32,
    /// Changes with every start; none if it never ran.
    pub invocation_id: Option<String>,
    /// Its main process; none if there is none.
    pub main_pid: Option<u32>,
}

impl UnitState {
    /// Whether it runs now.
    pub fn is_active(&self) -> bool {
        self.active_state == "active"
    }
    /// Whether systemd has no such unit.
    pub fn is_missing(&self) -> bool {
        self.load_state == "not-found"
    }
}

/// What one look at a host found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostState {
    /// Whether the working directory is there.
    pub exists: bool,
    /// Whether it has a git folder.
    pub is_git: bool,
    /// Whether it holds releases.
    pub is_releases: bool,
    /// The commit that HEAD is; none in a fresh `git init`.
    pub head: Option<Sha>,
    /// Of a release in force: the sha256 of its file, as much of it as is known there.
    pub sum: Option<FileSum>,
    /// The branch that HEAD is on; none if detached.
    pub branch: Option<String>,
    /// Tracked files that differ from HEAD.
    pub changed: Vec<String>,
    /// Our marker, if there is a readable one.
    pub marker: Option<Marker>,
    /// The unit, if one was asked for and the host has systemd.
    pub unit: Option<UnitState>,
}

impl HostState {
    /// Whether the tree is exactly `sha`, restarted and verified by us. Its health is another question.
    pub fn is_live_at(&self, sha: &Sha) -> bool {
        let marked = |marker: &Marker| marker.sha == *sha && marker.state == MarkerState::Live;
        self.head == Some(*sha) && self.changed.is_empty() && self.marker.as_ref().is_some_and(marked)
    }
    /// Whether the release in force holds that file; of none it may be any.
    pub fn has_file(&self, sum: Option<&FileSum>) -> bool {
        sum.is_none_or(|sum| self.sum.as_ref().is_some_and(|has| has.is(sum)))
    }
}

/// What one look for a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probe {
    /// The commit that HEAD is.
    pub head: Option<Sha>,
    /// The unit, if there is one to look at.
    pub unit: Option<UnitState>,
    /// What the health url answered, if one was asked: nothing wrong, or what.
    pub health: Option<Result<(), String>>,
}

/// An answer's lines, in order, without `begin` and what a shell's profile printed before it, and without `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer(Vec<(String, String)>);

impl Answer {
    /// `None` if it is cut or is no answer of ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let after = text.strip_prefix("begin\n").or_else(|| text.split_once("\nbegin\n").map(|(_, after)| after))?;
        let lines = after.strip_suffix("end\n")?.lines();
        Some(Self(
            lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).map(|(k, v)| (k.into(), v.into())).collect(),
        ))
    }
    /// The first value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
    /// All values of a key.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.as_str())
    }
    /// All of it.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
    /// All values of a key, as a list of their own.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        self.all(key).map(str::to_owned).collect()
    }
    pub(super) fn sha(&self, key: &str) -> Option<Sha> {
        self.get(key)?.parse().ok()
    }
    pub(super) fn unit(&self) -> Option<UnitState> {
        self.unit_of("unit")
    }
    pub(super) fn unit_of(&self, key: &str) -> Option<UnitState> {
        let mut unit = None;
        for (key, value) in self.all(key).filter_map(|line| line.split_once('=')) {
            let unit = unit.get_or_insert_with(UnitState::default);
            match key {
                "LoadState" => unit.load_state = value.to_owned(),
                "ActiveState" => unit.active_state = value.to_owned(),
                "SubState" => unit.sub_state = value.to_owned(),
                "NRestarts" => unit.n_restarts = value.parse().unwrap_or(0),
                "InvocationID" => unit.invocation_id = Some(value.to_owned()).filter(|id| !id.is_empty()),
                "MainPID" => unit.main_pid = value.parse().ok().filter(|pid| *pid != 0),
                _ => {}
            }
        }
        unit
    }
    pub(super) fn host_state(&self) -> HostState {
        HostState {
            exists: self.get("exists").is_some(),
            is_git: self.get("git").is_some(),
            is_releases: self.get("releases").is_some(),
            head: self.sha("head"),
            sum: self.get("sum").and_then(|text| text.parse().ok()),
            branch: self.get("branch").map(str::to_owned),
            changed: self.list("changed"),
            // One that can't be read says nothing, and nothing is not `live`.
            marker: self.get("marker").and_then(|json| serde_json::from_str(json).ok()),
            unit: self.unit(),
        }
    }
    pub(super) fn probe(&self) -> Probe {
        let health = self.get("health").map(|said| if said == "ok" { Ok(()) } else { Err(said.trim().to_owned()) });
        Probe { head: self.sha("head"), unit: self.unit(), health }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "2455d6ab00000000000000000000000000000001";

    #[test]
    fn an_observation_is_read_whole_or_not_at_all() {
        let text = format!(
            "Welcome to web-1!\nbegin\nunit LoadState=loaded\nunit ActiveState=active\nunit SubState=running\nunit NRestarts=2\nunit InvocationID=ab12\n\
             unit MainPID=77\nexists folder\ngit yes\nmarker {{\"sha\":\"{SHA}\",\"state\":\"moving\",\"from\":\"{SHA}\"}}\n\
             branch main\nhead {SHA}\nchanged a b.edn\nchanged c\nend\n"
        );
        let state = Answer::parse(&text).unwrap().host_state();
        let sha: Sha = SHA.parse().unwrap();
        assert_eq!(state.marker, Some(Marker { sha, state: MarkerState::Moving, from: Some(sha), sum: None }));
        assert_eq!((state.head, state.branch.as_deref()), (Some(sha), Some("main")));
        assert_eq!(state.changed, ["a b.edn", "c"]);
        let unit = state.unit.unwrap();
        assert_eq!((unit.n_restarts, unit.main_pid, unit.invocation_id.as_deref()), (2, Some(77), Some("ab12")));
        for cut in 1..text.len() {
            assert_eq!(Answer::parse(&text[..text.len() - cut]), None);
        }
    }

    #[test]
    fn a_marker_that_cannot_be_read_is_not_live() {
        let text = format!("begin\nexists folder\ngit yes\nmarker {{\"sha\":\"{SHA}\",\"st\nhead {SHA}\nend\n");
        let state = Answer::parse(&text).unwrap().host_state();
        assert!(!state.is_live_at(&SHA.parse().unwrap()));
    }
}
