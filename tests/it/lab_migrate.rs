//! `:migrate` on a host with systemd, before its first deploy: with the app's own user, environment and secret, on its own,
//! whatever becomes of the daemon and the network meanwhile.
//!
//! Skipped unless a lab is up; see `lab`. With a real PostgreSQL: `scripts/bare-host`.

use std::time::{Duration, Instant};

use super::support::acts::given;
use super::support::lab_world::{LabWorld, inside, switch};

/// host2, where our user has sudo for the program alone, is the first.
const DEPLOY: &str = r#":app {:git-url "{repo:app}" :working-directory "/srv/moved" :hosts [:host2 :host1] :ship :push
    :service {:name "moved" :exec-start "/bin/sleep 9999" :environment {"WHERE" "th%re"} :secrets ["greeting"]}
    :migrate "exec sh ./migrate \"$WHERE\" 'a \"b\\c'"}"#;

/// Says who and where it is, and waits while the gate is shut.
const MIGRATE: &str = r#"id -u; printf '%s %s %s\n' "$1" "$2" "$(cat "$CREDENTIALS_DIRECTORY/greeting")"
echo run >>"$HOME/runs"
while [ -e /srv/moved-gate ]; do sleep 0.1; done
printf "moved on" >&2
exit "$(cat code)"
"#;

const UNIT: &str = "airplanes-migrate-moved";

fn runs() -> String {
    inside("host2", "grep -c run /var/lib/moved/runs 2>/dev/null || :")
}

