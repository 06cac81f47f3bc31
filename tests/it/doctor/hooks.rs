//! `airplanes hook test` and the public url: each check that a call passes, and where it stops if something is between.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::*;

/// What a proxy does with a call.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Honest,
    /// It adds a line end to bodies.
    Changes,
    /// It lets nothing but the hooks through.
    HooksOnly,
    Redirects,
    AsksForLogin,
}

/// A proxy before the daemon, on a port of its own; gives its url.
async fn proxy(to: String, way: Way) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(pass).with_state((reqwest::Client::new(), to, way));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn pass(
    State((http, to, way)): State<(reqwest::Client, String, Way)>,
    method: axum::http::Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    match way {
        Way::Redirects => return (StatusCode::FOUND, [("location", "https://elsewhere.example")]).into_response(),
        Way::AsksForLogin => return (StatusCode::UNAUTHORIZED, "who are you?").into_response(),
        Way::HooksOnly if !uri.path().starts_with("/hooks/") => return StatusCode::NOT_FOUND.into_response(),
        _ => {}
    }
    let mut body = body.to_vec();
    if way == Way::Changes {
        body.push(b'\n');
    }
    for name in ["host", "content-length", "transfer-encoding"] {
        headers.remove(name);
    }
    let answer = http.request(method, format!("{to}{}", uri.path())).headers(headers).body(body).send().await.unwrap();
    (answer.status(), answer.bytes().await.unwrap()).into_response()
}

impl World {
    /// Puts `:url` in force.
    async fn public_url(&self, url: &str) {
        let text = self.read("config.edn");
        let without: Vec<&str> = text.split(" :url \"").collect();
        let rest = without.get(1).map_or("", |rest| rest.split_once('"').unwrap().1);
        let bare = format!("{}{rest}", without[0]);
        self.save("config.edn", &bare.replacen(" :state ", &format!(" :url \"{url}\" :state "), 1));
        let seen = async || {
            let up = examined(self).await;
            check(&up, "web", "public url")["detail"].as_str().unwrap().contains(url).then_some(())
        };
        self.until("the url in force", seen).await;
    }
    /// `POST /doctor/hook`.
    async fn hook_test(&self, body: Value) -> Value {
        let call = self.http.post(format!("{}/doctor/hook", self.base())).bearer_auth(self.token());
        call.json(&body).send().await.unwrap().json().await.unwrap()
    }
}

#[tokio::test]
async fn a_ping_of_every_forge_passes_each_check_and_sets_nothing_in_motion() {
    let mut world = world(0);
    world.start().await;
    let base = world.base();
    for forge in ["github", "gitlab", "gitea", "bitbucket"] {
        let up = world.hook_test(serde_json::json!({"app": "shop", "forge": forge})).await;
        assert_eq!(up["well"], true, "{up:#}");
        for name in ["reached", "path", "signature", "stored", "outcome"] {
            assert_eq!(check(&up, &base, name)["finding"], "ok");
        }
        let outcome = check(&up, &base, "outcome")["detail"].as_str().unwrap();
        assert!(outcome.starts_with("ignored: "), "{outcome}");
    }
    assert!(world.get("/jobs").await["jobs"].as_array().unwrap().is_empty());
    // They are no sign of life of the forge.
    let up = examined(&world).await;
    assert!(!up.to_string().contains("last came at"), "{up:#}");
    let unsure = world.call(&["hook", "test", "shop"]).await;
    assert_eq!(unsure.code, Some(1), "{unsure:?}");
    assert!(unsure.out.contains("mend: airplanes hook test shop --forge github"), "{unsure:?}");
    let nobody = world.call(&["hook", "test", "nobody"]).await;
    assert!(nobody.err.contains("no app nobody"), "{nobody:?}");
}

#[tokio::test]
async fn a_push_of_the_present_head_goes_through_the_planner_once() {
    let mut world = world(0);
    world.start().await;
    let push = ["hook", "test", "shop", "--forge", "github", "--push"];
    let asked = world.call(&push).await;
    assert_eq!(asked.code, Some(2), "{asked:?}");
    assert!(asked.err.contains("sets in motion") && asked.err.contains("give --yes"), "{asked:?}");
    let yes: Vec<&str> = push.into_iter().chain(["--yes"]).collect();
    let first = world.call(&yes).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.out.contains("✔ plan: main at ") && first.out.contains("✔ outcome: accepted as event"), "{first:?}");
    assert_eq!(world.job("shop").await["state"], "succeeded");
    let again = world.call(&yes).await;
    assert!(again.out.contains("✔ outcome: duplicate: "), "{again:?}");
    assert_eq!(world.settled().await.len(), 1);
}

#[tokio::test]
async fn what_stands_between_the_forge_and_the_daemon_is_told_by_where_a_call_stops() {
    let mut world = world(0);
    world.start().await;
    let test = serde_json::json!({"app": "shop", "forge": "github"});
    let to = world.base();
    let honest = proxy(to.clone(), Way::Honest).await;
    world.public_url(&honest).await;
    assert_eq!(check(&examined(&world).await, "web", "public url")["detail"], format!("{honest} leads to this daemon"));
    let up = world.hook_test(test.clone()).await;
    assert_eq!(check(&up, &honest, "outcome")["finding"], "ok", "{up:#}");
    assert_eq!(check(&up, &to, "outcome")["finding"], "ok", "{up:#}");

    let hooks_only = proxy(to.clone(), Way::HooksOnly).await;
    world.public_url(&hooks_only).await;
    assert_eq!(check(&examined(&world).await, "web", "public url")["finding"], "ok");

    let changes = proxy(to.clone(), Way::Changes).await;
    world.public_url(&changes).await;
    let up = world.hook_test(test.clone()).await;
    failed(check(&up, &changes, "signature"), "a proxy changed it", "change neither body nor headers");

    let redirects = proxy(to.clone(), Way::Redirects).await;
    world.public_url(&redirects).await;
    failed(check(&examined(&world).await, "web", "public url"), "not by a daemon", "pass everything to http://");
    let up = world.hook_test(test.clone()).await;
    failed(check(&up, &redirects, "path"), "302", "forges follow no redirect");

    let login = proxy(to.clone(), Way::AsksForLogin).await;
    world.public_url(&login).await;
    let up = world.hook_test(test.clone()).await;
    failed(check(&up, &login, "path"), "401", "without a login");

    // Another daemon with the same secret.
    let mut other = World::new(0);
    other.deploy_edn("");
    other.start().await;
    world.public_url(&other.base()).await;
    failed(check(&examined(&world).await, "web", "public url"), "another daemon", "correct :url");
    let up = world.hook_test(test.clone()).await;
    failed(check(&up, &other.base(), "stored"), "another daemon answered", "correct :url");

    // Nobody.
    let gone = other.base();
    other.kill();
    world.public_url(&gone).await;
    let up = world.hook_test(test).await;
    failed(check(&up, &gone, "reached"), "refused", "curl -v");
}
