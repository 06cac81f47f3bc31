//! The fold: a journal cut anywhere is a state, an order that can't be is refused, and what was once stored is read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the functions that tests share")]

use airplanes::model::{
    App, BuildStep, Bump, Cause, Entry, EventId, FoldError, Host, HostResult, JobId, JobState, Narrowed, Outcome,
    Progress, RECORD_VERSION, Record, Request, Step, StepResult, Target, Why,
};
use proptest::prelude::*;

use super::store::{app, branch, name, sha};

const ID: JobId = JobId { event: EventId(1_790_000_000_000 << 20), index: 0 };

fn record(entry: Entry) -> Record {
    Record { v: RECORD_VERSION, at: "2026-11-22T10:00:00Z".parse().unwrap(), entry }
}
fn host(name: &str) -> Host {
    Host { name: name.parse().unwrap(), address: name.parse().unwrap(), port: 22, user: "deploy".into() }
}
fn two_hosts() -> App {
    let build = ["test", "jar"].map(|name| BuildStep { name: Some(name.into()), run: format!("make {name}") });
    let hosts = vec![host("web-1"), host("web-2")];
    App { build: build.into(), hosts, working_directory: Some("/srv/a".into()), ..app("a") }
}
fn cause(plan: u64) -> Cause {
    let target = Target { repo: app("snow").repo(), branch: branch("main"), before: Some(sha(1)), after: sha(2) };
    Cause {
        plan: EventId(plan),
        at: "2026-11-22T09:59:00Z".parse().unwrap(),
        why: Why::OwnPush { before: None, after: sha(3) },
        wave: 1,
        after: vec![JobId { event: EventId(1), index: 3 }],
        targets: vec![target],
        tags: Vec::new(),
        dropped: None,
    }
}
fn created() -> Entry {
    Entry::Created { app: Box::new(two_hosts()), cause: cause(1) }
}
fn joined(plan: u64) -> Entry {
    Entry::Joined { app: Box::new(two_hosts()), cause: cause(plan) }
}
fn dropped(plan: u64) -> Entry {
    Entry::CauseDropped { plan: EventId(plan), reason: "snow failed".into() }
}
fn start(step: Step) -> Entry {
    Entry::StepStarted { step }
}
fn finish(step: Step, result: StepResult) -> Entry {
    Entry::StepFinished { step, result }
}
fn done(step: Step) -> Entry {
    finish(step, StepResult::Done)
}
fn fails(step: Step) -> Entry {
    finish(step, StepResult::Failed { error: "exit 1".into(), exit_code: Some(1), retry: true })
}
fn build(name: &str) -> Step {
    Step::Build(Some(name.into()))
}
fn based() -> Entry {
    Entry::Based { branch: branch("main"), sha: sha(6) }
}
fn updated(commit: u32) -> Entry {
    let bump = Bump {
        lib: "acme/snow".parse().unwrap(),
        file: "deps.edn".into(),
        repo: app("snow").repo(),
        from: sha(1).to_string(),
        to: sha(2).to_string(),
        sha: None,
    };
    let time = "2026-11-22T10:00:00Z".parse().unwrap();
    Entry::Updated { commit: sha(commit), tree: format!("tree-{commit}"), time, bumps: vec![bump] }
}
fn published(commit: u32) -> Entry {
    Entry::Published { commit: sha(commit) }
}
fn publishing(commit: u32) -> Entry {
    Entry::Publishing { commit: sha(commit) }
}
fn host_started(name: &str, previous: Option<u32>) -> Entry {
    Entry::HostStarted { host: name.parse().unwrap(), previous: previous.map(sha), sum: None }
}
fn restarting(name: &str) -> Entry {
    Entry::HostRestarting { host: name.parse().unwrap(), invocation: Some("f00".into()) }
}
fn host_done(name: &str) -> Entry {
    Entry::HostFinished { host: name.parse().unwrap(), result: HostResult::Done { changed: true } }
}
fn host_fails(name: &str) -> Entry {
    Entry::HostFinished { host: name.parse().unwrap(), result: HostResult::Failed { error: "it died".into() } }
}
fn artifact() -> Entry {
    Entry::Artifact { sum: "0123456789ab".parse().unwrap() }
}
fn end(outcome: Outcome) -> Entry {
    Entry::Ended { outcome, reason: "it is over".into() }
}

