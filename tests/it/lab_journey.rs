//! The main job on real hosts with systemd: a push to a library, and the app's unit runs the new version on two hosts,
//! one logged in to as root and one as a user with sudo, whatever is killed, cut off or switched off meanwhile.
//!
//! Skipped unless a lab is up; see `lab`.

use std::time::{Duration, Instant};

use super::support::lab_world::{
    self, APP, HOSTS, LabWorld, address, answer, inside, invocation, open_gates, shut, starts, switch,
};

fn states(job: &serde_json::Value) -> Vec<&str> {
    job["hosts"].as_array().unwrap().iter().map(|h| h["state"].as_str().unwrap()).collect()
}
fn error(job: &serde_json::Value, host: usize) -> &str {
    job["hosts"][host]["error"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_a_library_restarts_each_unit_once_and_a_second_run_changes_nothing() {
    let Some(lab) = LabWorld::live().await else { return };
    let before = HOSTS.map(invocation);
    let lib = lab.push().await;
    let job = lab.world.job("app").await;
    assert_eq!((job["state"].as_str(), states(&job)), (Some("succeeded"), vec!["done", "done"]), "{job:#}");
    for (host, before) in HOSTS.into_iter().zip(before) {
        lab.check_live(host, lib, "a push");
        let now = invocation(host);
        assert_ne!(now, before);
        assert_eq!(starts(host).last().unwrap(), &format!("{now} {lib}"));
    }
    let before = HOSTS.map(invocation);
    let job = lab.deploy().await;
    assert_eq!(job["state"], "unchanged", "{job:#}");
    assert_eq!(HOSTS.map(invocation), before);
}

/// Where the daemon is killed.
enum Moment {
    /// At a commit of its journal that holds this text, before or after it is on disk.
    #[cfg(feature = "crash-points")]
    Commit(&'static str),
    /// While a host stands at a gate.
    Gate(&'static str, &'static str),
    /// After so many milliseconds.
    After(u64),
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_of_a_rollout_each_unit_is_restarted_once_for_the_commit() {
    let Some(mut lab) = LabWorld::live().await else { return };
    let mut moments = vec![
        Moment::Gate("host1", "fetch"),
        Moment::Gate("host1", "start"),
        Moment::Gate("host2", "fetch"),
        Moment::Gate("host2", "start"),
    ];
    #[cfg(feature = "crash-points")]
    moments.extend(
        [
            "\"host-restarting\",\"host\":\"host1\":before",
            "\"host-restarting\",\"host\":\"host1\":after",
            "\"host-finished\",\"host\":\"host1\":before",
            "\"host-restarting\",\"host\":\"host2\":after",
            "\"host-finished\",\"host\":\"host2\":before",
        ]
        .map(Moment::Commit),
    );
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    moments.extend((0..2).map(|i| Moment::After((seed >> (4 * i)) % 1500 + 500)));
    for moment in moments {
        let lib;
        let told;
        match moment {
            Moment::Gate(host, gate) => {
                shut(host, gate);
                lib = lab.push().await;
                lab.until(host, &format!("test -e /var/tmp/gates/{gate}.reached")).await;
                lab.world.kill();
                open_gates(host);
                told = format!("{host} at {gate}");
            }
            Moment::After(millis) => {
                lib = lab.push().await;
                tokio::time::sleep(Duration::from_millis(millis)).await;
                lab.world.kill();
                told = format!("after {millis} ms");
            }
            #[cfg(feature = "crash-points")]
            Moment::Commit(at) => {
                lab.world.kill();
                lab.world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), at.to_owned())];
                lab.world.start().await;
                lib = lab.push().await;
                lab.world.dies().await;
                told = at.to_owned();
            }
        }
        lab.world.start().await;
        let job = lab.world.job("app").await;
        assert_eq!(job["state"], "succeeded", "{told}: {job:#}\n{}", lab.world.log());
        for host in HOSTS {
            lab.check_live(host, lib, &told);
        }
    }
}

#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_never_ran_is_started_once_though_the_daemon_is_killed_right_after() {
    let Some(mut lab) = LabWorld::open(lab_world::LIB_AND_APP).await else { return };
    lab.world.env = vec![("AIRPLANES_CRASH_AT".into(), "\"host-finished\",\"host\":\"host1\":before".into())];
    lab.world.start().await;
    let (status, answer) = lab.world.post("/apps/app/deploy").await;
    assert_eq!(status, 202, "{answer}");
    lab.world.dies().await;
    // As if the power had gone before the host said that it was live.
    inside("host1", "cd /srv/shop/.git && sed -i s/live/moving/ airplanes.json");
    lab.world.start().await;
    let job = lab.world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    for host in HOSTS {
        lab.check_live(host, lab.world.head("lib"), "the first start");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_dies_at_start_fails_the_job_with_its_last_words_and_the_next_host_is_left_alone() {
    let Some(lab) = LabWorld::live().await else { return };
    let before = invocation("host2");
    let lib = lab.world.head("lib");
    lab.world.push("app", &[("app.pl", "die 'no config at line 12';\n")]).await;
    let job = lab.world.job("app").await;
    assert_eq!((job["state"].as_str(), states(&job)), (Some("failed"), vec!["failed", "skipped"]), "{job:#}");
    assert!(error(&job, 0).contains("no config at line 12"), "{job:#}");
    assert!(error(&job, 1).contains("host1 failed"), "{job:#}");
    assert_eq!(invocation("host2"), before);
    assert_eq!(answer("host2"), lib.to_string());
    // The repair goes live on both.
    lab.world.push("app", &[("app.pl", APP)]).await;
    let job = lab.world.job("app").await;
    assert_eq!((job["state"].as_str(), states(&job)), (Some("succeeded"), vec!["done", "done"]), "{job:#}");
    assert_eq!(HOSTS.map(answer), [lib.to_string(), lib.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_restart_the_host_fails_in_clear_words_and_keeps_what_it_runs() {
    let Some(lab) = LabWorld::live().await else { return };
    let before = invocation("host2");
    inside("host2", "mv /etc/sudoers.d/deploy /root/sudoers");
    let lib = lab.push().await;
    let job = lab.world.job("app").await;
    inside("host2", "mv /root/sudoers /etc/sudoers.d/deploy");
    assert_eq!((job["state"].as_str(), states(&job)), (Some("partial"), vec!["done", "failed"]), "{job:#}");
    assert!(error(&job, 1).contains("deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart shop"), "{job:#}");
    assert_eq!(invocation("host2"), before);
    let first = invocation("host1");
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    for host in HOSTS {
        lab.check_live(host, lib, "with the right");
    }
    assert_eq!(invocation("host1"), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_edn_of_the_clojure_program_works_unchanged() {
    let entry = r#":ep-lib {:name "ep-lib" :git-url "{repo:lib}"}
 :app {:name "shop" :git-url "{repo:app}" :update? true :build "test -s app.pl" :working-directory "/srv/shop" :ip "IP"}"#;
    let Some(mut lab) = LabWorld::open(&entry.replace("IP", &address_or_nothing())).await else { return };
    lab.world.start().await;
    assert_eq!(lab.deploy().await["state"], "succeeded");
    let lib = lab.push().await;
    let job = lab.world.job("app").await;
    assert_eq!((job["state"].as_str(), states(&job)), (Some("succeeded"), vec!["done"]), "{job:#}");
    lab.check_live("host1", lib, "clojure");
    assert_eq!(starts("host2"), Vec::<String>::new());
}

fn address_or_nothing() -> String {
    if lab_world::is_wanted() { address("host1") } else { String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_cut_off_silently_is_told_in_bounded_time_and_is_the_only_one_changed_later() {
    let Some(lab) = LabWorld::live().await else { return };
    // While its unit is being restarted: nobody can know how that went.
    shut("host2", "start");
    let lib = lab.push().await;
    lab.until("host2", "test -e /var/tmp/gates/start.reached").await;
    switch(&["cut", "host2", "silent"]);
    let cut = Instant::now();
    let job = lab.world.job("app").await;
    eprintln!("cut off in its restart: told after {:?}", cut.elapsed());
    assert!(cut.elapsed() < Duration::from_secs(60), "{:?}", cut.elapsed());
    assert_eq!((job["state"].as_str(), states(&job)), (Some("partial"), vec!["done", "failed"]), "{job:#}");
    assert!(error(&job, 1).contains("how it is now is not known"), "{job:#}");
    lab.check_live("host1", lib, "host2 cut off");
    // From the beginning.
    open_gates("host2");
    let before = HOSTS.map(invocation);
    let cut = Instant::now();
    let job = lab.deploy().await;
    eprintln!("cut off from the beginning: told after {:?}", cut.elapsed());
    assert!(cut.elapsed() < Duration::from_secs(60), "{:?}", cut.elapsed());
    assert_eq!((job["state"].as_str(), states(&job)), (Some("partial"), vec!["done", "unreachable"]), "{job:#}");
    switch(&["heal", "host2"]);
    let job = lab.deploy().await;
    assert_eq!((job["state"].as_str(), states(&job)), (Some("succeeded"), vec!["done", "done"]), "{job:#}");
    lab.check_live("host1", lib, "healed");
    assert_eq!(answer("host2"), lib.to_string());
    assert_eq!(invocation("host1"), before[0]);
    assert_ne!(invocation("host2"), before[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_power_goes_in_its_turn_runs_the_new_version_when_it_is_back() {
    let Some(lab) = LabWorld::live().await else { return };
    // It comes back with the old version running, before the tree has moved.
    shut("host2", "fetch");
    let lib = lab.push().await;
    lab.until("host2", "test -e /var/tmp/gates/fetch.reached").await;
    switch(&["stop", "host2"]);
    switch(&["start", "host2"]);
    open_gates("host2");
    let job = lab.world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    lab.check_live("host2", lib, "off before the move");
    // While the unit is being restarted: the boot starts the new version, and that is the restart.
    shut("host2", "start");
    let lib = lab.push().await;
    lab.until("host2", "test -e /var/tmp/gates/start.reached").await;
    switch(&["stop", "host2"]);
    std::fs::remove_file(lab_world::folder().join("hosts/host2/up/var/tmp/gates/start")).unwrap();
    switch(&["start", "host2"]);
    let job = lab.world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    assert_eq!(answer("host2"), lib.to_string());
    let started = starts("host2").iter().filter(|s| s.contains(&lib.to_string())).count();
    assert_eq!(started, 2, "the one that the power cut ended, and the boot's");
}
