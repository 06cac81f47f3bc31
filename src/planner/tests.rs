//! The reverse index and the waves, on small worlds.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::model::{EventId, RepoUrl, Runner, Updates};

fn app(name: &str) -> App {
    App {
        name: AppName::new(name).unwrap(),
        git_url: url(name),
        branch: None,
        update: true,
        trigger: Trigger::PushAny,
        build: Vec::new(),
        build_timeout: Duration::from_secs(60),
        build_silence: Duration::from_secs(60),
        working_directory: None,
        hosts: Vec::new(),
        service: None,
        restart: None,
        health: None,
        runner: Runner::Local,
        updates: Updates::default(),
    }
}
fn url(name: &str) -> RepoUrl {
    RepoUrl::new(format!("https://github.com/acme/{name}")).unwrap()
}
fn sha(digit: char) -> Sha {
    digit.to_string().repeat(40).parse().unwrap()
}
fn graph(edges: &[(&str, &[&str])]) -> Graph {
    let mut graph = Graph::default();
    for (name, deps) in edges {
        graph.put_app(app(name));
        graph.put_deps(&AppName::new(*name).unwrap(), deps.iter().map(|d| url(d).id()).collect());
    }
    graph
}
fn push(name: &str, branch: &str) -> Event {
    let push = Push {
        urls: vec![url(name)],
        branch: Branch::new(branch).unwrap(),
        before: None,
        after: sha('a'),
        default_branch: Some(Branch::new("main").unwrap()),
        pusher: None,
        subject: None,
    };
    let what = EventKind::Push(push);
    Event { id: EventId(1), at: Timestamp::UNIX_EPOCH, delivery: None, again: None, what }
}
/// `app/wave<after,after`.
fn told(draft: &Draft) -> Vec<String> {
    let tell = |p: &Planned| {
        let after: Vec<&str> = p.after.iter().map(AppName::as_str).collect();
        let targets = if p.targets.is_empty() { "" } else { "!" };
        format!("{}/{}<{}{targets}", p.app.name, p.wave, after.join(","))
    };
    draft.apps.iter().map(tell).collect()
}

#[test]
fn a_diamond_runs_each_app_once_and_the_last_waits_for_all() {
    let graph = graph(&[("d", &[]), ("b", &["d"]), ("c", &["d"]), ("app", &["b", "c", "d"]), ("other", &["x"])]);
    let draft = plan(&graph, &push("d", "main"), &Context::default());
    assert_eq!(told(&draft), ["d/0<", "b/1<d", "c/1<d", "app/2<b,c,d"]);
    assert!(draft.notes.is_empty());
}

#[test]
fn a_library_that_is_no_app_is_a_target() {
    let graph = graph(&[("b", &["lib"]), ("app", &["b", "lib"])]);
    assert_eq!(told(&plan(&graph, &push("lib", "main"), &Context::default())), ["b/0<!", "app/1<b!"]);
}

#[test]
fn a_circle_is_cut_and_named_and_the_rest_goes_on() {
    let graph = graph(&[("lib", &[]), ("a", &["lib", "c"]), ("b", &["a"]), ("c", &["b"]), ("z", &["lib"])]);
    let draft = plan(&graph, &push("lib", "main"), &Context::default());
    assert_eq!(draft.apps.len(), 5);
    assert_eq!(draft.notes.len(), 1);
    assert!(draft.notes[0].contains("a > b > c"), "{:?}", draft.notes);
}

#[test]
fn triggers_and_branches_are_honoured() {
    let mut graph = graph(&[("lib", &[]), ("own-only", &["lib"]), ("by-hand", &["lib"]), ("fixed", &["lib"])]);
    let mut changed = app("own-only");
    changed.trigger = Trigger::Push;
    graph.put_app(changed);
    let mut changed = app("by-hand");
    changed.trigger = Trigger::Manual;
    graph.put_app(changed);
    let mut changed = app("fixed");
    changed.update = false;
    graph.put_app(changed);
    assert_eq!(told(&plan(&graph, &push("lib", "main"), &Context::default())), ["lib/0<"]);
    let draft = plan(&graph, &push("by-hand", "main"), &Context::default());
    assert!(draft.apps.is_empty() && draft.notes[0].contains(":manual"), "{:?}", draft.notes);
    assert_eq!(told(&plan(&graph, &push("fixed", "main"), &Context::default())), ["fixed/0<"]);
    let draft = plan(&graph, &push("lib", "topic"), &Context::default());
    assert!(draft.apps.is_empty() && draft.notes[0].contains("topic"));
}

#[test]
fn our_own_commit_runs_only_dependents_that_its_plan_did_not_have() {
    let graph = graph(&[("b", &["d"]), ("app", &["b"]), ("new", &["b"])]);
    let own = |names: &[&str]| Context {
        own_plan: Some(names.iter().map(|n| AppName::new(*n).unwrap()).collect()),
        ..Context::default()
    };
    assert_eq!(told(&plan(&graph, &push("b", "main"), &own(&["b", "app"]))), ["new/0<!"]);
    // Another app of the same repository, which that plan did not have, sees its branch move as by anyone.
    let mut beside = app("beside");
    (beside.git_url, beside.update) = (url("b"), false);
    let mut two = graph.clone();
    two.put_app(beside);
    assert_eq!(told(&plan(&two, &push("b", "main"), &own(&["b", "app", "new"]))), ["beside/0<"]);
    let draft = plan(&graph, &push("b", "main"), &own(&["b", "app", "new"]));
    assert!(draft.apps.is_empty() && draft.notes[0].contains("our own commit"));
}

#[test]
fn a_push_that_ended_badly_for_some_runs_again_for_those_alone() {
    let graph = graph(&[("d", &[]), ("b", &["d"]), ("app", &["b"])]);
    let settled = [("d", 'a'), ("b", 'b')].map(|(n, c)| (AppName::new(n).unwrap(), (None, sha(c))));
    let context = Context { settled: settled.into(), ..Context::default() };
    let draft = plan(&graph, &push("d", "main"), &context);
    assert_eq!(told(&draft), ["app/0<!"]);
    assert_eq!(draft.apps[0].targets[0].after, sha('b'));
    assert_eq!(draft.apps[0].targets[0].branch.as_str(), "main");
    let master = (Some(Branch::new("master").unwrap()), sha('b'));
    let settled = [(AppName::new("d").unwrap(), (None, sha('a'))), (AppName::new("b").unwrap(), master)];
    let draft = plan(&graph, &push("d", "main"), &Context { settled: settled.into(), ..Context::default() });
    assert_eq!(draft.apps[0].targets[0].branch.as_str(), "master", "the branch that its job worked on");
}
