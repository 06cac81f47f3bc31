//! A dependency that stays where it is, and why, in words that say what a person can do about it.

use std::fmt;

use crate::deps::Problem;
use crate::model::{Branch, RepoId, Sha};

/// A dependency that stays where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The library as its file has it.
    pub lib: String,
    /// The file.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    /// Why.
    pub why: Stays,
    /// Whether its repository is one that moved.
    pub named: bool,
}

/// Why a dependency stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stays {
    /// A person's word in the file.
    #[error("it is pinned")]
    Pinned,
    /// Someone's word to the daemon.
    #[error("{0}")]
    Held(String),
    /// What moved with it is not all there.
    #[error("it comes once all is there that moved with it ({0}); set it by hand if it can't wait")]
    Apart(String),
    /// It can't be used as it is.
    #[error("{0}")]
    Problem(#[from] Problem),
    /// A pin names the version that it would move to.
    #[error("it is pinned against {0}")]
    Excluded(String),
    /// It stands at a tag whose name tells no version.
    #[error("it is at the tag {0}, which tells no version to follow")]
    Tagless(String),
    /// It follows tags, and no tag is at what would be.
    #[error("it follows tags, and moves when one is made")]
    Tagged,
    /// What it is at has what would be in it.
    #[error("it is at {}, which has {} in it", .current.short(), .head.short())]
    Has {
        /// What the file says.
        current: Sha,
        /// What would be.
        head: Sha,
    },
    /// Its tag is not there.
    #[error("it is at the tag {tag}, which {repo} does not have (any more); set tag and sha by hand")]
    TagGone {
        /// The tag.
        tag: String,
        /// The repository.
        repo: RepoId,
    },
    /// Its tag names another commit.
    #[error(
        "its tag {tag} names {now} now and not {sha}, which tools.deps refuses: the tag was moved, or the sha is of \
         another. Set the sha by hand, if the tag can be trusted"
    )]
    TagMoved {
        /// The tag.
        tag: String,
        /// The digits beside it.
        sha: String,
        /// What the tag names.
        now: Sha,
    },
    /// The newest tag does not stand on what it is at.
    #[error(
        "{newest} is on another line than {tag} and is not taken: it does not stand on it. Set it by hand if it is meant"
    )]
    NoTagAhead {
        /// What it is at.
        tag: String,
        /// The highest tag.
        newest: String,
    },
    /// Tags of several lines, and nothing says which it follows.
    #[error("{repo} has tags of several lines, and which of them it follows can't be told: set a tag by hand")]
    TagLines {
        /// The repository.
        repo: RepoId,
    },
    /// It is ahead of what it would move to.
    #[error("it stays at {}, which is newer than {}", .current.short(), .head.short())]
    Newer {
        /// What the file says.
        current: Sha,
        /// What it would move to.
        head: Sha,
    },
    /// What it stands at was taken back by its repository.
    #[error(
        "it stays at {}, which {repo} has taken back: its branch is at {}. Set the sha by hand if the app is to go back",
        .current.short(),
        .head.short()
    )]
    Rewound {
        /// What the file says.
        current: Sha,
        /// Its repository.
        repo: RepoId,
        /// Its branch's head.
        head: Sha,
    },
    /// It follows another branch than the one that moved.
    #[error("it stays at {} of branch {follows}, which {} is not on", .current.short(), .head.short())]
    Elsewhere {
        /// What the file says.
        current: Sha,
        /// The branch that it follows.
        follows: Branch,
        /// What moved.
        head: Sha,
    },
    /// The branch that `:track` names does not stand on it.
    #[error(
        "it stays at {}, which branch {branch} that :track names is not built on (its head is {}). Set the sha by hand \
         once, to {head} if that is meant",
        .current.short(),
        .head.short()
    )]
    Sideways {
        /// What the file says.
        current: Sha,
        /// The branch to follow.
        branch: Branch,
        /// Its head.
        head: Sha,
    },
    /// Several branches hold it, and nothing says which it follows.
    #[error(
        "it stays at {}, which is on the branches {}: say in deploy.edn which it follows, :track {{{lib} {{:branch \"{}\"}}}}",
        .current.short(),
        names(.on),
        .on.first().map_or("main", Branch::as_str)
    )]
    Ambiguous {
        /// The library.
        lib: String,
        /// What the file says.
        current: Sha,
        /// The branches.
        on: Vec<Branch>,
    },
    /// It is on no branch any more.
    #[error(
        "{current} is on no branch of {repo} any more{}: its history was rewritten, or the branch that had it was \
         deleted. Set the sha by hand once, to {} if that is meant",
        not_under(.head),
        head_words(.head)
    )]
    Orphan {
        /// What the file says.
        current: Sha,
        /// Its repository.
        repo: RepoId,
        /// The head of the branch that it would follow.
        head: Option<Sha>,
    },
    /// Its repository does not know it.
    #[error(
        "{current} is not in {repo} (any more): its history was rewritten, the branch that had it was deleted, or it was \
         never pushed. Set the sha by hand once, to {} if that is meant",
        head_words(.head)
    )]
    Rewritten {
        /// What the file says.
        current: Sha,
        /// Its repository.
        repo: RepoId,
        /// The head of the branch that it would follow.
        head: Option<Sha>,
    },
    /// The branch that it was on was deleted.
    #[error(
        "it stays at {}, which was on the branch {branch} of {repo}, and that was deleted. Set the sha by hand once, to \
         {} if that is meant",
        .current.short(),
        head_words(.head)
    )]
    Deleted {
        /// What the file says.
        current: Sha,
        /// Its repository.
        repo: RepoId,
        /// The branch that is no more.
        branch: Branch,
        /// The head of the branch that it would follow.
        head: Option<Sha>,
    },
    /// The branch that it was on has it no more, and it is on others.
    #[error(
        "it stays at {}, which was on the branch {branch} of {repo}, whose history was rewritten: it stands at {} now, \
         without it. Set the sha by hand once, to {head} if that is meant",
        .current.short(),
        .head.short()
    )]
    Dropped {
        /// What the file says.
        current: Sha,
        /// Its repository.
        repo: RepoId,
        /// The branch.
        branch: Branch,
        /// The branch's head.
        head: Sha,
    },
    /// The branch that `:track` names is not there.
    #[error("{repo} has no branch {branch}; delete or correct its :track in deploy.edn")]
    BranchGone {
        /// The branch.
        branch: Branch,
        /// The repository.
        repo: RepoId,
    },
    /// Its repository could not be asked.
    #[error("{0}")]
    Unreachable(String),
}

impl Stays {
    /// Whether only a person can say where it should go, since what it followed is no more.
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Orphan { .. }
                | Self::Rewritten { .. }
                | Self::Deleted { .. }
                | Self::Dropped { .. }
                | Self::BranchGone { .. }
                | Self::Sideways { .. }
                | Self::TagGone { .. }
                | Self::TagMoved { .. }
        )
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.lib, self.file, self.why)
    }
}

fn names(branches: &[Branch]) -> String {
    let shown: Vec<&str> = branches.iter().take(5).map(Branch::as_str).collect();
    let more = branches.len().saturating_sub(shown.len());
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

fn not_under(head: &Option<Sha>) -> String {
    head.map(|head| format!(", and not an ancestor of {}", head.short())).unwrap_or_default()
}

fn head_words(head: &Option<Sha>) -> String {
    head.map_or_else(|| "a commit that is there".to_owned(), |head| head.to_string())
}
