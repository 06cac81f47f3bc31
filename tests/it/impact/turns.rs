//! Whose turn it is where one build at a time is all there is, and what is told to who follows.

use serde_json::Value;

use super::{World, branch};

#[tokio::test(flavor = "multi_thread")]
async fn between_its_two_builds_jobs_come_first_and_only_what_changed_is_told() {
    let mut world = World::new(0);
    world.by_file = true;
    world.builds = world.builds.replace(":concurrency 2", ":concurrency 1");
    world.write_config();
    let lib = world.commit("lib", &[("a", "1")]);
    for app in ["b", "other"] {
        world.commit(app, &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    }
    world.commit("c", &[("deps.edn", "{}")]);
    let bad = branch(&world, "lib", "bad", "main", &[]);
    world.deploy_edn(&format!(
        ":b {{:git-url \"{{repo:b}}\" :update? true
              :build \"echo b >> {{dir}}/built; while [ ! -e {{dir}}/go ]; do sleep 0.02; done; ! grep -q {bad} deps.edn\"}}
         :other {{:git-url \"{{repo:other}}\" :update? true :build \"true\"}}
         :c {{:git-url \"{{repo:c}}\" :build \"echo c >> {{dir}}/built\"}}"
    ));
    world.start().await;
    let read = async || (world.get("/repos").await["repos"].as_array()?.len() == 4).then_some(());
    world.until("all are read", read).await;
    let body = serde_json::json!({"repo": world.url("lib").as_str(), "branch": "bad"});
    let ask = world.http.post(format!("{}/impact", world.base())).bearer_auth(world.token()).json(&body);
    let asked: Value = ask.send().await.unwrap().json().await.unwrap();
    let path = format!("/impact/{}", asked["id"].as_str().unwrap());
    let building = async || Some(world.get(&path).await).filter(|view| view["apps"][0]["state"] == "building");
    let view = world.until("b is being built", building).await;
    let id = world.deploy("c").await;
    assert!(world.call(&["job", &id]).await.out.contains("queued"));
    std::fs::write(world.path("go"), "").unwrap();
    let over = async || Some(world.get(&path).await).filter(|view| view["state"] == "done");
    let whole = world.until("it is over", over).await;
    assert_eq!(world.ended(&id).await["state"], "succeeded");
    assert_eq!(world.read("built"), "b\nc\nb\n");
    let names = |view: &Value| -> Vec<String> {
        view["apps"].as_array().unwrap().iter().map(|app| app["app"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&whole), ["b", "other"], "{whole:#}");
    let (after_b, changes) = (view["changes"].as_u64().unwrap(), whole["changes"].as_u64().unwrap());
    assert_eq!(names(&world.get(&format!("{path}?seen={after_b}")).await), ["b", "other"]);
    let at = |app: usize| whole["apps"][app]["changed"].as_u64().unwrap();
    assert_eq!(names(&world.get(&format!("{path}?seen={}", at(0))).await), ["other"], "{whole:#}");
    let last = world.get(&format!("{path}?seen={changes}")).await;
    assert_eq!((names(&last), last["state"].as_str()), (Vec::new(), Some("done")), "{last:#}");
}
