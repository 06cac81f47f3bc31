//! `:publish :pull-request`: what was built is offered, waits without being in anybody's way, and goes live once it was
//! merged. The merges are real ones, in the bare repository.

use airplanes::model::Forge;
use serde_json::Value;

use super::super::support::acts::{step, text};
use super::super::support::forge_api::{ForgeApi, Kind, Next};
use super::super::support::forge_pulls::{How, Pull};
use super::super::support::world::{World, git};

/// A library and an app on one host that depends on it and publishes by pull requests. Each build leaves its tree in
/// `builds`.
pub(super) async fn world(kind: Kind, more: &str, app: &str) -> (World, ForgeApi) {
    let mut world = World::new(1);
    let api = ForgeApi::start(kind, world.path("repos")).await;
    world.config = api.config().replacen("\"127.0.0.2\" {", &format!("\"127.0.0.2\" {{{more} "), 1);
    world.write_config();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("shop", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.clone_to_hosts("shop");
    world.deploy_edn(&format!(
        ":shop {{:git-url \"{{repo:shop}}\" :update? true :build \"git rev-parse HEAD^{{tree}} >> {{dir}}/builds\"
          :working-directory \"{{dir}}/srv/{{host}}\" :hosts [:web-1] :restart \"true\" :publish :pull-request {app}}}"
    ));
    world.start().await;
    (world, api)
}

/// Waits for so many pull requests of the app, and gives the newest, once its job waits.
pub(super) async fn offered(world: &World, api: &ForgeApi, count: usize) -> (Pull, Value) {
    let pull = async || Some(api.pulls("shop")).filter(|pulls| pulls.len() == count)?.pop();
    let pull = world.until(&format!("{count} pull requests"), pull).await;
    let waits = async || {
        let jobs = world.get("/jobs?app=shop").await;
        let job = jobs["jobs"].as_array()?.iter().find(|job| job["sha"] == pull.offers.as_str())?.clone();
        (job["state"] == "waiting").then_some(job)
    };
    let job = world.until("a job that waits", waits).await;
    (pull, job)
}

/// The forge tells of a merge.
async fn tell_of(world: &World, repo: &str, before: &str, after: &str) {
    let (status, answer) =
        world.hook(Forge::Github, repo, Some(before.parse().unwrap()), after.parse().unwrap(), after).await;
    assert_eq!(status, 202, "{answer}");
}

pub(super) fn live(world: &World) -> String {
    git(&world.path("srv/web-1"), &["rev-parse", "HEAD"])
}

pub(super) fn builds(world: &World) -> usize {
    world.read("builds").lines().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_merged_tree_is_the_built_one_and_goes_live() {
    for (kind, how) in [(Kind::Github, How::Merge), (Kind::Gitlab, How::Squash), (Kind::Gitea, How::Rebase)] {
        let (mut world, api) = world(kind, "", "").await;
        let (before, ran) = (world.head("shop").to_string(), live(&world));
        let pushed = world.push("lib", &[("a", "1")]).await;
        let (pull, job) = offered(&world, &api, 1).await;
        assert_eq!((pull.base.as_str(), pull.title.as_str()), ("main", "Update acme/lib"));
        assert_eq!(pull.head, format!("airplanes/{}", text(&job, "event")));
        for said in [pushed.to_string(), format!("https://deploy.example.com/jobs/{}", text(&job, "id"))] {
            assert!(pull.body.contains(&said), "{}", pull.body);
        }
        let reason = format!("for pull request {}: https://git.example.com/shop/pulls/{}", pull.number, pull.number);
        assert_eq!(job["reason"], reason.as_str());
        assert_eq!((world.head("shop").to_string(), live(&world)), (before.clone(), ran), "nothing happens until then");
        let folder = world.state("work").join(text(&job, "id"));
        world.until("nothing of it lies about", async || (!folder.exists()).then_some(())).await;
        // The commit that it offers is well: what waits for the merge must not keep it from being merged.
        api.until("shop", &pull.offers, "airplanes/shop", "success").await;
        if kind == Kind::Gitlab {
            // Merged while nobody looked, and no webhook came.
            world.kill();
            api.merge(pull.number, how);
            world.start().await;
        } else {
            let merged = api.merge(pull.number, how);
            tell_of(&world, "shop", &before, &merged).await;
        }
        let job = world.ended(text(&job, "id")).await;
        assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
        let head = world.head("shop").to_string();
        assert_eq!((job["sha"].as_str(), live(&world)), (Some(head.as_str()), head.clone()));
        assert_ne!(head, pull.offers, "it was really merged");
        assert_eq!(builds(&world), 1, "built once");
        assert_eq!(world.settled().await.len(), 1, "the merge is our own commit");
        assert!(world.file("shop", "deps.edn").contains(&pushed.to_string()));
        api.until("shop", &head, "airplanes/shop", "success").await;
        api.until("lib", &pushed.to_string(), "airplanes/shop", "success").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_push_goes_live_while_one_waits_and_a_merge_that_is_another_tree_is_built_again() {
    let (mut world, api) = world(Kind::Github, "", "").await;
    let first = world.head("lib").to_string();
    let pushed = world.push("lib", &[("a", "1")]).await.to_string();
    let (pull, job) = offered(&world, &api, 1).await;
    let own = world.push("shop", &[("b", "1")]).await.to_string();
    let gone_live = async || (live(&world) == own).then_some(());
    world.until("the own push is live", gone_live).await;
    assert_eq!(builds(&world), 2);
    // A restart changes nothing.
    world.kill();
    world.start().await;
    let merged = api.merge(pull.number, How::Merge);
    let job = world.ended(text(&job, "id")).await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
    assert_eq!((job["sha"].as_str(), live(&world)), (Some(merged.as_str()), merged.clone()));
    assert_eq!(world.head("shop").to_string(), merged);
    let trees = world.read("builds");
    let tree = world.in_bare("shop", &["rev-parse", "main^{tree}"]);
    assert_eq!(trees.lines().filter(|line| *line == tree).count(), 1, "what runs was built: {trees}");
    assert_eq!(api.pulls("shop").len(), 1);
    // The older job came last: it is what is there, and the way back is to the younger one.
    let plan = world.call(&["rollback", "shop", "--plan", "--json"]).await;
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!((text(&plan, "from"), text(&plan, "to")), (&*merged, &*own), "{plan:#}");
    let has = world.call(&["where", "acme/lib"]).await;
    assert!(has.out.contains(&pushed[..10]) && !has.out.contains(&first[..10]), "{has:?}");
    // A person puts the library back and then on again: what was kept back meanwhile is offered.
    let deps = world.file("shop", "deps.edn");
    by_hand(&world, &deps.replace(&pushed, &first)).await;
    world.settled().await;
    let newest = world.push("lib", &[("a", "2")]).await.to_string();
    world.settled().await;
    assert_eq!((api.pulls("shop").len(), world.get("/holds").await["holds"][0]["lib"].as_str()), (1, Some("acme/lib")));
    by_hand(&world, &deps).await;
    let (pull, _) = offered(&world, &api, 2).await;
    let offers = world.in_bare("shop", &["show", &format!("{}:deps.edn", pull.head)]);
    assert!(offers.contains(&newest), "{offers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_by_a_person_is_respected_and_a_cancel_leaves_it_as_it_is() {
    let (world, api) = world(Kind::Gitlab, "", "").await;
    world.push("lib", &[("a", "1")]).await;
    let (pull, job) = offered(&world, &api, 1).await;
    api.close(pull.number);
    let job = world.ended(text(&job, "id")).await;
    assert_eq!(job["state"], "canceled", "{job:#}");
    assert!(text(&job, "reason").contains("was closed and not merged"), "{job:#}");
    let told = api.until("shop", &pull.offers, "airplanes/shop", "canceled").await;
    assert!(told.last().unwrap().description.contains("was closed and not merged"), "{told:#?}");
    // What was closed is not offered again by a push of the app's own.
    let own = world.push("shop", &[("b", "1")]).await.to_string();
    assert_eq!(world.job("shop").await["state"], "succeeded");
    assert_eq!((live(&world), api.pulls("shop").len()), (own, 1));
    // But what moves next is.
    world.push("lib", &[("a", "2")]).await;
    let (next, job) = offered(&world, &api, 2).await;
    assert_ne!(next.head, pull.head);
    let (status, answer) = world.post(&format!("/jobs/{}/cancel", text(&job, "id"))).await;
    assert!(status < 300, "{answer}");
    let job = world.ended(text(&job, "id")).await;
    assert!(text(&job, "reason").contains(&format!("pull request {} is left as it is", next.number)), "{job:#}");
    assert_eq!(api.pulls("shop")[1].state, "open");
    for (repo, sha) in [("shop", next.offers.clone()), ("lib", world.head("lib").to_string())] {
        let told = api.until(repo, &sha, "airplanes/shop", "canceled").await;
        assert!(told.last().unwrap().description.starts_with("canceled: canceled by "), "{repo}: {told:#?}");
    }
    // And so is what is due when a person says so.
    world.deploy("shop").await;
    let (last, job) = offered(&world, &api, 3).await;
    let (status, answer) = world.post(&format!("/jobs/{}/cancel", text(&job, "id"))).await;
    assert!(status < 300, "{answer}");
    world.ended(text(&job, "id")).await;
    // What a person takes all the same is a person's push, though we have made the commit.
    let before = world.head("shop").to_string();
    world.in_bare("shop", &["update-ref", "refs/heads/main", &last.offers]);
    tell_of(&world, "shop", &before, &last.offers).await;
    let job = world.job("shop").await;
    assert_eq!((job["state"].as_str(), live(&world)), (Some("succeeded"), last.offers), "{job:#}");

    // So it is where the app was rolled back meanwhile: it is their answer to that, and ends its hold.
    let bad = world.push("shop", &[("b", "2")]).await.to_string();
    assert_eq!((world.job("shop").await["state"].as_str(), live(&world)), (Some("succeeded"), bad.clone()));
    world.push("lib", &[("a", "3")]).await;
    let (pull, job) = offered(&world, &api, 4).await;
    assert_eq!(world.post(&format!("/jobs/{}/cancel", text(&job, "id"))).await.0, 202);
    world.ended(text(&job, "id")).await;
    let back = world.call(&["rollback", "shop", "--watch"]).await;
    assert_eq!(back.code, Some(0), "{back:?}");
    assert_eq!(world.get("/holds").await["holds"][0]["kind"]["bad"], bad.as_str());
    world.in_bare("shop", &["update-ref", "refs/heads/main", &pull.offers]);
    tell_of(&world, "shop", &bad, &pull.offers).await;
    // What makes up for the hold comes after it, and finds nothing that is due.
    let jobs = world.jobs_of("shop").await;
    assert_eq!(jobs[0]["causes"][0]["why"], "asked");
    let job = &jobs[1];
    assert_eq!((job["state"].as_str(), live(&world)), (Some("succeeded"), pull.offers), "{job:#}");
    assert_eq!(world.get("/holds").await["holds"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_one_takes_the_place_of_an_older_one_that_it_covers() {
    let (world, api) = world(Kind::Gitea, "", "").await;
    world.push("lib", &[("a", "1")]).await;
    let (older, first) = offered(&world, &api, 1).await;
    let newest = world.push("lib", &[("a", "2")]).await;
    let (newer, second) = offered(&world, &api, 2).await;
    let first = world.ended(text(&first, "id")).await;
    assert_eq!(first["state"], "skipped", "{first:#}");
    assert!(text(&first, "reason").contains(text(&second, "id")), "{first:#}");
    let pulls = api.pulls("shop");
    assert_eq!((pulls[0].number, pulls[0].state), (older.number, "closed"));
    assert!(pulls[0].comments[0].contains(&format!("/pulls/{}", newer.number)), "{:?}", pulls[0].comments);
    let merged = api.merge(newer.number, How::Merge);
    assert_eq!(world.ended(text(&second, "id")).await["state"], "succeeded");
    assert_eq!(live(&world), merged);
    assert!(world.file("shop", "deps.edn").contains(&newest.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_a_person_has_pushed_to_is_not_closed_for_a_newer_one() {
    let (world, api) = world(Kind::Github, "", "").await;
    world.push("lib", &[("a", "1")]).await;
    let (older, first) = offered(&world, &api, 1).await;
    api.push_to(older.number);
    world.push("lib", &[("a", "2")]).await;
    offered(&world, &api, 2).await;
    let first = world.ended(text(&first, "id")).await;
    assert_eq!(first["state"], "skipped", "{first:#}");
    let reason = text(&first, "reason");
    assert!(
        reason.contains("superseded by") && reason.contains("it stays open, theirs to merge or to close"),
        "{reason}"
    );
    let pulls = api.pulls("shop");
    assert_eq!((pulls[0].state, pulls[1].state, pulls[0].comments.len()), ("open", "open", 0), "{pulls:?}");
}

/// A person changes the app's deps.edn, and the forge tells of it.
async fn by_hand(world: &World, deps: &str) -> String {
    world.push("shop", &[("deps.edn", deps)]).await.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_its_branch_has_left_behind_is_made_again_on_the_branch_or_not_needed_any_more() {
    let (world, api) = world(Kind::Github, "", "").await;
    let pushed = world.push("lib", &[("a", "1")]).await.to_string();
    let (first, job) = offered(&world, &api, 1).await;
    let id = text(&job, "id").to_owned();
    // Somebody has a branch of the next name.
    let foreign = format!("{}-2", first.head);
    let theirs = world.in_bare("shop", &["commit-tree", "main^{tree}", "-m", "of somebody else"]);
    world.in_bare("shop", &["branch", &foreign, &theirs]);
    // They conflict, and the bump is still due.
    let line = |text: &str| text.lines().find(|line| line.contains("acme/lib")).unwrap().to_owned();
    let before = world.file("shop", "deps.edn");
    by_hand(&world, &before.replace(&line(&before), &format!("{} ; ours", line(&before)))).await;
    let (second, job) = offered(&world, &api, 2).await;
    assert_eq!(text(&job, "id"), id);
    assert_eq!(second.head, format!("{}-3", first.head), "no branch is forced");
    assert_eq!(world.in_bare("shop", &["rev-parse", &foreign]), theirs);
    let told = async || Some(api.pulls("shop")).filter(|pulls| !pulls[0].comments.is_empty());
    let pulls = world.until("the first one is closed with a word", told).await;
    assert_eq!((pulls[0].state, pulls[1].state), ("closed", "open"));
    assert!(pulls[0].comments[0].contains("conflicts with main"), "{:?}", pulls[0].comments);
    // Somebody bumps by hand what it offers: there is nothing left to merge.
    let before = world.file("shop", "deps.edn");
    let old = line(&before).split('"').nth(3).unwrap().to_owned();
    let own = by_hand(&world, &before.replace(&old, &pushed)).await;
    let job = world.ended(&id).await;
    assert_eq!((job["state"].as_str(), job["sha"].as_str()), (Some("succeeded"), Some(own.as_str())), "{job:#}");
    let pulls =
        world.until("so is the second", async || Some(api.pulls("shop")).filter(|pulls| !pulls[1].comments.is_empty()));
    let pulls = pulls.await;
    assert_eq!((pulls.len(), pulls[1].state), (2, "closed"));
    assert!(pulls[1].comments[0].contains("has it already"), "{:?}", pulls[1].comments);
    assert!(world.settled().await.iter().all(|job| job["state"] == "succeeded"), "{}", world.log());
    assert_eq!((live(&world), world.head("shop").to_string()), (own.clone(), own));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_depends_on_it_waits_for_the_merge_and_a_person_s_word_does_not() {
    let (mut world, api) = world(Kind::Github, "", "").await;
    let (shop, lib) = (world.head("shop"), world.head("lib"));
    world.commit("top", &[("deps.edn", &world.deps(&[("shop", shop), ("lib", lib)]))]);
    world.deploy_edn(
        ":shop {:git-url \"{repo:shop}\" :update? true :publish :pull-request}
         :top {:git-url \"{repo:top}\" :update? true :build \"true\"}",
    );
    world
        .until("the edit is in force", async || (world.get("/apps").await["apps"][1]["name"] == "top").then_some(()))
        .await;
    let lib = world.push("lib", &[("a", "1")]).await.to_string();
    let (pull, _) = offered(&world, &api, 1).await;
    let top = async || world.get("/jobs?app=top").await["jobs"].as_array()?.first().cloned();
    let waits = world.until("the job of top", top).await;
    assert_eq!(waits["state"], "waiting");
    // A person's push, and a deploy, are jobs of their own.
    let own = world.push("top", &[("b", "1")]).await.to_string();
    let pushed = async || {
        let jobs = world.get("/jobs?app=top").await;
        let job = jobs["jobs"].as_array()?.first()?.clone();
        (job["id"] != waits["id"] && job["finished_at"] != Value::Null).then_some(job)
    };
    let job = world.until("the own push has gone through", pushed).await;
    assert_eq!((job["state"].as_str(), job["sha"].as_str()), (Some("succeeded"), Some(own.as_str())), "{job:#}");
    let deployed = world.deploy("top").await;
    let job = world.ended(&deployed).await;
    assert_eq!(job["causes"].as_array().map(Vec::len), Some(1), "{job:#}");
    // Neither takes half of what waits.
    let left = format!(
        "acme/lib in deps.edn: it comes once all is there that moved with it (job {} waits for shop",
        text(&waits, "id")
    );
    assert!(text(&job, "reason").contains(&left) && world.head("top").to_string() == own, "{job:#}");
    // What comes by shop again joins what waits for it, also after a restart.
    world.kill();
    world.start().await;
    let merged = api.merge(pull.number, How::Squash);
    let job = world.ended(text(&waits, "id")).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let deps = world.file("top", "deps.edn");
    assert!(deps.contains(&merged) && deps.contains(&lib), "{deps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_or_a_limit_makes_no_second_one() {
    let (world, api) = world(Kind::Github, ":statuses? false", "").await;
    let limit = Next::With(429, "retry-after", "1".to_owned());
    // Looked for, and refused for now; looked for, opened, and the answer breaks off; looked for, and found.
    api.will([Next::Right, limit, Next::Right, Next::Dropped]);
    world.push("lib", &[("a", "1")]).await;
    let (pull, job) = offered(&world, &api, 1).await;
    assert_eq!(step(&job, "publish")["attempt"], 1);
    let merged = api.merge(pull.number, How::Merge);
    assert_eq!(world.ended(text(&job, "id")).await["sha"], merged.as_str());
    assert_eq!(api.pulls("shop").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_apps_of_one_repository_make_one_and_go_live_with_it() {
    let (mut world, api) = world(Kind::Gitlab, "", ":auto-merge? true").await;
    let app = |name: &str| {
        format!(
            ":{name} {{:git-url \"{{repo:shop}}\" :update? true
              :build \"while test -e {{dir}}/{name}.gate; do sleep 0.05; done; echo {name} >> {{dir}}/{name}.builds\"
              :publish :pull-request}}"
        )
    };
    world.deploy_edn(&[app("one"), app("two")].concat());
    let both = async || world.get("/apps").await["apps"].as_array().filter(|apps| apps.len() == 2).map(|_| ());
    world.until("the edit is in force", both).await;
    world.push("lib", &[("a", "1")]).await;
    let waiting = async || {
        let jobs = world.get("/jobs").await;
        let jobs = jobs["jobs"].as_array()?;
        (jobs.len() == 2 && jobs.iter().all(|job| job["state"] == "waiting" && job["sha"] != Value::Null)).then_some(())
    };
    world.until("both wait", waiting).await;
    let pulls = api.pulls("shop");
    assert_eq!(pulls.len(), 1, "{pulls:#?}");
    let merged = api.merge(pulls[0].number, How::Merge);
    for job in world.settled().await {
        assert_eq!((job["state"].as_str(), job["sha"].as_str()), (Some("succeeded"), Some(merged.as_str())), "{job:#}");
    }
    assert_eq!((world.read("one.builds").lines().count(), world.read("two.builds").lines().count()), (1, 1));

    // A newer one of whoever opened it takes its place, and closes it: that is no person's word to the other.
    world.push("lib", &[("a", "2")]).await;
    let waits = async || {
        let jobs = world.get("/jobs").await;
        let waits = |job: &&Value| job["state"] == "waiting" && job["sha"] != Value::Null;
        let ids: Vec<String> =
            jobs["jobs"].as_array()?.iter().filter(waits).map(|job| text(job, "id").to_owned()).collect();
        (ids.len() == 2 && api.pulls("shop").len() == 2).then_some(ids)
    };
    let older = world.until("both wait", waits).await;
    let opened = api.pulls("shop")[1].body.clone();
    let first = if opened.contains("\none was built") { "one" } else { "two" };
    let other = if first == "one" { "two" } else { "one" };
    let gate = |name: &str| world.path(&format!("{name}.gate"));
    for name in ["one", "two"] {
        std::fs::write(gate(name), "").unwrap();
    }
    world.push("lib", &[("a", "3")]).await;
    let builds = async || {
        for name in ["one", "two"] {
            let jobs = world.get(&format!("/jobs?app={name}")).await;
            let is_running = step(&jobs["jobs"][0], "build")["state"] == "running";
            if is_running {
                return Some(name);
            }
        }
        None
    };
    if world.until("a build", builds).await == first {
        std::fs::remove_file(gate(first)).unwrap();
        let superseded = async || (api.pulls("shop")[1].state == "closed").then_some(());
        world.until("the older one is closed", superseded).await;
        assert_eq!(world.call(&["sync"]).await.code, Some(0));
        std::fs::remove_file(gate(other)).unwrap();
    } else {
        let _ = [first, other].map(|name| std::fs::remove_file(gate(name)));
    }
    let third = async || (api.pulls("shop").len() == 3).then_some(());
    world.until("a third one", third).await;
    for id in older {
        let job = world.ended(&id).await;
        assert_eq!(job["state"], "skipped", "{job:#}\n{}", world.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_asks_whether_the_api_lets_us_in() {
    let (world, api) = world(Kind::Github, ":statuses? false", "").await;
    let check = async || {
        let all = world.get("/doctor").await;
        let check = all["checks"].as_array().unwrap().iter().find(|check| check["name"] == "api");
        check.unwrap_or_else(|| panic!("{all:#}")).to_string()
    };
    let said = check().await;
    assert!(said.contains("lets us in"), "{said}");
    api.will([Next::Status(401)]);
    let said = check().await;
    assert!(said.contains("answered 401 to the token") && said.contains("correct :forges"), "{said}");
    assert!(!said.contains(super::TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_fails_the_job_in_words() {
    let (world, api) = world(Kind::Gitea, ":statuses? false", "").await;
    api.will([Next::Status(401)]);
    world.push("lib", &[("a", "1")]).await;
    let job = world.job("shop").await;
    assert_eq!(job["state"], "failed", "{job:#}");
    assert!(text(&job, "reason").contains("answered 401 to the token"), "{job:#}");
    assert!(!world.log().contains(super::TOKEN) && !job.to_string().contains(super::TOKEN));
}

#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_before_what_is_left_behind_is_closed_it_is_closed_by_the_next_daemon() {
    let (mut world, api) = world(Kind::Github, ":statuses? false", "").await;
    world.stop();
    world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), "\"entry\":\"raced\":after".to_owned())];
    world.start().await;
    world.push("lib", &[("a", "1")]).await;
    offered(&world, &api, 1).await;
    let before = world.file("shop", "deps.edn");
    let conflicting: Vec<String> = before.lines().map(|line| format!("{line} ; ours")).collect();
    by_hand(&world, &conflicting.join("\n")).await;
    world.dies().await;
    assert_eq!(api.pulls("shop")[0].state, "open");
    world.start().await;
    offered(&world, &api, 2).await;
    let pulls = api.pulls("shop");
    assert_eq!((pulls[0].state, pulls[1].state), ("closed", "open"));
    assert!(pulls[0].comments[0].contains("main has left it behind"), "{:?}", pulls[0].comments);
}

#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_call_and_the_entry_there_is_one_pull_request() {
    let (mut world, api) = world(Kind::Github, ":statuses? false", "").await;
    for (round, at) in [(1, "\"entry\":\"requested\":before"), (2, "\"entry\":\"merged\":before")] {
        world.stop();
        world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), at.to_owned())];
        world.start().await;
        world.push("lib", &[("a", &round.to_string())]).await;
        if round == 2 {
            let (pull, _) = offered(&world, &api, 2).await;
            api.merge(pull.number, How::Merge);
        }
        world.dies().await;
        assert_eq!(api.pulls("shop").len(), round, "{at}");
        world.start().await;
        if round == 1 {
            let (pull, _) = offered(&world, &api, 1).await;
            api.merge(pull.number, How::Merge);
        }
        let job = world.job("shop").await;
        assert_eq!(job["state"], "succeeded", "{at}: {job:#}");
        assert_eq!((api.pulls("shop").len(), builds(&world)), (round, round), "{at}");
        assert_eq!(live(&world), world.head("shop").to_string(), "{at}");
    }
}
