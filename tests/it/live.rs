//! What jobs have brought to hosts: which commits were live, what a rollback goes back to and takes back, and what hosts
//! are owed that were away. Over jobs folded from entries, without a daemon.

use std::convert::Infallible;

use airplanes::model::live::{self, Debt};
use airplanes::model::rollout::{Because, Carried, Rollout, Unreachable};
use airplanes::model::{
    App, Cause, Entry, Environment, EventId, Host, HostName, HostResult, JobId, JobState, Outcome, RECORD_VERSION,
    Record, Sha, Step, StepResult, Waiting, Why,
};
use jiff::Timestamp;

use super::store::{app, sha};

fn on(hosts: usize, rollout: Rollout) -> App {
    let host = |n: usize| {
        let name = format!("web-{n}");
        Host { name: name.parse().unwrap(), address: name.parse().unwrap(), port: 22, user: "deploy".into() }
    };
    App { hosts: (1..=hosts).map(host).collect(), rollout, working_directory: Some("/srv/shop".into()), ..app("shop") }
}
fn carried(to: u32, because: Because) -> Why {
    let of = JobId { event: EventId(1), index: 0 };
    let (branch, hosts, by) = ("main".parse().unwrap(), Vec::new(), "ada".to_owned());
    Why::Rollout(Carried { of, commit: sha(to), sum: None, branch, hosts, because, by })
}
fn rollback(to: u32, bad: u32) -> Why {
    carried(to, Because::Rollback { bad: sha(bad) })
}
fn asked() -> Why {
    Why::Asked { by: "ada".into() }
}

/// How the hosts of a job ended, a letter each: Done, Failed, Unreachable, Skipped, taken Back, Lost on the way back.
fn job(n: u64, why: Why, commit: u32, (hosts, ran): (&str, u32), outcome: Outcome, rollout: Rollout) -> JobState {
    let at = Timestamp::UNIX_EPOCH;
    let id = JobId { event: EventId(n), index: 0 };
    let is_carried = matches!(why, Why::Rollout(_));
    let (after, targets, tags) = (Vec::new(), Vec::new(), Vec::new());
    let cause = Cause { plan: id.event, at, why, wave: 0, after, targets, tags, dropped: None };
    let rollout = if is_carried { rollout.of_carried(true) } else { rollout };
    let app = Box::new(on(hosts.len(), rollout));
    let record = |entry| Record { v: RECORD_VERSION, at, entry };
    let mut job = JobState::create(id, &record(Entry::Created { app, cause })).unwrap();
    let start = |step| Entry::StepStarted { step };
    let done = |step| Entry::StepFinished { step, result: StepResult::Done };
    let mut entries = vec![Entry::Started];
    if !is_carried {
        let (commit, tree, bumps) = (sha(commit), "tree".to_owned(), Vec::new());
        let based = Entry::Based { branch: "main".parse().unwrap(), sha: commit };
        entries.extend([start(Step::Prepare), based, done(Step::Prepare), start(Step::Update)]);
        entries.extend([Entry::Updated { commit, tree, time: at, bumps }, done(Step::Update)]);
        entries.extend([start(Step::Publish), Entry::Published { commit }, done(Step::Publish)]);
    }
    if outcome != Outcome::Unchanged {
        entries.push(start(Step::Rollout));
    }
    let names: Vec<_> = job.hosts.iter().map(|host| host.name.clone()).collect();
    let error = || "it died".to_owned();
    let begun = |state| matches!(state, 'D' | 'F' | 'B' | 'L' | 'P');
    for (host, state) in names.iter().zip(hosts.chars()) {
        if begun(state) {
            entries.push(Entry::HostStarted { host: host.clone(), previous: Some(sha(ran)), sum: None });
        }
        let result = match state {
            'D' | 'B' | 'L' => HostResult::Done { changed: true },
            'F' => HostResult::Failed { error: error() },
            'P' => HostResult::PutBack { error: error() },
            'U' => HostResult::Unreachable { error: error() },
            _ => continue,
        };
        entries.push(Entry::HostFinished { host: host.clone(), result });
    }
    if hosts.contains('B') {
        entries.push(Entry::RollingBack { reason: error() });
    }
    for (host, state) in names.iter().zip(hosts.chars()).filter(|(_, state)| matches!(state, 'B' | 'L')) {
        let lost = || HostResult::Unreachable { error: error() };
        let result = if state == 'B' { HostResult::RolledBack } else { lost() };
        entries.push(Entry::HostReturning { host: host.clone() });
        entries.push(Entry::HostFinished { host: host.clone(), result });
    }
    let failed = StepResult::Failed { error: error(), exit_code: None, retry: false };
    match outcome {
        Outcome::Unchanged => {}
        Outcome::Succeeded => entries.push(done(Step::Rollout)),
        _ => entries.push(Entry::StepFinished { step: Step::Rollout, result: failed }),
    }
    entries.push(Entry::Ended { outcome, reason: String::new() });
    for entry in entries {
        job.apply(&record(entry)).unwrap();
    }
    job
}

