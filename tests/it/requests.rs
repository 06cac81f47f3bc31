//! What git hosts are told and asked: commit statuses, pull requests. The hosts' APIs are stood in for by servers that check every
//! call.

mod checks;
mod merges;
mod statuses;

use std::time::Duration;

use airplanes::config::{ApiKind, ForgeApi as Forge};
use airplanes::forge::api::{Api, ApiError, Mark, Status};
use airplanes::model::{RepoUrl, Secret, Sha};
use airplanes::net::{Http, NetError};

use super::support::forge_api::{ForgeApi, KINDS, Kind, Next, TOKEN};
use super::support::world::World;

/// A library, and an app without hosts that depends on it; the git host of both has an API.
async fn world(kind: Kind, build: &str) -> (World, ForgeApi, Sha) {
    let mut world = World::new(0);
    let api = ForgeApi::start(kind, world.path("repos")).await;
    world.config = api.config();
    world.write_config();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("shop", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(&format!(":shop {{:git-url \"{{repo:shop}}\" :update? true :build \"{build}\"}}"));
    world.start().await;
    (world, api, lib)
}

fn states(told: &[super::support::forge_api::Told]) -> Vec<&str> {
    told.iter().map(|told| told.state.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_s_commit_and_the_app_s_say_how_the_app_fares() {
    // A library and an app on a host of each kind.
    let mut world = World::new(0);
    let (mut hosts, mut entries, mut apps) = (Vec::new(), String::new(), String::new());
    for kind in KINDS {
        let api = ForgeApi::start(kind, world.path("repos")).await;
        let name = format!("{kind:?}").to_lowercase();
        let (lib, shop) = (format!("lib-{name}"), format!("shop-{name}"));
        let at = world.commit(&lib, &[("deps.edn", "{}")]);
        world.commit(&shop, &[("deps.edn", &world.deps(&[(&lib, at)]))]);
        for repo in [&lib, &shop] {
            entries.push_str(&format!("{} ", api.entry(world.url(repo).id().as_str())));
        }
        apps.push_str(&format!(":{shop} {{:git-url \"{{repo:{shop}}}\" :update? true :build \"true\"}}\n"));
        hosts.push((api, lib, shop));
    }
    world.config = format!(":url \"https://deploy.example.com\" :forges {{{entries}}}");
    world.write_config();
    world.deploy_edn(&apps);
    world.start().await;
    for (api, lib, shop) in hosts {
        let (pushed, context) = (world.push(&lib, &[("a", "1")]).await.to_string(), format!("airplanes/{shop}"));
        let job = world.job(&shop).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        let told = api.until(&lib, &pushed, &context, "success").await;
        let first = states(&told)[0];
        assert!(["pending", "running"].contains(&first), "{told:#?}");
        let last = told.last().unwrap();
        let link = format!("https://deploy.example.com/jobs/{}", job["id"].as_str().unwrap());
        assert_eq!(last.url.as_deref(), Some(link.as_str()));
        assert!(last.description.starts_with("succeeded: "), "{last:?}");
        let published = world.head(&shop).to_string();
        assert_eq!(job["sha"], published.as_str());
        api.until(&shop, &published, &context, "success").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_fails_the_commit_and_what_stands_in_between_holds_nothing_up() {
    let (world, api, _) = world(Kind::Github, "false").await;
    // The first call is refused for now, the second breaks off after it was done.
    api.will([Next::Status(500), Next::Dropped]);
    let pushed = world.push("lib", &[("a", "1")]).await.to_string();
    let told = api.until("lib", &pushed, "airplanes/shop", "failure").await;
    assert!(told.last().unwrap().description.contains("build"), "{told:#?}");
    assert_eq!(states(&told).iter().filter(|state| **state == "failure").count(), 1, "{told:#?}");
    // An own push says so too, and no commit that was never pushed was told of.
    let own = world.push("shop", &[("b", "1")]).await.to_string();
    api.until("shop", &own, "airplanes/shop", "failure").await;
    let heard = api.heard();
    assert!(heard.wrong.is_empty(), "{:?}", heard.wrong);
    assert!(!world.log().contains(TOKEN), "the log shows the token");
    assert!(world.log().contains("commits' statuses can't be told"));
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_come_after_a_restart_and_a_host_that_is_down_holds_up_no_job() {
    let (mut world, api, _) = world(Kind::Gitea, "true").await;
    api.will(vec![Next::Status(503); 3]);
    let pushed = world.push("lib", &[("a", "1")]).await.to_string();
    assert_eq!(world.job("shop").await["state"], "succeeded");
    assert!(api.told("lib", &pushed, "airplanes/shop").is_empty(), "it took one");
    world.kill();
    api.heard().next.clear();
    world.start().await;
    let told = api.until("lib", &pushed, "airplanes/shop", "success").await;
    // What was true before is not told any more.
    assert_eq!(states(&told), ["success"]);
    api.until("shop", &world.head("shop").to_string(), "airplanes/shop", "success").await;
}

/// What one call of a stand-in's API comes to.
async fn tell(api: &ForgeApi, http: &Http, next: Option<Next>) -> Result<(), String> {
    api.will(next);
    let kind = match api.kind {
        Kind::Github => ApiKind::Github,
        Kind::Gitlab => ApiKind::Gitlab,
        Kind::Gitea => ApiKind::Gitea,
    };
    let forge = Forge {
        kind,
        api: api.base(),
        token: Secret::new("#env T", TOKEN),
        statuses: true,
        checks_within: Duration::from_secs(1),
    };
    let repo = RepoUrl::new("https://git.acme.io/tmp/repos/lib").unwrap().id();
    let head = super::support::world::git(&api.repos.join("lib.git"), &["rev-parse", "main"]);
    let status = Status {
        sha: head.parse().unwrap(),
        mark: Mark::Error,
        context: "airplanes/shop".to_owned(),
        description: "canceled".to_owned(),
        url: None,
    };
    let asked = Api::of(&forge, &repo).unwrap();
    let reply = match http.call(&asked.status(&status)).await {
        Ok(reply) => reply,
        Err(error @ NetError::Unreachable { .. }) => return Err(format!("unreachable {error}")),
        Err(error) => return Err(format!("net {error}")),
    };
    asked.status_taken(&reply).map_err(|error| match &error {
        ApiError::Busy { wait, .. } => format!("busy {wait:?} {error}"),
        ApiError::Token { .. } => format!("token {error}"),
        ApiError::Refused { .. } => format!("refused {error}"),
        ApiError::Odd { .. } => format!("odd {error}"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_taken_for_what_it_means_and_shows_no_token() {
    let http = Http::new().unwrap();
    let world = World::new(0);
    world.commit("lib", &[("deps.edn", "{}")]);
    for kind in KINDS {
        let api = ForgeApi::start(kind, world.path("repos")).await;
        assert_eq!(tell(&api, &http, None).await, Ok(()), "{kind:?}");
        // The same again.
        assert_eq!(tell(&api, &http, None).await, Ok(()), "{kind:?}");
        let soon = jiff::Timestamp::now().as_second() + 99;
        let limit = |reset: i64| Next::With(429, "ratelimit-reset", reset.to_string());
        // As GitHub and as GitLab tell that a limit is used up, or is not.
        let used_up = |status, prefix: &str, left: &str, reset: i64| {
            let name = |end: &str| format!("{prefix}ratelimit-{end}");
            Next::Says(status, vec![(name("remaining"), left.to_owned()), (name("reset"), reset.to_string())], "no")
        };
        for (next, want) in [
            (Next::Status(401), "token git.acme.io answered 401 to the token #env T: no, *** (and that is why)"),
            (Next::Status(403), "token git.acme.io answered 403 to the token #env T"),
            (Next::Status(404), "refused git.acme.io refused this with 404"),
            (Next::Status(409), "refused git.acme.io refused this with 409"),
            (Next::Status(422), "refused git.acme.io refused this with 422: no, ***"),
            (Next::With(429, "retry-after", "7".to_owned()), "busy Some(7s) git.acme.io does not take calls now"),
            (Next::With(403, "retry-after", "7".to_owned()), "busy Some(7s)"),
            (limit(soon), "busy None"),
            (used_up(403, "x-", "0", soon), "busy Some(9"),
            (used_up(403, "x-", "0", soon - 200), "busy Some(1s)"),
            (used_up(403, "x-", "5", soon), "token git.acme.io answered 403"),
            (used_up(429, "", "0", soon), "busy Some(9"),
            (used_up(503, "x-", "0", soon), "busy Some(9"),
            (used_up(404, "x-", "0", soon), "refused git.acme.io refused this with 404"),
            (Next::Says(403, vec![], "You have exceeded a secondary rate limit"), "busy Some(60s)"),
            (Next::Status(500), "busy None git.acme.io does not take calls now: it answered 500"),
            (Next::With(307, "location", "http://127.0.0.1:1/".to_owned()), "net 127.0.0.1"),
            (Next::Dropped, "unreachable "),
        ] {
            let said = tell(&api, &http, Some(next.clone())).await.unwrap_err();
            assert!(said.starts_with(want), "{kind:?} {next:?}: {said}");
            assert!(!said.contains(TOKEN), "{said}");
        }
        // Long answers are read whole, and endless ones are not.
        assert_eq!(tell(&api, &http, Some(Next::Long(7 << 20))).await, Ok(()), "{kind:?}");
        let said = tell(&api, &http, Some(Next::Long(9 << 20))).await.unwrap_err();
        assert!(said.contains("longer than"), "{said}");
        assert!(api.heard().wrong.is_empty(), "{:?}", api.heard().wrong);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_nothing_is_left_after_ten_seconds() {
    let world = World::new(0);
    world.commit("lib", &[("deps.edn", "{}")]);
    let api = ForgeApi::start(Kind::Github, world.path("repos")).await;
    let http = Http::new().unwrap();
    let said = tokio::time::timeout(Duration::from_secs(20), tell(&api, &http, Some(Next::Silence)));
    let said = said.await.unwrap().unwrap_err();
    assert!(said.contains("no answer within 10 seconds"), "{said}");
}