/// A job that sees most of what can happen and succeeds: joins, a resumption, a lost race, errors and a host again.
fn eventful() -> Vec<Entry> {
    vec![
        created(),
        joined(2),
        joined(3),
        dropped(2),
        Entry::Started,
        start(Step::Prepare),
        fails(Step::Prepare),
        start(Step::Prepare),
        based(),
        done(Step::Prepare),
        start(Step::Update),
        updated(7),
        done(Step::Update),
        start(build("test")),
        Entry::Resumed,
        start(build("test")),
        done(build("test")),
        start(build("jar")),
        done(build("jar")),
        start(Step::Publish),
        publishing(7),
        Entry::Raced { head: sha(8) },
        start(Step::Update),
        updated(9),
        done(Step::Update),
        start(build("test")),
        finish(build("test"), StepResult::Skipped { reason: "the tree was built".into() }),
        start(build("jar")),
        done(build("jar")),
        start(Step::Publish),
        publishing(9),
        published(9),
        done(Step::Publish),
        start(Step::Rollout),
        host_started("web-1", Some(4)),
        restarting("web-1"),
        host_done("web-1"),
        host_started("web-2", Some(4)),
        host_fails("web-2"),
        fails(Step::Rollout),
        start(Step::Rollout),
        host_started("web-2", Some(9)),
        host_done("web-2"),
        done(Step::Rollout),
        end(Outcome::Succeeded),
    ]
}
fn fold(entries: &[Entry]) -> Result<JobState, FoldError> {
    JobState::of(ID, &entries.iter().cloned().map(record).collect::<Vec<_>>())
}
/// `eventful` until the first entry like `last`, with it.
fn until(last: &Entry) -> Vec<Entry> {
    let entries = eventful();
    let at = entries.iter().position(|e| e == last).unwrap();
    entries[..=at].to_vec()
}

#[test]
fn a_journal_cut_anywhere_is_a_state_that_the_rest_goes_on_from() {
    let entries = eventful();
    for cut in 1..=entries.len() {
        let mut state = fold(&entries[..cut]).unwrap();
        assert_eq!(state.seq, cut as u64);
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<JobState>(&json).unwrap(), state, "cut at {cut}");
        assert!(state.steps.iter().filter(|s| s.state == Progress::Running).count() <= 1);
        for entry in &entries[cut..] {
            state.apply(&record(entry.clone())).unwrap();
        }
        assert_eq!(state, fold(&entries).unwrap(), "cut at {cut}");
    }
    let state = fold(&entries).unwrap();
    assert_eq!((state.outcome(), state.commit(), state.races), (Some(Outcome::Succeeded), Some(sha(9)), 1));
    assert!(state.hosts.iter().all(|h| h.state == Progress::Done && h.previous == Some(sha(4))));
    assert_eq!(state.live_causes().count(), 2);
}

