//! A bare host made ready, and an app's first deploy there: unit, site, credential, started and enabled; on one host as
//! root, on the other as a user whom `host setup` gave what it needs. Then what systemd or nginx won't have.
//!
//! Skipped unless a lab is up; see `lab`. A real JVM with PostgreSQL: `scripts/bare-host`.

use super::support::acts::given;
use super::support::lab_world::{HOSTS, LabWorld, inside};
use super::support::world::World;

/// Answers with its credential and the version in its folder.
const APP: &str = r#"use strict; use IO::Socket::INET;
sub slurp { open my $f, '<', $_[0] or die "no $_[0]: $!"; local $/; my $t = <$f>; $t =~ s/\s+$//; $t }
my $said = slurp("$ENV{CREDENTIALS_DIRECTORY}/greeting") . " " . slurp('version');
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1:7100', Listen => 9, ReuseAddr => 1) or die "no port: $!";
while (my $c = $s->accept) {
  while (my $line = <$c>) { last if $line =~ /^\r?\n$/ }
  print $c "HTTP/1.0 200 OK\r\nContent-Length: " . length($said) . "\r\n\r\n$said"; close $c;
}
"#;

const DEPLOY: &str = r#":app {:git-url "{repo:app}" :working-directory "/srv/first" :hosts [:host1 :host2]
    :service {:name "first" :exec-start "/usr/bin/perl /srv/first/app.pl" :secrets ["greeting"]}
    :nginx {:host "first.example.com" :port 7100 :websocket? true}
    :health {:url "http://127.0.0.1:7100/" :stable "300ms" :timeout "20s"}}
 :api {:git-url "{repo:app}" :working-directory "/srv/first-api" :hosts [:host1]
    :service {:name "first.api" :exec-start "/bin/sleep 9999" :secrets ["greeting"]}}"#;