#[test]
fn a_commit_was_live_where_all_hosts_but_those_that_were_away_and_as_many_as_may_fail_have_it() {
    use Outcome::{Failed, Partial, RolledBack, Succeeded, Unchanged};
    let may_fail = |max_failures| Rollout { max_failures, ..Rollout::default() };
    let strict = || Rollout { unreachable: Unreachable::Fail, ..Rollout::default() };
    for (hosts, outcome, rollout, was_live) in [
        ("DDD", Succeeded, may_fail(0), true),
        ("SSS", Unchanged, may_fail(0), true),
        ("DDU", Partial, may_fail(0), true),
        ("DDU", Partial, strict(), false),
        ("DUF", Partial, may_fail(0), false),
        ("DUF", Partial, may_fail(1), true),
        ("DFF", Partial, may_fail(1), false),
        // Put back before it had a request.
        ("DDP", Partial, may_fail(1), true),
        ("DDP", Partial, may_fail(0), false),
        ("PSS", Failed, may_fail(0), false),
        // Canceled after the first, or halted.
        ("DSS", Partial, may_fail(0), false),
        ("UUU", Failed, may_fail(0), false),
        ("BBS", RolledBack, may_fail(0), false),
        ("BBU", Partial, may_fail(1), false),
    ] {
        let job = job(1, asked(), 1, (hosts, 0), outcome, rollout);
        assert_eq!(job.was_live_on(|_| true), was_live, "{hosts} {outcome:?}");
        for (host, state) in job.hosts.iter().zip(hosts.chars()) {
            assert!(state != 'P' || !job.has_left(host) && !job.has_brought(|name| *name == host.name), "{hosts}");
        }
    }
}

#[test]
fn what_was_live_before_is_neither_what_was_taken_back_nor_what_a_host_caught_up_with() {
    use Outcome::{Partial, RolledBack, Succeeded};
    let well = |n, why, commit| job(n, why, commit, ("DD", 0), Succeeded, Rollout::default());
    let told = |jobs: &[JobState]| -> Vec<Sha> {
        live::history(jobs.iter().rev(), |_| true).into_iter().map(|(commit, _)| commit).collect()
    };
    let mut jobs = vec![well(1, asked(), 1), well(2, asked(), 2), well(3, asked(), 3)];
    assert_eq!(told(&jobs), [1, 2, 3].map(sha));
    // One that went back by itself never was; one that a host missed was.
    jobs.push(job(4, asked(), 4, ("BB", 3), RolledBack, Rollout::default()));
    jobs.push(job(5, asked(), 5, ("DU", 3), Partial, Rollout::default()));
    assert_eq!(told(&jobs), [1, 2, 3, 5].map(sha));
    jobs.push(well(6, carried(1, Because::CatchUp), 1));
    jobs.push(well(7, rollback(3, 5), 3));
    jobs.push(well(8, rollback(2, 3), 2));
    assert_eq!(told(&jobs), [1, 2].map(sha));
    // Forward again, by hand: what was live before that is no bad commit.
    jobs.push(well(9, rollback(5, 2), 5));
    assert_eq!(told(&jobs), [1, 2, 5].map(sha));
    // Back to the first; then the second is deployed again and does well, so the third comes after it.
    jobs.push(well(10, rollback(1, 5), 1));
    jobs.push(well(11, asked(), 2));
    jobs.push(well(12, asked(), 6));
    assert_eq!(told(&jobs), [1, 2, 6].map(sha));
    // A rollback that failed on all hosts took back what it came to all the same.
    jobs.push(job(13, rollback(2, 6), 2, ("FF", 6), Outcome::Failed, Rollout::default()));
    assert_eq!(told(&jobs), [1, 2].map(sha));
}