#[test]
fn what_can_not_follow_is_refused_and_changes_nothing() {
    let started = until(&Entry::Started);
    let preparing = until(&start(Step::Prepare));
    let updating = until(&start(Step::Update));
    let built = until(&done(build("jar")));
    let publishing_ = until(&start(Step::Publish));
    let rolling = until(&start(Step::Rollout));
    let restarted = until(&restarting("web-1"));
    let first_done = until(&host_done("web-1"));
    let second_failed = until(&host_fails("web-2"));
    let ended = eventful();
    let mut causeless = vec![created()];
    causeless.push(dropped(1));
    let other_app = Entry::Joined { app: Box::new(app("b")), cause: cause(9) };
    let table: Vec<(&str, Vec<Entry>, Entry)> = vec![
        ("created twice", vec![created()], created()),
        ("joined by another app", vec![created()], other_app),
        ("joined by the same plan", vec![created()], joined(1)),
        ("joined after the start", started.clone(), joined(9)),
        ("a cause it does not have", vec![created()], dropped(9)),
        ("a cause dropped twice", causeless.clone(), dropped(1)),
        ("a cause dropped after the start", started.clone(), dropped(1)),
        ("started without a cause", causeless, Entry::Started),
        ("started twice", started.clone(), Entry::Started),
        ("resumed before the start", vec![created()], Entry::Resumed),
        ("a step before the start", vec![created()], start(Step::Prepare)),
        ("a step out of order", started.clone(), start(Step::Update)),
        ("a step that the job has not", built.clone(), start(Step::Build(None))),
        ("a step while another runs", preparing.clone(), start(Step::Update)),
        ("a step that is done", updating.clone(), start(Step::Prepare)),
        ("the end of a step that does not run", started.clone(), done(Step::Prepare)),
        ("prepared without a base", preparing.clone(), done(Step::Prepare)),
        ("a base outside prepare", updating.clone(), based()),
        ("updated without a commit", updating.clone(), done(Step::Update)),
        ("a commit outside update", preparing.clone(), updated(7)),
        ("a race outside publish", updating, Entry::Raced { head: sha(8) }),
        ("publishing outside publish", built.clone(), publishing(7)),
        ("publishing what was not built", publishing_.clone(), publishing(8)),
        ("a file that no build made", built.clone(), artifact()),
        ("published outside publish", built, published(7)),
        ("published what was not built", publishing_.clone(), published(8)),
        ("publish done with nothing published", publishing_.clone(), done(Step::Publish)),
        ("a host before the rollout", publishing_, host_started("web-1", None)),
        ("a host that the job has not", rolling.clone(), host_started("web-9", None)),
        ("a restart before the host's turn", rolling.clone(), restarting("web-1")),
        ("rolled out with a host undone", restarted.clone(), done(Step::Rollout)),
        ("a host that is done has failed", first_done.clone(), host_fails("web-1")),
        ("a host after the rollout failed", until(&fails(Step::Rollout)), host_done("web-2")),
        ("success before the start", vec![created()], end(Outcome::Succeeded)),
        ("success with a step undone", started, end(Outcome::Succeeded)),
        ("success with a host undone", first_done.clone(), end(Outcome::Succeeded)),
        ("success with a host failed", second_failed.clone(), end(Outcome::Succeeded)),
        ("unchanged with a host changed", first_done, end(Outcome::Unchanged)),
        ("unchanged with a host failed", second_failed, end(Outcome::Unchanged)),
        ("parked by an entry", rolling, end(Outcome::Parked)),
        ("resumed after the end", ended.clone(), Entry::Resumed),
        ("canceled after the end", ended.clone(), Entry::Canceling { by: "ada".into() }),
        ("ended twice", ended, end(Outcome::Failed)),
    ];
    for (what, journal, entry) in table {
        let before = fold(&journal).unwrap_or_else(|why| panic!("{what}: the journal before it: {why}"));
        let mut state = before.clone();
        assert!(state.apply(&record(entry)).is_err(), "admitted: {what}");
        assert_eq!(state, before, "changed by a refusal: {what}");
    }
    assert_eq!(fold(&[]), Err(FoldError::NotCreated));
    assert_eq!(fold(&[Entry::Started]), Err(FoldError::NotCreated));
    let newer = Record { v: RECORD_VERSION + 1, ..record(created()) };
    assert_eq!(JobState::create(ID, &newer), Err(FoldError::Version(RECORD_VERSION + 1)));
}

#[test]
fn nothing_is_left_running_when_a_job_ends() {
    let mut entries = until(&restarting("web-1"));
    entries.push(end(Outcome::Failed));
    let state = fold(&entries).unwrap();
    assert_eq!(state.step(&Step::Rollout).unwrap().state, Progress::Failed);
    let hosts: Vec<_> = state.hosts.iter().map(|h| (h.state, h.changed)).collect();
    assert_eq!(hosts, [(Progress::Failed, true), (Progress::Skipped, false)]);
    assert!(state.hosts[0].error.is_some());
}

#[test]
fn the_base_itself_may_be_published_without_a_push() {
    let mut entries = until(&start(Step::Update));
    let Entry::Updated { tree, time, .. } = updated(6) else { unreachable!() };
    let nothing = StepResult::Skipped { reason: "nothing is due".into() };
    entries.push(Entry::Updated { commit: sha(6), tree, time, bumps: Vec::new() });
    entries.extend([finish(Step::Update, nothing), published(6), end(Outcome::Unchanged)]);
    assert_eq!(fold(&entries).unwrap().outcome(), Some(Outcome::Unchanged));
}