fn answer(host: &str) -> String {
    inside(host, "curl -sS -H 'Host: first.example.com' http://127.0.0.1/ 2>&1 || :")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_host_is_set_up_and_the_first_deploy_of_an_app_is_a_deploy_like_any() {
    let Some(mut lab) = LabWorld::bare("first", DEPLOY).await else { return };
    lab.world.commit("app", &[("app.pl", APP), ("version", "one\n")]);
    let cli = |world: &World, args: &[&str]| given(world, args, "");

    // Set up by root for the user that the configuration has; again, nothing is left to do.
    let (code, out, err) = cli(&lab.world, &["host", "setup", "host2", "--dry-run"]);
    assert!(code == 0 && out.contains("would      put airplanes-host"), "{out}{err}");
    assert_eq!(inside("host2", "ls /usr/local/sbin"), "");
    let (code, out, err) = cli(&lab.world, &["host", "setup", "host2"]);
    assert!(code == 0 && out.contains("done       put airplanes-host") && err.contains("host2: set up"), "{out}{err}");
    let (code, out, err) = cli(&lab.world, &["host", "setup", "host2"]);
    assert!(code == 0 && err.contains("host2: unchanged"), "{out}{err}");
    assert!(out.lines().all(|line| line.starts_with("unchanged")), "{out}");
    inside("host2", "! sudo -u deploy sudo -n /usr/local/sbin/airplanes-host folder /etc/x && test ! -e /etc/x");

    // Without its secret it is not begun anywhere.
    lab.world.start().await;
    let job = lab.deploy().await;
    assert_eq!(job["state"], "failed", "{job:#}");
    assert!(job["steps"].to_string().contains("airplanes secret set app greeting"), "{job:#}");
    assert_eq!(inside("host1", "ls /srv/first 2>/dev/null | wc -l"), "0");

    let (code, ..) = given(&lab.world, &["secret", "set", "app", "greeting"], "hello-7f3a9\n");
    assert_eq!(code, 0);
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    for host in HOSTS {
        assert_eq!(answer(host), "hello-7f3a9 one", "{host}");
        assert_eq!(inside(host, "systemctl is-enabled first"), "enabled");
        // A user that systemd made up.
        let user = inside(host, "stat -c %u /proc/$(systemctl show -P MainPID first)");
        assert!((61184..=65519).contains(&user.parse::<u32>().unwrap()), "{user}");
        assert_eq!(inside(host, "stat -c '%a %U' /etc/credstore/airplanes/first/greeting"), "400 root");
    }
    let before = HOSTS.map(|host| inside(host, "systemctl show -p InvocationID --value first"));
    let job = lab.deploy().await;
    assert_eq!(job["state"], "unchanged", "{job:#}");

    // A unit whose name begins like another's, and what a person keeps, are let be.
    given(&lab.world, &["secret", "set", "api", "greeting"], "hi-7f3a9");
    assert_eq!(lab.world.post("/apps/api/deploy").await.0, 202);
    assert_eq!(lab.world.job("api").await["state"], "succeeded", "{}", lab.world.log());
    inside("host1", "touch /etc/credstore/first.theirs");

    // Another secret, another unit: the same commit is deployed anew, and the unit restarted once.
    given(&lab.world, &["secret", "set", "app", "greeting"], "bonjour-7f3a9");
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    for (host, before) in HOSTS.into_iter().zip(before) {
        assert_eq!(answer(host), "bonjour-7f3a9 one", "{host}");
        assert_ne!(inside(host, "systemctl show -p InvocationID --value first"), before);
        let logs = "journalctl -q --no-pager -o cat | grep -c 7f3a9 || :";
        assert_eq!(inside(host, logs), "0", "{host}: a secret is in the journal");
    }
    assert!(!lab.world.log().contains("7f3a9"));
    let kept = "cat /etc/credstore/airplanes/first.api/greeting && ls /etc/credstore && systemctl restart first.api";
    assert_eq!(inside("host1", kept), "hi-7f3a9airplanes\nfirst.theirs");
    // From before units had folders for them.
    inside(
        "host1",
        "cd /etc/credstore && mv airplanes/first/greeting first.greeting && rmdir airplanes/first && \
         sed -i s=/airplanes/first/=/first.= /etc/systemd/system/first.service && systemctl daemon-reload && systemctl restart first",
    );
    let (code, out, err) = cli(&lab.world, &["host", "install", "app", "--host", "host1"]);
    assert!(code == 0 && err.contains("host1: installed"), "{out}{err}");
    assert_eq!(inside("host1", "ls /etc/credstore && systemctl restart first"), "airplanes\nfirst.theirs");

    let (code, out, err) = cli(&lab.world, &["host", "install", "app"]);
    assert!(code == 0 && out.is_empty() && err.matches(": unchanged").count() == 2, "{out}{err}");
    let (_, out, _) = cli(&lab.world, &["host", "status", "host2", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["apps"][0]["sha"], lab.world.head("app").to_string(), "{status:#}");
    assert_eq!((&status["apps"][0]["unit"], &status["status"]["program"]), (&"first".into(), &"same".into()));
    for host in HOSTS {
        for (verb, code) in [("stop", 0), ("status", 1), ("start", 0), ("status", 0), ("enable", 0), ("restart", 0)] {
            let (was, out, err) = cli(&lab.world, &["host", "unit", verb, host, "first"]);
            assert_eq!(was, code, "{verb} on {host}: {out}{err}");
        }
    }

    // What systemd or nginx won't have replaces nothing; what nginx does not take in is put back.
    let files = "cat /etc/systemd/system/first.service /etc/nginx/conf.d/airplanes*.conf | sha256sum";
    let good = HOSTS.map(|host| inside(host, files));
    let refused = |world: &mut World, from: &str, to: &str, words: &str| {
        world.deploy_edn(&DEPLOY.replace(from, to));
        for host in ["host1", "host2"] {
            let (code, _, err) = given(world, &["host", "install", "app", "--host", host], "");
            assert!(code == 1 && err.contains(words), "{host}: {err}");
        }
        assert_eq!(HOSTS.map(|host| inside(host, files)), good, "{words}");
    };
    refused(&mut lab.world, "/usr/bin/perl", "/usr/bin/no-such", "Command /usr/bin/no-such is not executable");
    refused(&mut lab.world, ":port 7100", ":tls {:certificate \"/no\" :key \"/no\"} :port 7100", "nginx on host");
    for host in HOSTS {
        let reload = "mkdir -p /etc/systemd/system/nginx.service.d; printf '[Service]\\nExecReload=\\nExecReload=/bin/false\\n' \
                      >/etc/systemd/system/nginx.service.d/t.conf; systemctl daemon-reload";
        inside(host, reload);
    }
    refused(&mut lab.world, ":port 7100", ":port 7199", "has the old ones back");
    // What somebody else made is left alone, by a deploy too.
    inside(
        "host1",
        "sed -i 1,2d /etc/systemd/system/first.service; rm -r /etc/systemd/system/nginx.service.d; systemctl daemon-reload",
    );
    lab.world.deploy_edn(DEPLOY);
    let (code, _, err) = cli(&lab.world, &["host", "install", "app", "--host", "host1"]);
    assert!(code == 6 && err.contains("was not made by airplanes"), "{code} {err}");
    let (code, _, err) = cli(&lab.world, &["host", "install", "app", "--host", "host1", "--replace"]);
    assert!(code == 0 && inside("host1", "ls /etc/systemd/system").contains("first.service.before-airplanes"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_may_be_installed_before_its_first_deploy_and_a_packages_unit_stays() {
    let deploy = r#":app {:git-url "{repo:app}" :working-directory "/srv/early" :hosts [:host2] :ship :push
        :service {:name "early" :exec-start "/bin/sleep 9999"}}"#;
    let Some(mut lab) = LabWorld::bare("early", deploy).await else { return };
    lab.set_up("host2");
    lab.world.start().await;
    let (code, out, err) = given(&lab.world, &["host", "install", "app"], "");
    assert_eq!(code, 0, "{out}{err}");
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    lab.edit(&deploy.replace(r#":name "early""#, r#":name "nginx""#)).await;
    let (code, out, err) = given(&lab.world, &["host", "install", "app"], "");
    assert!(
        code == 6 && err.contains("nginx.service was not made by airplanes and is left alone"),
        "{code} {out}{err}"
    );
    assert_eq!(inside("host2", "ls /etc/systemd/system/nginx.service 2>/dev/null || :"), "");
}
