//! A new tag, from the forge's call to what is live: who follows tags runs, and tag and sha move in one commit.

use airplanes::forge;
use airplanes::model::{Forge, Sha};

use super::{quick, reason};
use crate::support::world::{World, git};

/// A person tags the head of a repository, and the forge tells.
async fn tags(world: &World, repo: &str, tag: &str, forge: Forge) -> Sha {
    let head = world.head(repo);
    tags_at(world, repo, tag, forge, "HEAD").await;
    head
}

async fn tags_at(world: &World, repo: &str, tag: &str, forge: Forge, at: &str) {
    world.in_bare(repo, &["-c", "user.name=Anna", "-c", "user.email=a@example.com", "tag", "-a", tag, "-m", tag, at]);
    // As forges have it: the tag's own object.
    let object = world.in_bare(repo, &["rev-parse", tag]).parse().unwrap();
    let body = forge::tag_payload(forge, &world.url(repo), tag, object);
    let answer = world.signed_body(forge, body, tag).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202, "{}", answer.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_tag_moves_who_follows_tags_and_nobody_else() {
    let mut world = quick();
    let one = world.commit("lib", &[("deps.edn", "{}")]);
    world.in_bare("lib", &["tag", "v1.0"]);
    let url = world.url("lib");
    let text = |tag: &str, sha: &str| {
        format!(";; kept\n{{:deps {{acme/lib {{:git/url \"{url}\" :git/tag \"{tag}\" ; kept\n :git/sha \"{sha}\"}}}}}}")
    };
    world.commit("tagged", &[("deps.edn", &text("v1.0", &one.short()))]);
    world.commit("plain", &[("deps.edn", &world.deps(&[("lib", one)]))]);
    world.deploy_edn(
        ":tagged {:git-url \"{repo:tagged}\" :update? true :build \"true\"}
         :plain {:git-url \"{repo:plain}\" :update? true :build \"true\"}",
    );
    world.start().await;

    // A push of a branch is not for it.
    let two = world.push("lib", &[("a", "1")]).await;
    assert_eq!(world.job("plain").await["state"], "succeeded");
    assert!(world.settled().await.iter().all(|job| job["app"] != "tagged"));
    // Nor does it end a hold there.
    let until = two.to_string();
    let args = ["hold", "tagged", "acme/lib", "--reason", "loses carts", "--until-descendant-of", until.as_str()];
    assert_eq!(world.cli(&args).0, 0);
    tags(&world, "lib", "v2.0-rc1", Forge::Github).await;
    assert_eq!(world.job("tagged").await["state"], "unchanged");
    assert!(world.get("/holds").await["holds"][0].is_object());
    let jobs = world.settled().await.len();
    assert_eq!(tags(&world, "lib", "v1.1", Forge::Github).await, two);
    // What makes up for the hold may have come after it, and found nothing left to do.
    let jobs_since = world.settled().await;
    let states: Vec<_> =
        jobs_since[..jobs_since.len() - jobs].iter().map(|job| job["state"].as_str().unwrap().to_owned()).collect();
    assert!(states == ["succeeded"] || states == ["unchanged", "succeeded"], "{states:?}");
    assert_eq!(world.file("tagged", "deps.edn"), text("v1.1", &two.short()));
    let message = world.in_bare("tagged", &["log", "-1", "--format=%B", "main"]);
    assert!(message.contains("v1.0") && message.contains("v1.1"), "{message}");
    // One run makes up for what was held, and it is that of the tag.
    assert_eq!(world.get("/holds").await["holds"], serde_json::json!([]));
    assert!(world.settled().await.len() <= jobs + 2 && world.jobs_of("plain").await.len() == 1, "nobody else");

    // An older one than what it is at changes nothing.
    tags(&world, "lib", "v0.9", Forge::Github).await;
    let job = world.job("tagged").await;
    assert_eq!(job["state"], "unchanged", "{job:#}");
    assert!(reason(&job).contains("nothing is due"), "{job:#}");

    // What a person put back to a tag that is there no more stays so, and keeps no other library of the app.
    let at = world.commit("other", &[("deps.edn", "{}")]);
    let others = world.url("other");
    let both = |tag: &str, sha: &Sha, other: Sha| {
        let lib = format!("acme/lib {{:git/url \"{url}\" :git/tag \"{tag}\" :git/sha \"{}\"}}", sha.short());
        format!("{{:deps {{{lib}\n acme/other {{:git/url \"{others}\" :git/sha \"{other}\"}}}}}}")
    };
    world.push("tagged", &[("deps.edn", &both("v1.1", &two, at))]).await;
    let newer = world.push("other", &[("a", "1")]).await;
    world.bumped("tagged", newer).await;
    world.settled().await;
    let held = async || {
        let holds = world.get("/holds").await["holds"].clone();
        holds.as_array().unwrap().iter().map(|hold| hold["lib"].to_string()).collect::<Vec<_>>()
    };
    world.push("tagged", &[("deps.edn", &both("v1.0", &one, at))]).await;
    world.job("tagged").await;
    assert_eq!(held().await, ["\"acme/lib\"", "\"acme/other\""], "{}", world.log());
    let mirrors = std::fs::read_dir(world.state("mirrors")).unwrap().map(|mirror| mirror.unwrap().path());
    for bare in std::iter::once(world.path("repos/lib.git")).chain(mirrors) {
        drop(std::process::Command::new("git").arg("-C").arg(bare).args(["tag", "-d", "v1.0"]).output().unwrap());
    }
    world.push("tagged", &[("deps.edn", &both("v1.0", &one, newer))]).await;
    world.job("tagged").await;
    assert_eq!(held().await, ["\"acme/lib\""], "{}", world.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_came_while_its_follower_could_not_be_read_is_taken_up_when_it_can_be() {
    let mut world = quick();
    let one = world.commit("lib", &[("deps.edn", "{}")]);
    world.in_bare("lib", &["tag", "v1.0"]);
    let (url, short) = (world.url("lib"), one.short());
    let coord = format!("{{:git/url \"{url}\" :git/tag \"v1.0\" :git/sha \"{short}\"}}");
    world.commit("tagged", &[("deps.edn", &format!("{{:deps {{acme/lib {coord}}}}}"))]);
    world.deploy_edn(":tagged {:git-url \"{repo:tagged}\" :update? true}");
    let (here, away) = (world.path("repos/tagged.git"), world.path("repos/tagged.away"));
    std::fs::rename(&here, &away).unwrap();
    world.start().await;
    world.commit("lib", &[("a", "1")]);
    tags(&world, "lib", "v1.1", Forge::Github).await;
    let event = world.newest_event().await;
    assert!(event["notes"].to_string().contains("what tagged depends on is not known"), "{event:#}");
    world.kill();
    std::fs::rename(&away, &here).unwrap();
    world.start().await;
    let moved = async || world.file("tagged", "deps.edn").contains("v1.1").then_some(());
    world.until("the tag is taken up", moved).await;
    assert_eq!(world.jobs_of("tagged").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_branch_beside_the_followed_one_changes_nothing_and_tags_of_a_tracked_branch_are_heard_of() {
    let mut world = quick();
    world.commit("lib", &[("deps.edn", "{}")]);
    let person = world.path("people/lib");
    let on = |branch: &str, text: &str| {
        git(&person, &["checkout", "-q", "-B", branch]);
        std::fs::write(person.join("y"), text).unwrap();
        git(&person, &["add", "-A"]);
        git(&person, &["commit", "-q", "-m", text]);
        git(&person, &["push", "-q", "origin", branch]);
        git(&person, &["rev-parse", "HEAD"]).parse::<Sha>().unwrap()
    };
    let old = on("2.x", "1");
    world.in_bare("lib", &["tag", "v2.0", "2.x"]);
    let url = world.url("lib");
    let coord = format!("{{:git/url \"{url}\" :git/tag \"v2.0\" :git/sha \"{}\"}}", old.short());
    world.commit("tagged", &[("deps.edn", &format!("{{:deps {{acme/lib {coord}}}}}"))]);
    world.commit("side", &[("deps.edn", &world.deps(&[("lib", old)]))]);
    world.deploy_edn(
        r#":side {:git-url "{repo:side}" :update? true}
           :tagged {:git-url "{repo:tagged}" :update? true :track {acme/lib {:branch "2.x"}}}"#,
    );
    world.start().await;
    let concerns_side = async || {
        let (_, told) = world.cli(&["plan", url.as_str(), "--branch", "2.x", "--json"]);
        told.contains("side").then_some(())
    };
    world.until("the library's branches are known", concerns_side).await;

    // Somebody works on a fix: now two branches hold the sha. The first job's look brings that, the second one reads it.
    on("fix-foo", "fix");
    git(&person, &["checkout", "-q", "2.x"]);
    for text in ["1", "2"] {
        world.push("side", &[("x", text)]).await;
        assert_eq!(world.job("side").await["state"], "succeeded");
    }
    let new = on("2.x", "2");
    let told = |branch: &str, before: Option<Sha>, after: Sha| {
        airplanes::forge::push_payload(Forge::Github, &url, &branch.parse().unwrap(), before, after)
    };
    let answer = world.signed_body(Forge::Github, told("2.x", Some(old), new), "on 2.x").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    let job = world.job("side").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(world.file("side", "deps.edn").contains(&new.to_string()));
    assert!(world.jobs_of("tagged").await.is_empty(), "a branch is not what it waits for");

    tags_at(&world, "lib", "v2.1", Forge::Github, "2.x").await;
    let job = world.job("tagged").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let text = world.file("tagged", "deps.edn");
    assert!(text.contains("v2.1") && text.contains(&new.short()), "{text}");
}
