//! The apps whose dependencies are not known: who is to be read, how long a plan waits for that, and which of two
//! readings counts. Must never read anything itself, nor ask a clock: times are given to it.
//!
//! A reading is as old as its beginning, before it asked a remote: it says nothing of what came later.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::model::{AppName, Draft};

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

/// So many apps are told of by name.
const NAMED: usize = 3;

/// What is known of an app's reading.
struct Doubt {
    /// Only a reading that began after this settles it.
    since: Instant,
    /// How often it could not be read, one after another.
    failures: u32,
    state: State,
    /// Whether the store has a note that plans may lack it, and whether as given up.
    noted: Option<bool>,
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
        Self { since, failures: 0, state: State::New, noted: None }
    }
    fn is_given_up(&self) -> bool {
        self.failures >= GIVEN_UP_AT
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
        if self.doubts.get(app).is_some_and(|doubt| !matches!(doubt.state, State::Reading { .. })) {
            self.doubts.remove(app);
        }
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
        if self.doubts.get(app).is_some_and(|doubt| doubt.since < begun) {
            self.doubts.remove(app);
        }
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

    /// Why it is not known of apps, in words: of the first ones by name, and how many more there are.
    pub fn notes(&self) -> Vec<String> {
        let mut doubts: Vec<(&AppName, &Doubt)> = self.doubts.iter().collect();
        if doubts.len() > NAMED {
            doubts.select_nth_unstable_by_key(NAMED, |(name, _)| *name);
        }
        let more = doubts.len().saturating_sub(NAMED);
        doubts.truncate(NAMED);
        doubts.sort_by_key(|(name, _)| *name);
        let note = |(name, doubt): (&AppName, &Doubt)| match &doubt.state {
            State::Failed { why, .. } => format!("what {name} depends on is not known: {why}"),
            _ => format!("what {name} depends on is not known yet: its remote has not answered so far"),
        };
        let mut notes: Vec<String> = doubts.into_iter().map(note).collect();
        if more > 0 {
            notes.push(format!("nor is it known of {more} more apps: the daemon's log says why"));
        }
        notes
    }

    /// Tells a plan that is being made what it may lack.
    pub fn tell(&self, draft: &mut Draft) {
        draft.notes.extend(self.notes());
        let planned: HashSet<&AppName> = draft.apps.iter().map(|planned| &planned.app.name).collect();
        for (app, doubt) in self.doubts.iter().filter(|(app, _)| !planned.contains(app)) {
            let given_up = doubt.is_given_up();
            draft.incomplete |= !given_up;
            match doubt.noted {
                Some(before) if before == given_up => {}
                _ if given_up => draft.given_up.push(app.clone()),
                _ => draft.unread.push(app.clone()),
            }
        }
    }

    /// The store has noted that plans may lack these.
    pub fn noted(&mut self, unread: &[AppName], given_up: &[AppName]) {
        for (app, as_given_up) in unread.iter().map(|app| (app, false)).chain(given_up.iter().map(|app| (app, true))) {
            if let Some(doubt) = self.doubts.get_mut(app) {
                doubt.noted = Some(as_given_up);
            }
        }
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
                let mut draft = Draft::default();
                unread.tell(&mut draft);
                let given_up = now > later(t0, 3600);
                assert_eq!(
                    (draft.incomplete, draft.given_up.len()),
                    (!given_up, usize::from(given_up)),
                    "after {tries}"
                );
                assert!(draft.notes[0].ends_with("not known: it is gone"), "{:?}", draft.notes);
            }
        }
        assert!((25..40).contains(&tries), "{tries}");
        // Another entry of deploy.edn begins anew.
        unread.begin_anew(&app, now);
        assert_eq!(unread.take_due(now), [app]);
        let mut draft = Draft::default();
        unread.tell(&mut draft);
        assert!(draft.incomplete && draft.given_up.is_empty());
    }

    #[test]
    fn a_plan_tells_of_thousands_that_are_not_known_in_some_words_and_notes_each_once_and_once_when_it_is_given_up() {
        let (mut unread, t0) = (Unread::default(), Instant::now());
        let apps: Vec<AppName> = (0..5000).map(|n| name(&format!("app-{n:04}"))).collect();
        apps.iter().for_each(|app| unread.begin_anew(app, t0));
        let tell = |unread: &mut Unread| {
            let mut draft = Draft::default();
            unread.tell(&mut draft);
            unread.noted(&draft.unread, &draft.given_up);
            draft
        };
        let first = tell(&mut unread);
        assert!(first.incomplete && first.unread.len() == 5000 && first.given_up.is_empty());
        let [a, b, c, more] = &first.notes[..] else { panic!("{:?}", first.notes) };
        assert!(a.contains("app-0000") && b.contains("app-0001") && c.contains("app-0002"), "{:?}", first.notes);
        assert!(more.contains("4997 more apps"), "{more}");
        let next = tell(&mut unread);
        assert!(next.incomplete && next.unread.is_empty() && next.notes == first.notes);
        // What could not be read once is still one that is noted.
        unread.take_due(t0);
        unread.ended(&apps[0], Some("it hangs".to_owned()), t0);
        assert!(tell(&mut unread).unread.is_empty());
        // One that is known in between and is not again is noted again.
        assert!(unread.settle(&apps[1], later(t0, 1)));
        unread.doubt(&apps[1], later(t0, 2));
        assert_eq!(tell(&mut unread).unread, apps[1..2]);
        for _ in 0..GIVEN_UP_AT {
            apps.iter().for_each(|app| unread.ended(app, Some("it hangs".to_owned()), t0));
        }
        let given_up = tell(&mut unread);
        assert!(!given_up.incomplete && given_up.unread.is_empty() && given_up.given_up.len() == 5000);
        assert!(tell(&mut unread).given_up.is_empty());
    }
}
