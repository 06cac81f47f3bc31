//! What is installed on a host for an app, when it goes wrong: the unit, site and credential that were there come back with
//! the commit, an install that is cut off anywhere is ended by the next, and nobody is shown a secret that an app prints.
//!
//! Skipped unless a lab is up; see `lab`.

use super::support::acts::given;
use super::support::lab_world::{HOSTS, LabWorld, address, inside};

/// Answers with its credential and the version in its folder. On host2 it takes neither a bad credential nor arguments.
const APP: &str = r#"use strict; use IO::Socket::INET;
sub slurp { open my $f, '<', $_[0] or die "no $_[0]: $!"; local $/; my $t = <$f>; $t =~ s/\s+$//; $t }
my $key = slurp("$ENV{CREDENTIALS_DIRECTORY}/greeting"); my $said = "$key " . slurp('version');
if (slurp('/etc/hostname') eq 'host2') { die "401 for key $key" if $key =~ /^bad/; die "what is @ARGV" if @ARGV }
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1:' . ($ENV{PORT} // 7300), Listen => 9, ReuseAddr => 1) or die "no port: $!";
while (my $c = $s->accept) {
  while (my $line = <$c>) { last if $line =~ /^\r?\n$/ }
  print $c "HTTP/1.0 200 OK\r\nContent-Length: " . length($said) . "\r\n\r\n$said"; close $c;
}
"#;

const DEPLOY: &str = r#":app {:git-url "{repo:app}" :working-directory "/srv/kept" :hosts [:host1 :host2] :rollout {}
    :service {:name "kept" :exec-start "/usr/bin/perl /srv/kept/app.pl" :secrets ["greeting"]}
    :nginx {:host "kept.example.com" :port 7300}
    :health {:url "http://127.0.0.1:7300/" :stable "300ms" :timeout "2s"}}"#;

const FILES: &str =
    "sha256sum /etc/systemd/system/kept.service /etc/nginx/conf.d/airplanes*.conf /etc/credstore/airplanes/kept/*";

fn answer(host: &str) -> String {
    inside(host, "curl -sS -H 'Host: kept.example.com' http://127.0.0.1/ 2>&1 || :")
}

/// A world whose app is live on both hosts; host2's program is installed, host1 is root's.
async fn live() -> Option<LabWorld> {
    let mut lab = LabWorld::bare("kept", DEPLOY).await?;
    lab.world.commit("app", &[("app.pl", APP), ("version", "one\n")]);
    lab.set_up("host2");
    lab.world.start().await;
    given(&lab.world, &["secret", "set", "app", "greeting"], "hello-7f3a9");
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    assert_eq!(HOSTS.map(answer), ["hello-7f3a9 one", "hello-7f3a9 one"]);
    Some(lab)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_is_the_way_to_the_unit_the_site_and_the_credential_too() {
    let Some(mut lab) = live().await else { return };
    let good = HOSTS.map(|host| inside(host, FILES));
    let back = |job: &serde_json::Value, why: &str, lab: &LabWorld| {
        assert_eq!(job["state"], "rolled-back", "{job:#}\n{}", lab.world.log());
        assert!(job["hosts"][1]["error"].as_str().unwrap().contains(why), "{job:#}");
        assert_eq!(HOSTS.map(|host| inside(host, FILES)), good, "{job:#}");
        assert_eq!(HOSTS.map(answer), ["hello-7f3a9 one", "hello-7f3a9 one"], "{job:#}");
    };

    // A secret that one host's app does not take, at the commit that runs: no commit is to blame, so none is held.
    given(&lab.world, &["secret", "set", "app", "greeting"], "bad-8c1d2");
    let job = lab.deploy().await;
    back(&job, "401 for key ***", &lab);
    assert_eq!(lab.world.get("/holds").await["holds"], serde_json::json!([]));
    let logs = lab.world.state("logs");
    let told = std::process::Command::new("grep").args(["-rc", "-e", "8c1d2"]).arg(&logs).output().unwrap();
    assert!(!told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
    assert!(!job.to_string().contains("8c1d2") && !lab.world.log().contains("8c1d2"));

    // The same, and the daemon is killed in between: as soon as it knows that it installs, and on the way back.
    #[cfg(feature = "crash-points")]
    for at in [r#""entry":"host-installing","host":"host2":after"#, r#""entry":"host-returning","host":"host1":after"#]
    {
        lab.world.kill();
        lab.world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), at.to_owned())];
        lab.world.start().await;
        assert_eq!(lab.world.post("/apps/app/deploy").await.0, 202);
        lab.world.dies().await;
        lab.world.start().await;
        let job = lab.world.job("app").await;
        back(&job, "401 for key ***", &lab);
    }

    // Only nginx's part is another: nothing is restarted for it.
    given(&lab.world, &["secret", "set", "app", "greeting"], "hello-7f3a9");
    let before = HOSTS.map(|host| inside(host, "systemctl show -p InvocationID --value kept"));
    lab.edit(&DEPLOY.replace("kept.example.com\"", "kept.example.com\" :max-body \"7MB\"")).await;
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(HOSTS.map(|host| inside(host, "systemctl show -p InvocationID --value kept")), before);
    lab.edit(DEPLOY).await;
    assert_eq!(lab.deploy().await["state"], "succeeded");

    // A unit and a site that come with a commit.
    let bad = DEPLOY.replace("app.pl\"", "app.pl nonsense\"").replace(":port 7300", ":port 7300 :websocket? true");
    lab.edit(&bad).await;
    lab.world.commit("app", &[("version", "two\n")]);
    let job = lab.deploy().await;
    back(&job, "what is nonsense", &lab);
    assert_eq!(lab.world.get("/holds").await["holds"].as_array().map(Vec::len), Some(1));

    // With two instances: host1 has switched to one with the bad secret, and goes back to one without.
    let zero = DEPLOY.replace(" :port 7300", "").replace(":rollout", ":zero-downtime {:ports [7300 7301]} :rollout");
    lab.edit(&zero.replace("127.0.0.1:7300", "127.0.0.1:{port}")).await;
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    given(&lab.world, &["secret", "set", "app", "greeting"], "bad-8c1d2");
    let job = lab.deploy().await;
    assert_eq!(job["state"], "rolled-back", "{job:#}\n{}", lab.world.log());
    assert_eq!(HOSTS.map(answer), ["hello-7f3a9 two", "hello-7f3a9 two"], "{job:#}");
    for host in HOSTS {
        let units = inside(host, "systemctl list-units --plain --no-legend 'kept*' | cut -d' ' -f1,3 | xargs");
        assert!(["kept@7300.service active", "kept@7301.service active"].contains(&units.as_str()), "{host}: {units}");
    }
    assert!(!job.to_string().contains("8c1d2"), "{job:#}");
}