#[test]
fn a_rollback_takes_back_what_it_was_asked_to_and_what_went_live_while_it_waited() {
    let back = |hosts, ran, outcome| job(1, rollback(1, 2), 1, (hosts, ran), outcome, Rollout::default());
    assert_eq!(back("DD", 2, Outcome::Succeeded).taken_back(), [sha(2)]);
    assert_eq!(back("DD", 3, Outcome::Succeeded).taken_back(), [sha(2), sha(3)]);
    assert_eq!(back("DU", 1, Outcome::Partial).taken_back(), [sha(2)]);
    assert_eq!(back("UU", 3, Outcome::Failed).taken_back(), []);
}

#[test]
fn a_host_that_was_away_is_owed_what_the_others_run_and_no_commit_that_was_halted_or_taken_back() {
    use Outcome::{Failed, Partial, Succeeded};
    let plain = |n, commit, hosts, outcome| job(n, asked(), commit, (hosts, 1), outcome, Rollout::default());
    let owed = |jobs: &[JobState]| -> Vec<(Sha, u64, Vec<String>)> {
        let name = |host: &HostName| host.to_string();
        let told = |debt: Debt| (debt.commit, debt.of.event.0, debt.hosts.iter().map(name).collect());
        let newest_first = jobs.iter().rev().map(Ok::<_, Infallible>);
        live::debts(&jobs[0].app, newest_first).unwrap().into_iter().map(told).collect()
    };
    let debt = |commit, of, host: &str| vec![(sha(commit), of, vec![host.to_owned()])];
    let mut jobs = vec![plain(1, 1, "DDD", Succeeded), plain(2, 2, "DDU", Partial)];
    assert_eq!(owed(&jobs), debt(2, 2, "web-3"));
    // One dies of the third, so that it is halted: the one that is away still gets the second.
    jobs.push(plain(3, 3, "DFU", Partial));
    assert_eq!(owed(&jobs), debt(2, 2, "web-3"));
    // So it does where the daemon, or a person, ended a rollout.
    jobs.push(plain(4, 4, "DSU", Partial));
    jobs.push(plain(5, 5, "UUU", Failed));
    assert_eq!(owed(&jobs), debt(2, 2, "web-3"));
    // It comes too late for that once another has brought it something.
    jobs.push(plain(6, 6, "DDD", Succeeded));
    assert_eq!(owed(&jobs), []);

    // One was still at the first when the third came, and was lost on its way back to it: it gets the first, by the job
    // that built that, and the one that was away meanwhile what it was owed before.
    let jobs = [
        plain(1, 1, "DDD", Succeeded),
        plain(2, 2, "DUU", Partial),
        job(3, asked(), 3, ("BLU", 1), Partial, Rollout::default()),
    ];
    let both = [debt(1, 1, "web-2"), debt(2, 2, "web-3")].concat();
    assert_eq!(owed(&jobs), both);
}

