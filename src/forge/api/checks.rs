//! The checks of a commit: what others say of it, and which of them its branch demands before it takes a merge.

use super::{Api, ApiCall, ApiError, Reply, gitea, github, gitlab};
use crate::config::ApiKind;
use crate::model::{Branch, Sha};

/// Contexts of statuses that are ours begin so.
const OURS: &str = "airplanes/";

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Whether it went well; none as long as it is under way.
    pub well: Option<bool>,
}

/// A page of a list of checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckPage {
    /// What it has.
    pub checks: Vec<Check>,
    /// Whether there may be another one.
    pub more: bool,
}

/// What a commit's checks say, but for our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checks {
    /// There are none.
    None,
    /// One is under way.
    Waiting(String),
    /// All went well.
    Good,
    /// One did not.
    Bad(String),
}

impl Checks {
    /// What they say together.
    pub fn of(checks: &[Check]) -> Self {
        let mut all = Checks::None;
        for check in checks.iter().filter(|check| !check.name.starts_with(OURS)) {
            all = match (check.well, all) {
                (Some(false), _) => return Checks::Bad(check.name.clone()),
                (None, _) => Checks::Waiting(check.name.clone()),
                (Some(true), Checks::None) => Checks::Good,
                (Some(true), all) => all,
            };
        }
        all
    }
}

/// The checks that a branch demands, as far as its host tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demanded {
    /// These; Gitea's may be patterns.
    Named(Vec<String>),
    /// Some; which ones is not said.
    Some,
    /// It does not say that it demands any.
    Unsaid,
}

impl Demanded {
    /// What is demanded and not there yet, in words.
    pub fn lacks(&self, checks: &[Check]) -> Option<String> {
        match self {
            Demanded::Named(names) => {
                let is_there = |name: &String| checks.iter().any(|check| fits(name, &check.name));
                let lacks = names.iter().find(|name| !name.starts_with(OURS) && !is_there(name))?;
                Some(format!("its branch demands the check {lacks}, which has not begun"))
            }
            Demanded::Some if Checks::of(checks) == Checks::None => {
                Some("its branch demands checks, and none has begun".to_owned())
            }
            Demanded::Some | Demanded::Unsaid => None,
        }
    }
}

/// Whether a name is what a pattern says, in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|rest| fits(after, rest))
}

impl Api<'_> {
    /// How many lists a commit's checks are in.
    pub fn check_lists(&self) -> usize {
        match self.forge.kind {
            // Statuses are one thing there, and check runs another.
            ApiKind::Github => github::CHECKS.len(),
            ApiKind::Gitlab | ApiKind::Gitea => 1,
        }
    }
    /// One page of one of them, from the first, 1, on.
    pub fn checks(&self, list: usize, sha: Sha, page: usize) -> ApiCall {
        match self.forge.kind {
            ApiKind::Github => github::checks(self, list, sha, page),
            ApiKind::Gitlab => gitlab::checks(self, sha, page),
            ApiKind::Gitea => gitea::checks(self, sha, page),
        }
    }
    /// What stands there. `before` is how many the pages before it had.
    pub fn checked(&self, before: usize, reply: &Reply) -> Result<CheckPage, ApiError> {
        Ok(match self.forge.kind {
            ApiKind::Github => self.read::<github::Checked>(reply)?.page(before),
            ApiKind::Gitlab => gitlab::check_page(self.read(reply)?),
            ApiKind::Gitea => self.read::<gitea::Combined>(reply)?.page(),
        })
    }

    /// The calls that ask what a branch demands.
    pub fn demanded(&self, base: &Branch) -> Vec<ApiCall> {
        match self.forge.kind {
            ApiKind::Github => github::demanded(self, base),
            ApiKind::Gitlab => vec![gitlab::project(self)],
            ApiKind::Gitea => vec![gitea::branch(self, base)],
        }
    }
    /// What the answers say together. A token that may not ask, or a host that does not know the question, says nothing.
    pub fn demands(&self, replies: &[Reply]) -> Result<Demanded, ApiError> {
        let mut names = Vec::new();
        let mut some = false;
        for reply in replies {
            let read = match self.forge.kind {
                ApiKind::Github => self.read::<github::Protection>(reply).map(|found| names.extend(found.names())),
                ApiKind::Gitlab => self.read::<gitlab::Project>(reply).map(|found| some |= found.demands_checks()),
                ApiKind::Gitea => self.read::<gitea::Protection>(reply).map(|found| {
                    some |= found.demands_checks();
                    names.extend(found.names());
                }),
            };
            match read {
                Ok(()) | Err(ApiError::Token { status: 403, .. } | ApiError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(match (names.is_empty(), some) {
            (false, _) => Demanded::Named(names),
            (true, true) => Demanded::Some,
            (true, false) => Demanded::Unsaid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, well: Option<bool>) -> Check {
        Check { name: name.to_owned(), well }
    }

    #[test]
    fn what_is_demanded_has_to_be_there_and_ours_counts_for_nothing() {
        let there = [check("airplanes/shop", Some(true)), check("ci / build (linux)", Some(true))];
        let named = |names: &[&str]| Demanded::Named(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(named(&["ci / build (linux)", "airplanes/shop", "airplanes/other"]).lacks(&there), None);
        assert_eq!(named(&["ci / *", "*linux*"]).lacks(&there), None);
        for lacking in ["ci", "ci / *(mac)", "lint", "*linux"] {
            assert!(named(&["ci / *", lacking]).lacks(&there).unwrap().contains(&format!("check {lacking},")));
        }
        assert_eq!(Demanded::Some.lacks(&there), None);
        assert!(Demanded::Some.lacks(&there[..1]).is_some());
        assert_eq!(Demanded::Unsaid.lacks(&[]), None);
    }

    #[test]
    fn one_that_failed_says_more_than_one_under_way() {
        let all = [check("a", Some(true)), check("b", None), check("airplanes/shop", Some(false))];
        assert_eq!(Checks::of(&all), Checks::Waiting("b".to_owned()));
        assert_eq!(Checks::of(&[&all[..], &[check("c", Some(false))]].concat()), Checks::Bad("c".to_owned()));
        assert_eq!(Checks::of(&all[..1]), Checks::Good);
        assert_eq!(Checks::of(&all[2..]), Checks::None);
    }
}
