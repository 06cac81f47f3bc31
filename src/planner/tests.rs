//! The reverse index and the waves, on small worlds.

use jiff::Timestamp;

use super::*;
use crate::model::{EventId, Follows, RepoUrl, TagPush};

fn app(name: &str) -> App {
    App { update: true, ..App::bare(AppName::new(name).unwrap(), url(name)) }
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
        follow(&mut graph, name, &deps.iter().map(|d| (*d, Follows::Unknown)).collect::<Vec<_>>());
    }
    graph
}
fn follow(graph: &mut Graph, name: &str, deps: &[(&str, Follows)]) {
    let mut known = Known::default();
    for (dep, follows) in deps {
        known.deps.entry(url(dep).id()).or_default().push(follows.clone());
    }
    graph.put_known(&AppName::new(name).unwrap(), known);
}
fn on(branch: &str) -> Branch {
    Branch::new(branch).unwrap()
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
fn a_circle_is_cut_before_the_app_that_what_moved_comes_in_by() {
    let circle = [("a", &["c"][..]), ("b", &["a"]), ("c", &["b", "lib", "d"]), ("d", &["lib"])];
    let graph = graph(&circle);
    assert_eq!(told(&plan(&graph, &push("lib", "main"), &Context::default())), ["d/0<!", "c/1<d!", "a/2<c", "b/3<a"]);
    // A library that is an app's neighbour brings it in too.
    let mut apart = graph.clone();
    follow(&mut apart, "c", &[("b", Follows::Unknown), ("d", Follows::Unknown)]);
    assert_eq!(told(&plan(&apart, &push("lib", "main"), &Context::default())), ["d/0<!", "c/1<d", "a/2<c", "b/3<a"]);
    // A person's push comes in where it was made.
    for (pushed, order) in [("c", ["c/0<", "a/1<c", "b/2<a"]), ("b", ["b/0<", "c/1<b", "a/2<c"])] {
        let draft = plan(&graph, &push(pushed, "main"), &Context::default());
        assert_eq!(told(&draft), order);
        let named: Vec<&str> = order.iter().map(|told| &told[..1]).collect();
        assert!(draft.notes[0].ends_with(&named.join(" > ")), "{:?}", draft.notes);
    }
}

#[test]
fn where_a_circle_is_cut_off_from_the_pushed_repository_its_commit_is_taken_from_there() {
    // `beside` lives in the repository of `r`, whose push leaves it alone, and runs since it depends on `a`.
    let mut graph = graph(&[("a", &["r"]), ("beside", &[]), ("r", &[])]);
    let mut beside = app("beside");
    beside.git_url = url("r");
    graph.put_app(beside);
    follow(&mut graph, "beside", &[("a", Follows::Unknown)]);
    let untouched = ["beside", "r"].map(|name| AppName::new(name).unwrap()).into();
    let context = Context { untouched, ..Context::default() };
    assert_eq!(told(&plan(&graph, &push("r", "main"), &context)), ["a/0<!", "beside/1<a"]);
}

#[test]
fn a_persons_push_waits_for_nobody_also_where_what_depends_on_it_comes_back_to_it() {
    // `side` lives in the repository of `r`, and depends on what depends on that.
    let mut graph = graph(&[("r", &[]), ("up", &["r"]), ("far", &["up"])]);
    graph.put_app(App { git_url: url("r"), ..app("side") });
    follow(&mut graph, "side", &[("up", Follows::Unknown), ("far", Follows::Branch(on("main")))]);
    let mut event = push("r", "main");
    for known in [true, false] {
        if let (EventKind::Push(push), false) = (&mut event.what, known) {
            push.default_branch = None;
        }
        let draft = plan(&graph, &event, &Context::default());
        assert_eq!(told(&draft), ["r/0<", "side/0<", "up/1<r,side", "far/2<up"]);
        assert!(draft.notes.iter().all(|note| note.contains(CIRCLE)), "{:?}", draft.notes);
    }
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
fn an_app_whose_paths_a_push_leaves_alone_does_not_run_and_that_is_noted() {
    let mut graph = graph(&[("mono", &[]), ("user", &["mono"])]);
    let mut beside = app("beside");
    (beside.git_url, beside.update) = (url("mono"), false);
    graph.put_app(beside);
    let context = |names: &[&str]| Context {
        untouched: names.iter().map(|n| AppName::new(*n).unwrap()).collect(),
        ..Context::default()
    };
    let draft = plan(&graph, &push("mono", "main"), &context(&["beside"]));
    assert_eq!(told(&draft), ["mono/0<", "user/1<mono"]);
    assert!(draft.notes[0].contains("nothing that concerns beside"), "{:?}", draft.notes);
    let draft = plan(&graph, &push("mono", "main"), &context(&["beside", "mono"]));
    assert_eq!(told(&draft), ["user/0<!"], "whoever depends on the repository takes its commit");
    graph.remove_app(&AppName::new("user").unwrap());
    let draft = plan(&graph, &push("mono", "main"), &context(&["beside", "mono"]));
    assert!(draft.apps.is_empty() && draft.notes[0].contains("beside, mono"), "{:?}", draft.notes);
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

#[test]
fn a_push_to_a_branch_finds_those_whose_sha_is_on_it() {
    let mut graph = graph(&[("lib", &[]), ("told", &[]), ("seen", &[]), ("main", &[]), ("unknown", &["lib"])]);
    follow(&mut graph, "told", &[("lib", Follows::Branch(on("2.x")))]);
    follow(&mut graph, "seen", &[("lib", Follows::Seen(on("2.x")))]);
    follow(&mut graph, "main", &[("lib", Follows::Seen(on("main")))]);
    assert_eq!(told(&plan(&graph, &push("lib", "2.x"), &Context::default())), ["seen/0<!", "told/0<!"]);
    let main = plan(&graph, &push("lib", "main"), &Context::default());
    // What `seen` is on may have been merged.
    assert_eq!(told(&main), ["lib/0<", "main/1<lib", "seen/1<lib", "unknown/1<lib"]);
    let none = plan(&graph, &push("lib", "topic"), &Context::default());
    assert!(none.apps.is_empty() && none.notes[0].contains("nothing follows branch topic"), "{:?}", none.notes);
}

#[test]
fn a_tagged_or_pinned_dependent_is_not_run_by_a_branch_push_and_does_not_wait_for_one() {
    let mut graph = graph(&[("lib", &[]), ("pinned", &[]), ("tagged", &[]), ("b", &["lib"])]);
    follow(&mut graph, "pinned", &[("lib", Follows::Nothing), ("b", Follows::Unknown)]);
    follow(&mut graph, "tagged", &[("lib", Follows::Tags)]);
    let draft = plan(&graph, &push("lib", "main"), &Context::default());
    assert_eq!(told(&draft), ["lib/0<", "b/1<lib", "pinned/2<b"], "pinned runs for b and would not take lib");
    let mut alone = graph.clone();
    for app in ["lib", "b"] {
        alone.remove_app(&AppName::new(app).unwrap());
    }
    let draft = plan(&alone, &push("lib", "main"), &Context::default());
    assert!(draft.apps.is_empty() && draft.notes[0].contains("pinned"), "{:?}", draft.notes);
}

#[test]
fn a_new_tag_runs_those_that_follow_tags_and_what_depends_on_them() {
    let mut graph = graph(&[("lib", &[]), ("tagged", &[]), ("app", &["tagged", "lib"]), ("other", &["lib"])]);
    follow(&mut graph, "tagged", &[("lib", Follows::Tags)]);
    let what = EventKind::Tag(TagPush {
        urls: vec![url("lib")],
        tag: "v2".into(),
        after: sha('a'),
        commit: None,
        pusher: None,
    });
    let event = Event { what, ..push("lib", "main") };
    let draft = plan(&graph, &event, &Context::default());
    assert_eq!(told(&draft), ["tagged/0<", "app/1<tagged"]);
    assert_eq!((draft.apps[0].tags[0].tag.as_str(), draft.apps[1].tags.len()), ("v2", 0));
    graph.remove_app(&AppName::new("tagged").unwrap());
    let draft = plan(&graph, &event, &Context::default());
    assert!(draft.apps.is_empty() && draft.notes[0].contains("v2"), "{:?}", draft.notes);
}

#[test]
fn an_app_that_a_rollback_holds_runs_by_a_persons_push_and_not_by_our_own_commit() {
    let graph = graph(&[("shop", &[]), ("till", &["shop"])]);
    let name = AppName::new("shop").unwrap();
    let held = BTreeMap::from([(name, Held { words: "shop is held".to_owned(), all: false })]);
    let by_people = Context { held: held.clone(), ..Context::default() };
    assert_eq!(told(&plan(&graph, &push("shop", "main"), &by_people)), ["shop/0<", "till/1<shop"]);
    // Another app of the repository made it.
    let by_us = Context { held, own_plan: Some(BTreeSet::new()), ..Context::default() };
    let draft = plan(&graph, &push("shop", "main"), &by_us);
    assert_eq!((told(&draft), draft.notes), (vec!["till/0<!".to_owned()], vec!["shop is held".to_owned()]));
}
