//! What is worth telling: a pure function of what was told before and what is so now.
//!
//! The rules, which the README states:
//! - An app is in trouble from the first of its jobs that does not end well until the first that does. The first
//!   failure is told; a further one only if it fails in a step that was not told in this trouble; then its recovery.
//! - So with a job that went on without a commit of a dependency that breaks its build (`:bisect?`): who that is is told
//!   once.
//! - What was canceled or skipped says nothing about an app. Of a rollout that failed in an environment nothing is said by a
//!   job that did well in others.
//! - Jobs of one event that fail together are told together: the first notice waits until the event's last job has
//!   ended, or a minute; later failures of the same event, or recoveries, wait longer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::model::{EventId, JobId, Outcome, Topic, Trouble};

/// How long things are held so that they can be told together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holds {
    /// The first failure of an event.
    pub first: Duration,
    /// Failures of an event that was told of.
    pub later: Duration,
    /// Recoveries.
    pub recovery: Duration,
}

/// A job that has ended, as the store's mark and the job say.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// The mark.
    pub mark: u64,
    /// How long it has been known here.
    pub age: Duration,
    /// The job.
    pub job: JobId,
    /// Its app, as a topic.
    pub topic: Topic,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it went on without commits that break its build.
    pub narrowed: bool,
    /// The step that failed, or the commits that it went on without.
    pub cause: String,
    /// The newest event that it answered.
    pub event: EventId,
    /// The environments that it was for.
    pub environments: Vec<String>,
}

/// What the cause of a rollout that failed in environments begins with; their names come after it.
pub(super) const ROLLOUT_IN: &str = "rollout in ";

impl Ended {
    /// Whether it can say that what a cause names is over.
    fn knows_of(&self, cause: &str) -> bool {
        let there = cause.strip_prefix(ROLLOUT_IN);
        there.is_none_or(|there| there.split(", ").all(|name| self.environments.iter().any(|own| own == name)))
    }
}

/// What a job's end means to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Failed,
    Recovered,
    /// It is known, or says nothing.
    Nothing,
}

/// Jobs of one event to be told of in one notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub event: EventId,
    /// Whether they failed; else they recovered.
    pub failed: bool,
    pub jobs: Vec<(Topic, JobId, String)>,
}

/// What is to be done about ended jobs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Marks that are done with once the groups are on their way.
    pub judged: Vec<u64>,
    pub groups: Vec<Group>,
    /// When to look again, if nothing else happens.
    pub again: Option<Duration>,
}

/// Looks at ended jobs, oldest first. `is_open` says whether jobs of an event are still under way.
pub(super) fn judge(
    ended: &[Ended],
    troubles: &BTreeMap<Topic, Trouble>,
    holds: Holds,
    is_open: impl Fn(EventId) -> bool,
) -> Judgement {
    let told: HashSet<EventId> = troubles.values().flat_map(|trouble| trouble.events.iter().copied()).collect();
    let meanings = meanings(ended, troubles);
    let mut last_of: HashMap<&Topic, usize> = HashMap::new();
    for (index, one) in ended.iter().enumerate() {
        last_of.insert(&one.topic, index);
    }
    // A group is told when the first of its jobs has waited long enough, or nothing more can join it.
    let mut due: HashMap<(EventId, bool), Duration> = HashMap::new();
    for (index, (one, meaning)) in ended.iter().zip(&meanings).enumerate() {
        let failed = match meaning {
            Meaning::Failed => true,
            Meaning::Recovered => false,
            Meaning::Nothing => continue,
        };
        let hold = match (failed, told.contains(&one.event)) {
            (true, false) => holds.first,
            (true, true) => holds.later,
            (false, _) => holds.recovery,
        };
        // The next job of the same app must not be judged before this one.
        let overtaken = last_of.get(&one.topic).is_some_and(|last| *last > index);
        let left = if overtaken || !is_open(one.event) { Duration::ZERO } else { hold.saturating_sub(one.age) };
        let slot = due.entry((one.event, failed)).or_insert(left);
        *slot = (*slot).min(left);
    }
    let mut judgement = Judgement::default();
    let mut groups: BTreeMap<(EventId, bool), Group> = BTreeMap::new();
    let mut held: HashSet<&Topic> = HashSet::new();
    for (one, meaning) in ended.iter().zip(&meanings) {
        let failed = *meaning == Meaning::Failed;
        let key = (one.event, failed);
        let waits = *meaning != Meaning::Nothing && due.get(&key).is_some_and(|left| !left.is_zero());
        if waits || held.contains(&one.topic) {
            held.insert(&one.topic);
            continue;
        }
        judgement.judged.push(one.mark);
        if *meaning != Meaning::Nothing {
            let group = groups.entry(key).or_insert_with(|| Group { event: one.event, failed, jobs: Vec::new() });
            group.jobs.push((one.topic.clone(), one.job, one.cause.clone()));
        }
    }
    judgement.groups = groups.into_values().collect();
    judgement.again = due.values().filter(|left| !left.is_zero()).min().copied();
    judgement
}

