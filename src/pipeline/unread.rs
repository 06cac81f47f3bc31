//! The apps whose dependencies are not known: who is to be read, how long a plan waits for that, and which of two
//! readings counts. Must never read anything itself, nor ask a clock: times are given to it.
//!
//! A reading is as old as its beginning, before it asked a remote: it says nothing of what came later.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::AppName;

/// How long an app that could not be read is left alone, the first time; twice as long each time after.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long at most.
pub(super) const AGAIN_AT_LAST: Duration = Duration::from_secs(3600);
/// How long plans wait for an app to be read, all of them together.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long they wait for one that could not be read before.
const LITTLE_PATIENCE: Duration = Duration::from_secs(2);
/// From so many failures on, about an hour, an app is given up: plans are no longer said to lack it, and it is run once
/// it can be read, whatever moved meanwhile.
const GIVEN_UP_AT: u32 = 8;

/// What is known of an app's reading.
struct Doubt {
    /// Only a reading that began after this settles it.
    since: Instant,
    /// How often it could not be read, one after another.
    failures: u32,
    state: State,
}

enum State {
    /// No one has begun to read it.
    New,
    /// Someone is about to, or does.
    Reading {
        /// When the first plan began to wait for it.
        awaited: Option<Instant>,
    },
    /// It could not be read.
    Failed { at: Instant, why: String },
}

impl Doubt {
    fn new(since: Instant) -> Self {
        Self { since, failures: 0, state: State::New }
    }
    fn is_due(&self, now: Instant) -> bool {
        match &self.state {
            State::New => true,
            State::Reading { .. } => false,
            State::Failed { at, .. } => {
                let pause = AGAIN_AFTER.saturating_mul(1 << self.failures.saturating_sub(1).min(20)).min(AGAIN_AT_LAST);
                now.saturating_duration_since(*at) >= pause
            }
        }
    }
}

/// The apps whose dependencies are not known.
#[derive(Default)]
pub(super) struct Unread {
    doubts: HashMap<AppName, Doubt>,
    /// When the reading began by which each app is known.
    known_by: HashMap<AppName, Instant>,
}

impl Unread {
    /// What is known of an app may not be so any more: it is to be read.
    pub fn doubt(&mut self, app: &AppName, now: Instant) {
        self.doubts.entry(app.clone()).and_modify(|doubt| doubt.since = now).or_insert_with(|| Doubt::new(now));
    }

    /// As `doubt`, for one whose entry is another: what failed before says nothing.
    pub fn begin_anew(&mut self, app: &AppName, now: Instant) {
        self.doubts.retain(|name, doubt| name != app || matches!(doubt.state, State::Reading { .. }));
        self.doubt(app, now);
    }

    /// What is known of an app is good.
    pub fn is_known(&mut self, app: &AppName) {
        self.doubts.remove(app);
    }

    /// Lets go of apps that are none any more.
    pub fn keep(&mut self, is_there: impl Fn(&AppName) -> bool) {
        self.doubts.retain(|app, _| is_there(app));
        self.known_by.retain(|app, _| is_there(app));
    }

    /// Whether an app is to go by a reading that began at `begun`: not if a later one is known.
    pub fn settle(&mut self, app: &AppName, begun: Instant) -> bool {
        if self.known_by.get(app).is_some_and(|known| *known > begun) {
            return false;
        }
        self.known_by.insert(app.clone(), begun);
        self.doubts.retain(|name, doubt| name != app || doubt.since >= begun);
        true
    }

    /// The apps that are to be read now, those first that could be before. They are being read from here on.
    pub fn take_due(&mut self, now: Instant) -> Vec<AppName> {
        let mut due = Vec::new();
        for (app, doubt) in self.doubts.iter_mut().filter(|(_, doubt)| doubt.is_due(now)) {
            doubt.state = State::Reading { awaited: None };
            due.push((doubt.failures, app.clone()));
        }
        due.sort();
        due.into_iter().map(|(_, app)| app).collect()
    }

    /// A reading has ended. It has settled what it could; who was doubted meanwhile is to be read again.
    pub fn ended(&mut self, app: &AppName, failed: Option<String>, now: Instant) {
        let Some(doubt) = self.doubts.get_mut(app) else { return };
        match failed {
            None => *doubt = Doubt::new(doubt.since),
            Some(why) => {
                doubt.failures += 1;
                doubt.state = State::Failed { at: now, why };
            }
        }
    }

    /// How much longer a plan waits for readings, if at all: what one plan waited for in vain holds up no other.
    pub fn patience(&mut self, now: Instant) -> Option<Duration> {
        let left = |doubt: &mut Doubt| {
            let State::Reading { awaited } = &mut doubt.state else { return None };
            let waited = now.saturating_duration_since(*awaited.get_or_insert(now));
            let patience = if doubt.failures == 0 { PATIENCE } else { LITTLE_PATIENCE };
            patience.checked_sub(waited).filter(|left| !left.is_zero())
        };
        self.doubts.values_mut().filter_map(left).max()
    }

