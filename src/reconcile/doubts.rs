//! Heads that would go back: taken for what they are once a second listing says so too. A server that lags behind
//! another may be the one that answers once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::model::{Branch, RepoId, Sha};

/// The heads that one listing has told of, and when that was.
#[derive(Default)]
pub(super) struct Doubts(Mutex<HashMap<(RepoId, Branch), (Sha, Instant)>>);

impl Doubts {
    /// Whether a head may be taken for what it is: one that goes `back` only if a listing before said so too, and that
    /// was over when the one which has it now `began`.
    pub fn are_over(&self, repo: &RepoId, branch: &Branch, head: Sha, back: bool, began: Instant) -> bool {
        // A holder that panicked left whole data.
        let mut doubted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (repo.clone(), branch.clone());
        if !back {
            doubted.remove(&place);
            return true;
        }
        match doubted.get(&place) {
            Some((known, at)) if *known == head && *at <= began => doubted.remove(&place).is_some(),
            // One beside it says nothing new.
            Some((known, _)) if *known == head => false,
            _ => {
                doubted.insert(place, (head, Instant::now()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_head_that_goes_back_is_believed_at_a_second_listing_and_not_at_one_beside_the_first() {
        let repo = crate::model::RepoUrl::new("https://github.com/acme/snow").unwrap().id();
        let (main, head, other) = ("main".parse().unwrap(), "a".repeat(40), "b".repeat(40));
        let (head, other): (Sha, Sha) = (head.parse().unwrap(), other.parse().unwrap());
        let doubts = Doubts::default();
        let are_over = |head, back, began| doubts.are_over(&repo, &main, head, back, began);
        let before = Instant::now();
        assert!(!are_over(head, true, before));
        assert!(!are_over(head, true, before), "it had begun before the first was over");
        let later = Instant::now() + Duration::from_secs(1);
        assert!(are_over(head, true, later));
        assert!(!are_over(head, true, later) && !are_over(other, true, later), "another head is another doubt");
        assert!(are_over(other, false, later) && !are_over(other, true, later), "it was taken back");
    }
}