/// Until a log has these words.
async fn says(lab: &LabWorld, id: &str, log: &str, words: &str) {
    let said = async || lab.world.whole_log(id, log).await.contains(words).then_some(());
    lab.world.until(words, said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_has_what_the_unit_has_and_outlives_the_daemon_and_the_network() {
    let Some(mut lab) = LabWorld::bare("moved", DEPLOY).await else { return };
    inside("host2", "userdel mover 2>/dev/null || :");
    lab.world.commit("app", &[("migrate", MIGRATE), ("code", "0\n")]);
    lab.set_up("host2");
    lab.world.start().await;
    given(&lab.world, &["secret", "set", "app", "greeting"], "hello-7f3a9");
    // A program from before there were migrations says what brings another, and nothing is changed.
    let program = "/usr/local/sbin/airplanes-host";
    inside("host2", &format!("cp {program} {program}.new; sed -i 's/| migrate | enable)/| enable)/' {program}"));
    let job = lab.deploy().await;
    assert_eq!((&job["state"], runs().as_str()), (&"failed".into(), ""), "{job:#}");
    assert!(job.to_string().contains("`airplanes host setup host2` brings"), "{job:#}");
    inside("host2", &format!("mv {program}.new {program}"));

    inside("host2", "touch /srv/moved-gate");
    let id = lab.world.deploy("app").await;
    lab.until("host2", "grep -qs run /var/lib/moved/runs").await;
    // Nothing of the app itself is there yet.
    assert_eq!(inside("host2", "ls /etc/systemd/system | grep moved || :"), "");
    assert_eq!(inside("host1", "ls /etc/systemd/system | grep moved || :"), "");

    // The daemon is killed; the next is told to end, and does at once; the one after it is cut off from the host.
    lab.world.kill();
    lab.world.start().await;
    says(&lab, &id, "rollout", "looking what became of :migrate").await;
    let asked = Instant::now();
    assert_eq!(lab.world.stop(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert_eq!(inside("host2", &format!("systemctl is-active {UNIT}")), "active");
    lab.world.start().await;
    says(&lab, &id, "rollout", "looking what became of :migrate").await;
    switch(&["cut", "host2", "silent"]);
    says(&lab, &id, "rollout/host2", "goes on there, and is looked at again").await;
    inside("host2", "rm /srv/moved-gate");
    lab.until("host2", "test -e /var/lib/airplanes-migrate/moved/end").await;
    switch(&["heal", "host2"]);
    let job = lab.world.ended(&id).await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    assert_eq!(runs(), "1");
    let log = lab.world.whole_log(&id, "rollout/host2").await;
    let user = inside("host2", "stat -c %u /proc/$(systemctl show -P MainPID moved)");
    let said = format!("{user}\nth%re a \"b\\c ***\nmoved on");
    assert!(log.contains(&said), "{log}");
    assert!(!log.contains("7f3a9") && !lab.world.log().contains("7f3a9"));
    assert_eq!(inside("host2", "ls /var/lib/airplanes-migrate/moved | xargs"), "began end job log");
    assert_eq!(inside("host1", "ls /var/lib/airplanes-migrate 2>/dev/null || :"), "");

    // While the app runs, its migration is the same user, and the app's state folder stays the app's.
    lab.world.commit("app", &[("code", "0 \n")]);
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let log = lab.world.whole_log(job["id"].as_str().unwrap(), "rollout/host2").await;
    assert!(log.contains(&format!("\n{user}\n")) && runs() == "2", "{user}: {log}");
    inside("host2", "rm /var/lib/moved/runs");

    // One that fails, as a user who is made for it and with another secret: what runs is as it was.
    let runs_by = "systemctl show -P InvocationID moved; cat /etc/credstore/airplanes/moved/greeting; cat /etc/systemd/system/moved.service";
    let before = inside("host2", runs_by);
    given(&lab.world, &["secret", "set", "app", "greeting"], "bonjour-7f3a9");
    lab.edit(&DEPLOY.replace(":secrets", ":user \"mover\" :write [\"/var/lib\"] :secrets")).await;
    lab.world.commit("app", &[("code", "3\n")]);
    let job = lab.deploy().await;
    assert_eq!(job["state"], "failed", "{job:#}");
    let reason = job["reason"].as_str().unwrap();
    assert!(reason.contains(":migrate on host2 ended with exit code 3") && reason.contains("moved on"), "{reason}");
    let log = lab.world.whole_log(job["id"].as_str().unwrap(), "rollout/host2").await;
    assert!(log.contains(&format!("\n{}\n", inside("host2", "id -u mover"))), "{log}");
    assert_eq!(inside("host2", runs_by), before);

    // The network goes, and its job is canceled: it goes on alone, and nobody gets in its way, nor takes its files.
    lab.edit(&DEPLOY.replace(":migrate", ":prepare \"true\" :migrate")).await;
    lab.world.commit("app", &[("code", "0\n"), ("n", "1\n")]);
    inside("host2", "rm -f /var/lib/moved/runs; touch /srv/moved-gate");
    let id = lab.world.deploy("app").await;
    lab.until("host2", "grep -qs run /var/lib/moved/runs").await;
    switch(&["cut", "host2", "silent"]);
    assert_eq!(lab.world.post(&format!("/jobs/{id}/cancel")).await.0, 202);
    let job = lab.world.ended(&id).await;
    assert!(job["reason"].as_str().unwrap().contains(":migrate was begun on host2 and nobody saw its end"), "{job:#}");
    switch(&["heal", "host2"]);
    lab.world.commit("app", &[("n", "2\n")]);
    let job = lab.deploy().await;
    assert_eq!(job["state"], "failed", "{job:#}");
    let error = job["hosts"][0]["error"].as_str().unwrap();
    assert!(error.contains(&format!("the :migrate of job {id} still runs on host2, as {UNIT}")), "{error}");
    assert_eq!(inside("host2", "cat /srv/moved/.git/airplanes-next/n"), "1");
    inside("host2", "rm /srv/moved-gate");
    lab.until("host2", "test -e /var/lib/airplanes-migrate/moved/end").await;
    let job = lab.deploy().await;
    assert_eq!((&job["state"], runs().as_str()), (&"succeeded".into(), "2"), "{job:#}");

    // The power goes: nobody can say how far it came, and it is not run again.
    lab.edit(DEPLOY).await;
    lab.world.commit("app", &[("n", "3\n")]);
    inside("host2", "rm -f /var/lib/moved/runs; touch /srv/moved-gate");
    let id = lab.world.deploy("app").await;
    lab.until("host2", "grep -qs run /var/lib/moved/runs").await;
    switch(&["stop", "host2"]);
    switch(&["start", "host2"]);
    let job = lab.world.ended(&id).await;
    assert_eq!(job["state"], "failed", "{job:#}");
    assert!(job["reason"].as_str().unwrap().contains(":migrate was begun on host2 and nobody saw its end"), "{job:#}");
    assert_eq!(runs(), "1");
}

/// As our user, where the host was not set up and the unit is not ours.
#[tokio::test(flavor = "multi_thread")]
async fn where_somebody_else_made_the_unit_the_login_user_migrates() {
    let deploy = r#":app {:git-url "{repo:app}" :working-directory "/srv/shop" :hosts [:host2] :ship :push
        :service {:name "shop" :exec-start "/usr/bin/perl /srv/shop/app.pl"} :migrate "echo moved by $(id -un) in $PWD"
        :health {:url "http://127.0.0.1:7000/" :stable "300ms" :timeout "20s"}}"#;
    let Some(mut lab) = LabWorld::bare("none", deploy).await else { return };
    let unit = inside("host2", "cat /etc/systemd/system/shop.service");
    lab.world.start().await;
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    let log = lab.world.whole_log(job["id"].as_str().unwrap(), "rollout/host2").await;
    assert!(log.contains("; :migrate runs as deploy\n"), "{log}");
    assert!(log.contains("moved by deploy in /srv/shop/.git/airplanes-next\n"), "{log}");
    assert_eq!(inside("host2", "cat /etc/systemd/system/shop.service"), unit);
}