#[test]
fn what_a_build_made_for_hosts_is_known_until_another_is_made() {
    let mut entries = until(&start(build("jar")));
    entries.push(artifact());
    let state = fold(&entries).unwrap();
    assert_eq!(state.sum.as_ref().map(|sum| sum.as_str()), Some("0123456789ab"));
    let json = serde_json::to_string(&record(artifact())).unwrap();
    assert!(json.ends_with(r#""entry":"artifact","sum":"0123456789ab"}"#), "{json}");
    assert!(serde_json::from_str::<Record>(&json.replace("0123456789ab", "../../../etc")).is_err());
}

fn bumped(lib: &str) -> Entry {
    let Entry::Updated { mut bumps, .. } = updated(7) else { unreachable!() };
    (bumps[0].lib, bumps[0].sha) = (lib.parse().unwrap(), Some(("abc1234".into(), "def5678".into())));
    Entry::Bumped { bumps }
}
fn narrowed() -> Entry {
    let (lib, [from, good, bad]) = ("acme/snow".parse().unwrap(), [1, 2, 3].map(|n| sha(n).to_string()));
    Entry::Narrowed(Narrowed { lib, from, good, bad, culprit: None })
}
fn requested(commit: u32) -> Entry {
    let url = "https://github.com/acme/a/pull/12".to_owned();
    Entry::Requested(Request { number: 12, url, branch: branch("airplanes/1"), commit: sha(commit), by: None })
}

#[test]
fn bumps_in_parts_are_one_list_and_begin_anew_with_their_step() {
    let mut entries = until(&start(Step::Update));
    entries.extend([bumped("acme/lost"), Entry::Resumed, start(Step::Update)]);
    assert!(fold(&entries).unwrap().bumped.is_empty());
    entries.extend([bumped("acme/a"), bumped("acme/b"), updated(7)]);
    let state = fold(&entries).unwrap();
    let libs: Vec<_> = state.updated.unwrap().bumps.into_iter().map(|b| b.lib.to_string()).collect();
    assert_eq!(libs, ["acme/a", "acme/b", "acme/snow"]);
    assert!(state.bumped.is_empty());
}

#[test]
fn a_build_that_failed_may_begin_again_with_less() {
    let mut entries = until(&start(build("test")));
    let mut state = fold(&entries).unwrap();
    assert!(state.apply(&record(narrowed())).is_err(), "it has not failed");
    entries.extend([fails(build("test")), narrowed()]);
    state = fold(&entries).unwrap();
    assert_eq!((state.updated.is_some(), state.narrowed.len()), (false, 1));
    entries.extend([start(Step::Update), updated(8), done(Step::Update), start(build("test"))]);
    fold(&entries).unwrap();
}

#[test]
fn a_commit_may_get_there_by_a_pull_request() {
    let mut entries = until(&start(Step::Publish));
    let mut state = fold(&entries).unwrap();
    assert!(state.apply(&record(requested(8))).is_err(), "not what was built");
    assert!(state.apply(&record(Entry::Merged { commit: sha(8) })).is_err(), "nothing was requested");
    entries.extend([requested(7), requested(7), Entry::Merged { commit: sha(8) }, done(Step::Publish)]);
    state = fold(&entries).unwrap();
    assert_eq!((state.commit(), state.requested.unwrap().number), (Some(sha(8)), 12));
    let mut raced = until(&start(Step::Publish));
    raced.extend([requested(7), Entry::Raced { head: sha(8) }]);
    assert_eq!(fold(&raced).unwrap().requested, None, "another commit wants another request");
}

fn returning(name: &str) -> Entry {
    Entry::HostReturning { host: name.parse().unwrap() }
}
fn ends(name: &str, result: HostResult) -> Entry {
    Entry::HostFinished { host: name.parse().unwrap(), result }
}
fn rolling_back() -> Entry {
    Entry::RollingBack { reason: "web-2 died".into() }
}

#[test]
fn hosts_that_were_touched_go_back_and_others_do_not() {
    let mut entries = until(&host_fails("web-2"));
    let refused = |entries: &[Entry], entry: Entry| {
        let mut state = fold(entries).unwrap();
        assert!(state.apply(&record(entry.clone())).is_err(), "admitted: {entry:?}");
    };
    refused(&entries, returning("web-1"));
    refused(&entries, ends("web-2", HostResult::RolledBack));
    let put_back = || HostResult::PutBack { error: "it died".into() };
    refused(&entries, ends("web-2", put_back()));
    entries.push(rolling_back());
    refused(&entries, rolling_back());
    refused(&entries, ends("web-1", HostResult::RolledBack));
    entries.extend([returning("web-2"), restarting("web-2"), ends("web-2", HostResult::RolledBack)]);
    refused(&entries, returning("web-2"));
    entries.extend([returning("web-1"), ends("web-1", HostResult::RolledBack), fails(Step::Rollout)]);
    entries.push(end(Outcome::RolledBack));
    for cut in 1..=entries.len() {
        let state = fold(&entries[..cut]).unwrap();
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<JobState>(&json).unwrap(), state, "cut at {cut}");
    }
    let state = fold(&entries).unwrap();
    assert!(state.hosts.iter().all(|h| h.state == Progress::RolledBack && !h.touched && h.previous == Some(sha(4))));
    assert_eq!(state.hosts[1].error.as_deref(), Some("it died"), "what was wrong is kept");

    let mut refusal = until(&host_started("web-1", Some(4)));
    refusal.push(ends("web-1", HostResult::Refused { error: "a dirty tree".into(), locked: false }));
    assert!(!fold(&refusal).unwrap().hosts[0].touched);
    refusal.push(rolling_back());
    refused(&refusal, returning("web-1"));
}

/// All kinds of entries, some of which fit each other.
fn any_entry() -> impl Strategy<Value = Entry> {
    let others = vec![
        bumped("acme/snow"),
        narrowed(),
        requested(7),
        Entry::Merged { commit: sha(7) },
        Entry::Canceling { by: "ada".into() },
        Entry::HostFinished { host: host("web-1").name, result: HostResult::Unreachable { error: "no route".into() } },
        Entry::HostFinished { host: host("web-2").name, result: HostResult::Skipped { reason: "web-1 failed".into() } },
        published(6),
        rolling_back(),
        returning("web-1"),
        ends("web-1", HostResult::RolledBack),
        ends("web-2", HostResult::Refused { error: "a dirty tree".into(), locked: false }),
    ];
    let outcomes = Outcome::ALL.map(end);
    prop::sample::select([eventful(), others, outcomes.to_vec()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn whatever_is_tried_the_state_is_the_fold_of_what_was_admitted(
        from in 1..eventful().len(),
        tried in prop::collection::vec(any_entry(), 0..80),
    ) {
        let mut admitted = eventful()[..from].to_vec();
        let mut state = fold(&admitted).unwrap();
        for entry in tried {
            let before = state.clone();
            match state.apply(&record(entry.clone())) {
                Ok(()) => admitted.push(entry),
                Err(_) => prop_assert_eq!(&state, &before),
            }
        }
        prop_assert_eq!(&fold(&admitted).unwrap(), &state);
        if state.ended.is_some() {
            prop_assert!(state.steps.iter().all(|s| !matches!(s.state, Progress::Running | Progress::Pending)));
            prop_assert!(state.hosts.iter().all(|h| !matches!(h.state, Progress::Running | Progress::Pending)));
        }
        if state.outcome() == Some(Outcome::Succeeded) {
            prop_assert!(state.hosts.iter().all(|h| h.state == Progress::Done));
        }
    }
}

/// One of each entry and of each result in it.
fn each() -> Vec<Record> {
    let mut entries = eventful();
    let none = |result| Entry::HostFinished { host: host("web-1").name, result };
    entries.extend([
        none(HostResult::Unreachable { error: "no route to host".into() }),
        none(HostResult::Skipped { reason: "web-2 failed".into() }),
        finish(Step::Build(None), StepResult::Failed { error: "é\n\"".into(), exit_code: None, retry: false }),
        Entry::HostRestarting { host: host("web-1").name, invocation: None },
        host_started("web-1", None),
        Entry::Canceling { by: "ada".into() },
    ]);
    entries.extend(Outcome::ALL.map(end));
    for why in [Why::Dependency, Why::Asked { by: "ada".into() }] {
        entries.push(Entry::Joined { app: Box::new(app("a")), cause: Cause { why, ..cause(4) } });
    }
    let mut records: Vec<Record> = entries.into_iter().map(record).collect();
    records.dedup();
    records
}

#[test]
fn every_entry_is_read_back_as_it_was_written() {
    let refused = ends("web-1", HostResult::Refused { error: "a dirty tree".into(), locked: false });
    let back = [rolling_back(), returning("web-1"), ends("web-1", HostResult::RolledBack), refused];
    let later = [bumped("acme/snow"), narrowed(), requested(7), Entry::Merged { commit: sha(7) }];
    let later = later.into_iter().chain(back);
    for record in each().into_iter().chain(later.map(record)) {
        let json = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&json).unwrap(), record);
    }
}

/// The file is never written again: a format that changes gets a version and a file of its own.
#[test]
fn records_of_version_1_are_still_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/records-v1.jsonl");
    let stored = std::fs::read_to_string(path).unwrap();
    let stored: Vec<Record> = stored.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(stored, each());
    let journal = &stored[..eventful().len()];
    assert_eq!(JobState::of(ID, journal).unwrap().outcome(), Some(Outcome::Succeeded));
    assert_eq!(JobState::of(ID, journal).unwrap().app.name, name("a"));
}
