//! A rollout that goes back by itself, with real units. What else goes wrong in one is shown by `scripts/rollouts`, on ten
//! hosts; the moments at which it is killed, by `rollout`.
//!
//! Skipped unless a lab is up; see `lab`.

use super::support::lab_world::{APP, FOLDER, HOSTS, LIB_AND_APP, LabWorld, answer, inside, starts};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_answers_and_dies_again_and_again_is_taken_back_where_it_was_well_too() {
    let deploy = LIB_AND_APP.replace(":stable \"300ms\" :timeout \"20s\"", ":stable \"2s\" :timeout \"5s\"");
    let deploy = deploy.replace(":health", ":rollout {} :health");
    let Some(mut lab) = LabWorld::open(&deploy).await else { return };
    lab.world.start().await;
    assert_eq!(lab.deploy().await["state"], "succeeded");
    let (good, lib) = (lab.world.head("app"), lab.world.head("lib").to_string());

    let more = "mkdir -p /etc/systemd/system/shop.service.d; printf '[Service]\\nRestart=always\\nRestartSec=100ms\\n' \
                >/etc/systemd/system/shop.service.d/t.conf; systemctl daemon-reload; touch /var/tmp/dies";
    inside("host2", more);
    let dies = APP.replace("while (my $c", "alarm 1 if -e '/var/tmp/dies';\nwhile (my $c");
    lab.world.commit("app", &[("app.pl", &dies)]);
    let watched = lab.world.call(&["deploy", "app", "--watch"]).await;
    inside("host2", "rm -r /etc/systemd/system/shop.service.d /var/tmp/dies; systemctl daemon-reload");

    assert_eq!(watched.code, Some(4), "{watched:?}\n{}", lab.world.log());
    assert!(watched.err.contains("systemd has restarted"), "{watched:?}");
    assert!(watched.err.contains("app is held: no bump comes until a push on top of"), "{watched:?}");
    for host in HOSTS {
        assert_eq!(inside(host, &format!("cat {FOLDER}/.git/refs/heads/main")), good.to_string(), "{host}");
        let marker = format!("{{\"sha\":\"{good}\",\"state\":\"live\"}}");
        assert_eq!(inside(host, &format!("cat {FOLDER}/.git/airplanes.json")), marker, "{host}");
        assert_eq!(answer(host), lib, "{host}");
    }
    assert_eq!(starts("host1").len(), 3, "at first, for the bad version, and back");
}