fn meanings(ended: &[Ended], troubles: &BTreeMap<Topic, Trouble>) -> Vec<Meaning> {
    let mut causes: HashMap<&Topic, Vec<&str>> = HashMap::new();
    for (topic, trouble) in troubles {
        causes.insert(topic, trouble.causes.iter().map(String::as_str).collect());
    }
    let mut meanings = Vec::with_capacity(ended.len());
    for one in ended {
        meanings.push(match one.outcome {
            Outcome::Succeeded | Outcome::Unchanged if !one.narrowed => match causes.get(&one.topic) {
                Some(told) if told.iter().all(|cause| one.knows_of(cause)) => {
                    causes.remove(&one.topic);
                    Meaning::Recovered
                }
                _ => Meaning::Nothing,
            },
            Outcome::Succeeded | Outcome::Unchanged | Outcome::Failed | Outcome::Partial | Outcome::RolledBack => {
                let told = causes.entry(&one.topic).or_default();
                if told.contains(&one.cause.as_str()) {
                    Meaning::Nothing
                } else {
                    told.push(&one.cause);
                    Meaning::Failed
                }
            }
            Outcome::Canceled | Outcome::Skipped | Outcome::Parked => Meaning::Nothing,
        });
    }
    meanings
}

/// The trouble after one more notice about it.
pub(super) fn deepened(
    before: Option<&Trouble>,
    now: jiff::Timestamp,
    cause: &str,
    event: Option<EventId>,
    notice: &str,
) -> Trouble {
    let new = Trouble { since: now, causes: Vec::new(), events: Vec::new(), notices: Vec::new() };
    let mut trouble = before.cloned().unwrap_or(new);
    trouble.causes.push(cause.to_owned());
    trouble.events.extend(event);
    trouble.notices.push(notice.to_owned());
    // A job has few steps, so these are few; a row stays small in any case.
    for list in [&mut trouble.causes, &mut trouble.notices] {
        list.drain(..list.len().saturating_sub(20));
    }
    trouble.events.drain(..trouble.events.len().saturating_sub(20));
    trouble
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDS: Holds =
        Holds { first: Duration::from_secs(60), later: Duration::from_secs(1800), recovery: Duration::from_secs(600) };

    fn ended(mark: u64, app: &str, event: u64, outcome: Outcome, cause: &str, age: u64) -> Ended {
        Ended {
            mark,
            age: Duration::from_secs(age),
            job: JobId { event: EventId(event), index: 0 },
            topic: Topic::App(app.parse().unwrap()),
            outcome,
            narrowed: cause.starts_with("without"),
            cause: cause.to_owned(),
            event: EventId(event),
            environments: vec!["staging".to_owned()],
        }
    }
    fn trouble(cause: &str, event: u64) -> Trouble {
        deepened(None, jiff::Timestamp::UNIX_EPOCH, cause, Some(EventId(event)), "n1")
    }
    fn told(judgement: &Judgement) -> Vec<(bool, Vec<String>)> {
        let names = |g: &Group| g.jobs.iter().map(|(topic, ..)| topic.to_string()).collect();
        judgement.groups.iter().map(|g| (g.failed, names(g))).collect()
    }

    #[test]
    fn who_goes_on_without_a_bad_commit_is_in_trouble_until_it_need_not() {
        let row = [
            ended(1, "shop", 1, Outcome::Succeeded, "without lib 1", 0),
            ended(2, "shop", 2, Outcome::Unchanged, "without lib 1", 0),
            ended(3, "shop", 3, Outcome::Succeeded, "without lib 2", 0),
            ended(4, "shop", 4, Outcome::Succeeded, "", 0),
        ];
        let judgement = judge(&row, &BTreeMap::new(), HOLDS, |_| false);
        let groups: Vec<(u64, bool)> = judgement.groups.iter().map(|group| (group.event.0, group.failed)).collect();
        assert_eq!(groups, [(1, true), (3, true), (4, false)]);
    }

    #[test]
    fn a_first_failure_and_a_recovery_are_told_and_what_is_between_is_not() {
        let row = [
            ended(1, "shop", 1, Outcome::Failed, "build", 0),
            ended(2, "shop", 2, Outcome::Failed, "build", 0),
            ended(3, "shop", 3, Outcome::Canceled, "", 0),
            ended(4, "shop", 4, Outcome::Succeeded, "", 0),
            ended(5, "shop", 5, Outcome::Succeeded, "", 0),
        ];
        let judgement = judge(&row, &BTreeMap::new(), HOLDS, |_| false);
        assert_eq!(judgement.judged, [1, 2, 3, 4, 5]);
        let want = [(true, vec!["app/shop".to_owned()]), (false, vec!["app/shop".to_owned()])];
        assert_eq!(told(&judgement), want);
    }

    #[test]
    fn what_failed_in_an_environment_is_over_when_a_job_does_well_there() {
        let mut promoted = ended(3, "shop", 3, Outcome::Succeeded, "", 0);
        promoted.environments = vec!["production".to_owned()];
        let row = [
            ended(1, "shop", 1, Outcome::RolledBack, "rollout in production", 0),
            ended(2, "shop", 2, Outcome::Succeeded, "", 0),
            promoted,
        ];
        let judgement = judge(&row, &BTreeMap::new(), HOLDS, |_| false);
        let groups: Vec<(u64, bool)> = judgement.groups.iter().map(|group| (group.event.0, group.failed)).collect();
        assert_eq!(groups, [(1, true), (3, false)]);
    }

    #[test]
    fn a_failure_in_another_step_is_told_once_more() {
        let troubles = BTreeMap::from([(Topic::App("shop".parse().unwrap()), trouble("build", 1))]);
        let row = [
            ended(1, "shop", 2, Outcome::Failed, "build", 0),
            ended(2, "shop", 3, Outcome::RolledBack, "rollout", 0),
            ended(3, "shop", 4, Outcome::Partial, "rollout", 0),
        ];
        let judgement = judge(&row, &troubles, HOLDS, |_| false);
        assert_eq!(judgement.groups.len(), 1);
        assert_eq!(judgement.groups[0].event, EventId(3));
    }

    #[test]
    fn failures_of_one_event_wait_for_each_other_but_not_for_ever() {
        let one = ended(1, "a", 7, Outcome::Failed, "build", 10);
        let two = ended(2, "b", 7, Outcome::Failed, "build", 5);
        let held = judge(&[one.clone(), two.clone()], &BTreeMap::new(), HOLDS, |_| true);
        assert_eq!((held.judged.len(), held.again), (0, Some(Duration::from_secs(50))));
        let closed = judge(&[one.clone(), two.clone()], &BTreeMap::new(), HOLDS, |_| false);
        assert_eq!(told(&closed), [(true, vec!["app/a".to_owned(), "app/b".to_owned()])]);
        let late = Ended { age: Duration::from_secs(61), ..one };
        let due = judge(&[late, two.clone()], &BTreeMap::new(), HOLDS, |_| true);
        assert_eq!(due.judged, [1, 2]);
        // Told of already: the rest waits for the event's end.
        let troubles = BTreeMap::from([(Topic::App("a".parse().unwrap()), trouble("build", 7))]);
        let rest = judge(&[Ended { age: Duration::from_secs(61), ..two }], &troubles, HOLDS, |_| true);
        assert!(rest.judged.is_empty());
    }

    #[test]
    fn a_held_failure_is_told_before_what_the_app_did_next() {
        let row = [ended(1, "a", 7, Outcome::Failed, "build", 0), ended(2, "a", 8, Outcome::Succeeded, "", 0)];
        // Event 7 is open still, but the app has moved on.
        let judgement = judge(&row, &BTreeMap::new(), HOLDS, |event| event == EventId(7));
        assert_eq!(judgement.judged, [1, 2]);
        // A recovery that is held keeps what the app did next from being judged before it.
        let troubles = BTreeMap::from([(Topic::App("a".parse().unwrap()), trouble("build", 1))]);
        let row = [ended(1, "a", 7, Outcome::Succeeded, "", 0), ended(2, "b", 7, Outcome::Skipped, "", 0)];
        let judgement = judge(&row, &troubles, HOLDS, |_| true);
        assert_eq!(judgement.judged, [2]);
    }
}