#[test]
fn while_one_waits_for_the_window_of_others_its_hosts_are_owed_it_and_its_first_act_ends_the_wait() {
    let at = Timestamp::UNIX_EPOCH;
    let app = on(3, Rollout::default());
    let names: Vec<HostName> = app.hosts.iter().map(|host| host.name.clone()).collect();
    let there = |name: &str, hosts: &[HostName]| Environment {
        name: name.parse().unwrap(),
        hosts: hosts.to_vec(),
        manual: false,
        rollout: Rollout::default(),
        health: None,
        window: None,
    };
    let app = App { environments: vec![there("staging", &names[..2]), there("production", &names[2..])], ..app };
    let record = |entry| Record { v: RECORD_VERSION, at, entry };
    let (after, targets, tags) = (Vec::new(), Vec::new(), Vec::new());
    let cause = Cause { plan: EventId(1), at, why: asked(), wave: 0, after, targets, tags, dropped: None };
    let id = JobId { event: EventId(1), index: 0 };
    let mut job = JobState::create(id, &record(Entry::Created { app: Box::new(app), cause })).unwrap();
    let start = |step| Entry::StepStarted { step };
    let done = |step| Entry::StepFinished { step, result: StepResult::Done };
    let (commit, tree, bumps) = (sha(1), "tree".to_owned(), Vec::new());
    let mut entries = vec![Entry::Started, start(Step::Prepare)];
    entries.extend([Entry::Based { branch: "main".parse().unwrap(), sha: commit }, done(Step::Prepare)]);
    entries.extend([start(Step::Update), Entry::Updated { commit, tree, time: at, bumps }, done(Step::Update)]);
    entries.extend([start(Step::Publish), Entry::Published { commit }, done(Step::Publish), start(Step::Rollout)]);
    let away = HostResult::Unreachable { error: "no route".to_owned() };
    entries.push(Entry::HostFinished { host: names[1].clone(), result: away });
    entries.push(Entry::HostStarted { host: names[0].clone(), previous: None, sum: None });
    entries.push(Entry::HostFinished { host: names[0].clone(), result: HostResult::Done { changed: true } });
    for entry in entries {
        job.apply(&record(entry)).unwrap();
    }
    let debts = |job: &JobState| live::debts(&job.app, [Ok::<_, Infallible>(job)].into_iter()).unwrap();
    assert_eq!(debts(&job), [], "its rollout goes on");
    let environment = Some("production".parse().unwrap());
    job.apply(&record(Entry::Waiting(Waiting { environment, until: at }))).unwrap();
    assert!(job.lets_others());
    let debt = debts(&job).pop().unwrap();
    assert_eq!((debt.commit, debt.of, debt.hosts), (commit, id, vec![names[1].clone()]));
    let host = names[2].clone();
    for entry in [Entry::HostPreparing { host: host.clone() }, Entry::HostStarted { host, previous: None, sum: None }] {
        let mut job = job.clone();
        job.apply(&record(entry)).unwrap();
        assert!(!job.lets_others(), "who is at work has the app to itself");
    }
}

#[test]
fn no_more_jobs_are_read_than_tell_what_hosts_are_owed() {
    use Outcome::{Failed, Partial, Succeeded};
    let plain = |n, commit, hosts, outcome| job(n, asked(), commit, (hosts, 1), outcome, Rollout::default());
    let read = |newest: &[JobState], is_owed: bool| {
        let older = (1..200).map(|n| plain(n, 1, "DDD", Succeeded));
        let mut jobs: Vec<JobState> = older.chain(newest.iter().cloned()).collect();
        jobs.reverse();
        let mut count = 0;
        let counted = jobs.iter().inspect(|_| count += 1).map(Ok::<_, Infallible>);
        assert_eq!(!live::debts(&jobs[0].app, counted).unwrap().is_empty(), is_owed);
        count
    };
    assert_eq!(read(&[], false), 1);
    assert_eq!(read(&[plain(300, 2, "DDU", Partial)], true), 1);
    assert_eq!(read(&[plain(300, 2, "DDU", Partial), plain(301, 3, "UUU", Failed)], true), 2);
    // Each host has heard of the newest, well or not.
    assert_eq!(read(&[plain(300, 2, "FDF", Failed)], false), 1);
    let back = job(300, asked(), 2, ("BLB", 1), Partial, Rollout::default());
    assert_eq!(read(&[back], true), 2, "and one more: who built what it went back to");
}