    /// Whether it is not known what an app depends on.
    pub fn has(&self, app: &AppName) -> bool {
        self.doubts.contains_key(app)
    }

    /// Each app, why it is not known in words, and whether it is given up.
    pub fn notes(&self) -> Vec<(AppName, String, bool)> {
        let note = |(name, doubt): (&AppName, &Doubt)| {
            let note = match &doubt.state {
                State::Failed { why, .. } => format!("what {name} depends on is not known: {why}"),
                _ => format!("what {name} depends on is not known yet: its remote has not answered so far"),
            };
            (name.clone(), note, doubt.failures >= GIVEN_UP_AT)
        };
        let mut notes: Vec<_> = self.doubts.iter().map(note).collect();
        notes.sort();
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(app: &str) -> AppName {
        app.parse().unwrap()
    }

    fn later(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn plans_wait_for_a_host_that_hangs_once_however_many_apps_it_has_and_whoever_waits_in_line() {
        let (mut unread, t0) = (Unread::default(), Instant::now());
        let apps: Vec<AppName> = (0..100).map(|n| name(&format!("app-{n}"))).collect();
        apps.iter().for_each(|app| unread.doubt(app, t0));
        assert_eq!(unread.patience(t0), None, "nobody reads them");
        assert_eq!(unread.take_due(t0).len(), 100);
        assert_eq!(unread.patience(later(t0, 5)), Some(PATIENCE));
        assert_eq!(unread.patience(later(t0, 15)), Some(Duration::from_secs(10)));
        assert_eq!(unread.patience(later(t0, 25)), None);
        assert_eq!(unread.patience(later(t0, 500)), None, "the next plan does not wait again");
        // One that is new is waited for all the same, and those that failed for little when they are tried again.
        unread.doubt(&name("well"), later(t0, 500));
        assert_eq!(unread.take_due(later(t0, 500)), [name("well")]);
        assert_eq!(unread.patience(later(t0, 500)), Some(PATIENCE));
        assert!(unread.settle(&name("well"), later(t0, 501)));
        apps.iter().for_each(|app| unread.ended(app, Some("it hangs".to_owned()), later(t0, 600)));
        assert!(unread.take_due(later(t0, 601)).is_empty());
        assert_eq!(unread.take_due(later(t0, 630)).len(), 100);
        assert_eq!(unread.patience(later(t0, 630)), Some(LITTLE_PATIENCE));
        assert_eq!(unread.patience(later(t0, 632)), None);
    }

    #[test]
    fn an_older_reading_takes_the_place_of_no_newer_one_and_settles_no_later_doubt() {
        let (mut unread, t0, app) = (Unread::default(), Instant::now(), name("app"));
        unread.doubt(&app, t0);
        unread.take_due(later(t0, 1));
        // A job reads it meanwhile.
        assert!(unread.settle(&app, later(t0, 3)));
        assert!(!unread.has(&app));
        assert!(!unread.settle(&app, later(t0, 1)), "the reading that began before has seen less");
        assert!(unread.settle(&app, later(t0, 3)), "the same one may say more");
        // A push that comes while it is read makes it be read again.
        unread.doubt(&app, later(t0, 4));
        unread.take_due(later(t0, 5));
        unread.doubt(&app, later(t0, 6));
        assert!(unread.settle(&app, later(t0, 5)));
        unread.ended(&app, None, later(t0, 7));
        assert_eq!(unread.take_due(later(t0, 7)), std::slice::from_ref(&app));
        assert!(unread.settle(&app, later(t0, 7)));
        assert!(!unread.has(&app));
    }

    #[test]
    fn an_app_that_can_never_be_read_is_given_up_after_an_hour_or_so_and_goes_on_being_tried() {
        let (mut unread, t0, app) = (Unread::default(), Instant::now(), name("app"));
        unread.doubt(&app, t0);
        let (mut now, mut tries) = (t0, 0);
        while now < later(t0, 24 * 3600) {
            now += Duration::from_secs(10);
            if !unread.take_due(now).is_empty() {
                unread.ended(&app, Some("it is gone".to_owned()), now);
                tries += 1;
                let [(_, why, given_up)] = &unread.notes()[..] else { panic!() };
                assert_eq!(*given_up, now > later(t0, 3600), "after {tries} tries");
                assert!(why.ends_with("not known: it is gone"), "{why}");
            }
        }
        assert!((25..40).contains(&tries), "{tries}");
        // Another entry of deploy.edn begins anew.
        unread.begin_anew(&app, now);
        assert_eq!(unread.take_due(now), [app]);
        assert!(!unread.notes()[0].2);
    }
}
