//! Providers that refuse, are busy, are slow, and hang up; servers that never run, and that show another key.

use std::time::Duration;

use airplanes::model::Provider;
use airplanes::model::server::ServerPhase;
use airplanes::servers::Pace;

use super::super::support::cloud_api::{Fault, TOKEN};
use super::{BOTH, Scene, each};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_refused_was_not_made_and_the_provider_says_why() {
    let cases = BOTH.into_iter().flat_map(|provider| [400, 401, 403, 404, 422].map(|status| (provider, status)));
    each(cases, async |(provider, status)| {
        let scene = Scene::new(provider).await;
        scene.api.will(scene.api.makes(), Fault::Status(status));
        let view = scene.create("web-3").await;
        let reason = view.reason.clone().unwrap();
        assert_eq!(view.state, ServerPhase::Failed);
        assert!(reason.contains(&status.to_string()) && reason.contains("you can't, ***"), "{reason}");
        assert!(!reason.contains(TOKEN), "{reason}");
        let asked = scene.api.count(scene.api.makes());
        assert_eq!((asked, scene.api.heard().count), (1, 0), "it is not asked again");
        // Once that is mended, the same goes on.
        let again = scene.create("web-3").await;
        assert_eq!((again.state, again.id, scene.api.heard().count), (ServerPhase::Ready, view.id, 1));
        scene.api.is_content();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_busy_is_waited_for_as_it_says() {
    each(BOTH, async |provider| {
        let scene = Scene::new(provider).await;
        let (lists, looks) = match provider {
            Provider::Linode => ("GET /v4/profile/sshkeys", "GET /v4/linode/instances/"),
            Provider::Digitalocean => ("GET /v2/account/keys", "GET /v2/droplets/"),
        };
        scene.api.will(lists, Fault::Limited(1));
        scene.api.will(scene.api.makes(), Fault::Limited(2));
        scene.api.will(looks, Fault::Status(500));
        scene.api.will(looks, Fault::Lost);
        scene.servers.create(super::spec(provider, "web-3"), "a test").await.unwrap();
        let waits = scene.until("web-3", |view| view.note.is_some()).await.note.unwrap();
        assert!(
            waits.contains("answered 429: too many requests") && waits.ends_with("; it is asked again in 1 s"),
            "{waits}"
        );
        scene.until("web-3", |view| view.note.as_ref().is_some_and(|note| note.contains("again in 2 s"))).await;
        let view = scene.rest("web-3").await;
        assert_eq!((view.state, scene.api.heard().count), (ServerPhase::Ready, 1), "{view:#?}");
        assert!(scene.api.heard().faults.is_empty(), "all of it came to pass");
        // Longer than anybody would wait.
        scene.api.will(scene.api.makes(), Fault::Limited(7200));
        let reason = scene.create("web-4").await.reason.unwrap();
        assert!(reason.contains("it wants 7200 s of rest; try again later"), "{reason}");
        scene.api.is_content();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_not_answered_makes_no_second_server_and_forgets_none() {
    let faults = [Fault::Dropped, Fault::DoneAndFailed, Fault::Silence, Fault::Lost, Fault::Status(500)];
    let cases = BOTH.into_iter().flat_map(|provider| faults.clone().map(|fault| (provider, fault)));
    each(cases, async |(provider, fault)| {
        let scene = Scene::new(provider).await;
        scene.api.will(scene.api.makes(), fault.clone());
        let view = scene.create("web-3").await;
        let was_made = !matches!(fault, Fault::Lost | Fault::Status(_));
        assert_eq!((view.state, view.adopted), (ServerPhase::Ready, was_made), "{fault:?}: {view:#?}");
        let asked = scene.api.count(scene.api.makes());
        assert_eq!((scene.api.heard().count, asked), (1, if was_made { 1 } else { 2 }), "{fault:?}");
        assert_eq!(view.price.unwrap().monthly, 6.0, "{fault:?}");
        scene.api.is_content();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_never_does_it_is_not_asked_for_ever() {
    each(BOTH, async |provider| {
        let scene = Scene::at_pace(provider, |pace| Pace { settle: Duration::from_millis(100), ..pace }).await;
        for _ in 0..3 {
            scene.api.will(scene.api.makes(), Fault::Status(502));
        }
        let reason = scene.create("web-3").await.reason.unwrap();
        assert!(reason.contains("was asked for it 3 times"), "{reason}");
        assert_eq!(scene.create("web-3").await.state, ServerPhase::Ready);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shows_another_key_is_not_let_into_the_house() {
    each(BOTH, async |provider| {
        let scene = Scene::at_pace(provider, |pace| Pace { answers: Duration::from_millis(300), ..pace }).await;
        scene.api.heard().is_deaf = true;
        let view = scene.create("web-3").await;
        let reason = view.reason.unwrap();
        assert_eq!(view.state, ServerPhase::Failed);
        assert!(reason.contains("shows another host key than the one that it was given (SHA256:"), "{reason}");
        assert!(reason.contains("airplanes server destroy web-3"), "{reason}");
        assert_eq!(scene.destroy("web-3").await.state, ServerPhase::Destroyed);
        assert!(scene.api.heard().made.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_will_not_run_fails_and_one_on_its_way_can_be_destroyed() {
    each(BOTH, async |provider| {
        let scene = Scene::new(provider).await;
        scene.api.heard().is_stuck = true;
        let reason = scene.create("web-3").await.reason.unwrap();
        let word = if provider == Provider::Linode { "billing_suspension" } else { "errored while it was created" };
        assert!(reason.contains(word), "{reason}");
        scene.api.heard().is_stuck = false;
        // Asked for again, it goes on with the one that is there.
        assert_eq!(scene.create("web-3").await.state, ServerPhase::Ready);
        assert_eq!(scene.api.heard().count, 1);
        // One that is asked for and taken back while its provider is not answering: nothing of it stays.
        scene.api.will(scene.api.makes(), Fault::Silence);
        scene.servers.create(super::spec(provider, "web-4"), "a test").await.unwrap();
        scene.until("web-4", |view| view.state == ServerPhase::Creating).await;
        let gone = scene.destroy("web-4").await;
        assert_eq!((gone.state, scene.api.heard().made.len()), (ServerPhase::Destroyed, 1), "{gone:#?}");
        scene.api.is_content();
    })
    .await;
}