/// In place of the two by which `airplanes-host` changes things: kills it before the effect whose number is in `kill-at`.
const SHIM: &str = r#"#!/bin/sh
case ${0##*/}-$1 in mv-* | systemctl-daemon-reload | systemctl-reload | systemctl-start | systemctl--q) ;; *) exec /usr/bin/${0##*/} "$@" ;; esac
case $2 in is-*) exec /usr/bin/${0##*/} "$@" ;; esac
n=$(($(cat /var/tmp/effects) + 1)); echo $n >/var/tmp/effects
[ $n != "$(cat /var/tmp/kill-at)" ] || { echo "${0##*/} $*" >/var/tmp/killed; kill -9 $PPID; exit 1; }
exec /usr/bin/${0##*/} "$@""#;

#[tokio::test(flavor = "multi_thread")]
async fn an_install_that_is_killed_before_any_of_its_effects_is_ended_by_the_next() {
    let Some(lab) = live().await else { return };
    let good = inside("host2", FILES);
    let site =
        format!("curl -s -o /dev/null -w '%{{http_code}}' -H 'Host: kept.example.com' http://{}/", address("host2"));
    inside(
        "host2",
        &format!(
            "cd /usr/local/sbin; printf '%s\\n' '{}' >mv; chmod 755 mv; cp mv systemctl",
            SHIM.replace('\'', "'\\''")
        ),
    );
    let mut killed = Vec::new();
    for number in 1.. {
        assert!(number < 40, "{killed:#?}");
        // Nothing is there but its credential, where it was before units had folders, and nginx is off.
        inside(
            "host2",
            &format!(
                "PATH=/usr/bin; systemctl -q disable --now kept nginx; rm -rf /etc/systemd/system/kept.service /etc/nginx/conf.d/airplanes*; \
                 mv /etc/credstore/airplanes/kept/greeting /etc/credstore/kept.greeting; rm -rf /etc/credstore/airplanes; \
                 systemctl daemon-reload; echo 0 >/var/tmp/effects; echo {number} >/var/tmp/kill-at; rm -f /var/tmp/killed"
            ),
        );
        let install = || given(&lab.world, &["host", "install", "app", "--host", "host2"], "");
        let (code, _, err) = install();
        let at = inside("host2", "cat /var/tmp/killed 2>/dev/null || :");
        if at.is_empty() {
            assert_eq!(code, 0, "{err}");
            break;
        }
        assert_ne!(code, 0, "{at}");
        inside("host2", "echo 0 >/var/tmp/kill-at");
        let (code, _, err) = install();
        assert_eq!(code, 0, "{at}: {err}");
        let reload = "systemctl show -p NeedDaemonReload --value kept; systemctl is-enabled kept nginx; ls /run | grep airplanes-host.stage || :";
        assert_eq!(inside("host2", reload), "no\nenabled\nenabled", "{at}");
        assert_eq!(inside("host2", FILES), good, "{at}");
        assert_eq!(inside("host2", &site), "502", "{at}: its site is not nginx's");
        killed.push(at);
    }
    assert!(killed.iter().any(|at| at.contains("enable kept")) && killed.len() > 6, "{killed:#?}");
    let (_, _, err) = given(&lab.world, &["host", "install", "app", "--host", "host2"], "");
    assert!(err.contains("host2: unchanged"), "{err}");
    inside("host2", "rm -f /usr/local/sbin/mv /usr/local/sbin/systemctl /var/tmp/effects /var/tmp/kill*");
}
