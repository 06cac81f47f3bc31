//! What commits are told in the cases beside the plain one.

use airplanes::forge;
use airplanes::model::Forge;
use serde_json::{Value, json};

use super::super::support::acts::text;
use super::super::support::forge_api::{ForgeApi, Kind};
use super::super::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn one_repository_that_refuses_the_token_a_held_app_and_a_tag_each_get_their_own_word() {
    let mut world = World::new(0);
    let api = ForgeApi::start(Kind::Github, world.path("repos")).await;
    world.config = api.config();
    world.builds = world.builds.replace(":concurrency 2", ":concurrency 1");
    world.write_config();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.in_bare("lib", &["tag", "v1.0"]);
    world.commit("shop", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    let tagged = format!(":git/url \"{}\" :git/tag \"v1.0\" :git/sha \"{}\"", world.url("lib"), lib.short());
    world.commit("tagged", &[("deps.edn", &format!("{{:deps {{acme/lib {{{tagged}}}}}}}"))]);
    world.commit("slow", &[("x", "1")]);
    world.deploy_edn(
        r#":shop {:git-url "{repo:shop}" :update? true :build "true"}
           :tagged {:git-url "{repo:tagged}" :update? true :build "true"}
           :slow {:git-url "{repo:slow}" :trigger :manual :build "while [ ! -e {dir}/go ]; do sleep 0.02; done"}"#,
    );
    world.start().await;

    // The library's repository is not the token's to write to; the app's is, on the same host.
    api.refuse("lib", 403);
    let pushed = world.push("lib", &[("a", "1")]).await;
    assert_eq!(world.job("shop").await["state"], "succeeded");
    api.until("shop", &world.head("shop").to_string(), "airplanes/shop", "success").await;
    assert!(api.told("lib", &pushed.to_string(), "airplanes/shop").is_empty());
    api.refuse("lib", 200);
    let told = api.until("lib", &pushed.to_string(), "airplanes/shop", "success").await;
    assert_eq!(told.len(), 1, "what is no longer true is not told: {told:#?}");

    // The forge tells the tag's own object, and the commit beside it.
    world.in_bare("lib", &["-c", "user.name=Ann", "-c", "user.email=a@example.com", "tag", "-a", "v1.1", "-m", "v1.1"]);
    let object = world.in_bare("lib", &["rev-parse", "v1.1"]);
    let body = forge::tag_payload(Forge::Github, &world.url("lib"), "v1.1", object.parse().unwrap());
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    body["head_commit"] = json!({ "id": pushed, "message": "a change" });
    let answer = world.signed_body(Forge::Github, body.to_string().into_bytes(), "tag").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    assert_eq!(world.job("tagged").await["state"], "succeeded");
    api.until("lib", &pushed.to_string(), "airplanes/tagged", "success").await;

    // It is held before its turn comes.
    world.deploy("slow").await;
    let building = async || (world.get("/jobs?app=slow").await["jobs"][0]["state"] == "running").then_some(());
    world.until("the only slot is taken", building).await;
    let pushed = world.push("lib", &[("a", "2")]).await.to_string();
    api.until("lib", &pushed, "airplanes/shop", "pending").await;
    assert_eq!(world.call(&["hold", "shop", "--reason", "the sale"]).await.code, Some(0));
    let told = api.until("lib", &pushed, "airplanes/shop", "success").await;
    assert!(told.last().unwrap().description.starts_with("skipped: shop is held by"), "{told:#?}");
    std::fs::write(world.path("go"), "").unwrap();
    let jobs = world.settled().await;
    assert_eq!((text(&jobs[0], "app"), text(&jobs[0], "state")), ("shop", "skipped"), "{jobs:#?}");
}
