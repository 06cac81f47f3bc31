//! `:artifact` on real hosts with systemd, as root and as a user with sudo, run by a user of systemd's own: one build whose
//! file staging runs and production is sent, and a commit that is built again and goes back to the file it ran.
//!
//! Skipped unless a lab is up; see `lab`.

use super::support::acts::given;
use super::support::lab_world::{LabWorld, inside};

/// Answers with its credential and its version, which the build gives it. It takes no bad credential.
const APP: &str = r#"use strict; use IO::Socket::INET;
open my $f, '<', "$ENV{CREDENTIALS_DIRECTORY}/greeting" or die "no greeting: $!"; my $key = <$f>; die "401 for key" if $key =~ /^bad/;
open my $p, '<', '/srv/jar/current/prepared' or die "not prepared: $!";
my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1:7400', Listen => 9, ReuseAddr => 1) or die "no port: $!";
while (my $c = $s->accept) {
  while (my $line = <$c>) { last if $line =~ /^\r?\n$/ }
  print $c "HTTP/1.0 200 OK\r\n\r\n$key"; close $c;
}
"#;

const DEPLOY: &str = r#":app {:git-url "{repo:app}" :working-directory "/srv/jar" :rollout {}
    :environments {:staging {:hosts [:host1]} :production {:hosts [:host2] :promote :manual}}
    :build "mkdir -p out && { cat app.pl; cat /proc/sys/kernel/random/uuid | sed 's/^/# /'; } >out/app.pl"
    :artifact "out/app.pl" :keep-releases 2 :prepare "cp app.pl prepared"
    :service {:name "jar" :exec-start "/usr/bin/perl /srv/jar/current/app.pl" :secrets ["greeting"]}
    :health {:url "http://127.0.0.1:7400/" :stable "300ms" :timeout "20s"}}"#;

/// The release in force, the sum of its file and of what `:prepare` made of that, and what the app answers.
fn runs(host: &str) -> [String; 4] {
    let sum = |name: &str| inside(host, &format!("sha256sum </srv/jar/current/{name} | cut -d ' ' -f 1"));
    let answer = inside(host, "curl -sS http://127.0.0.1:7400/ 2>&1 || :");
    [inside(host, "readlink /srv/jar/current"), sum("app.pl"), sum("prepared"), answer]
}

#[tokio::test(flavor = "multi_thread")]
async fn production_gets_the_bytes_that_staging_runs_and_a_build_that_fails_there_leaves_none() {
    let Some(mut lab) = LabWorld::bare("jar", DEPLOY).await else { return };
    lab.world.commit("app", &[("app.pl", APP)]);
    lab.set_up("host2");
    lab.world.start().await;
    given(&lab.world, &["secret", "set", "app", "greeting"], "hello-7f3a9");
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    let one = runs("host1");
    let head = lab.world.head("app").to_string();
    assert_eq!((one[0].as_str(), one[3].as_str()), (&*format!("releases/{head}-{}", &one[1][..12]), "hello-7f3a9"));
    assert_eq!(one[1], one[2]);

    // The same commit, built again for another secret, and not well with it.
    given(&lab.world, &["secret", "set", "app", "greeting"], "bad-7f3a9");
    let job = lab.deploy().await;
    assert_eq!((&job["state"], runs("host1")), (&"rolled-back".into(), one.clone()), "{job:#}\n{}", lab.world.log());
    given(&lab.world, &["secret", "set", "app", "greeting"], "hello-7f3a9");
    let promoted = lab.world.call(&["promote", "app", "--yes", "--watch"]).await;
    assert_eq!((promoted.code, runs("host2")), (Some(0), one.clone()), "{promoted:?}\n{}", lab.world.log());
    assert_eq!(inside("host2", "stat -c %U /srv/jar/current/app.pl"), "deploy");

    // And well with a third: both hosts, one after the other, get that file of it.
    given(&lab.world, &["secret", "set", "app", "greeting"], "bonjour-7f3a9");
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    let three = runs("host1");
    assert_eq!((&*three[3], three[1] == three[2], three[1] == one[1]), ("bonjour-7f3a9", true, false));
    let promoted = lab.world.call(&["promote", "app", "--yes", "--watch"]).await;
    assert_eq!((promoted.code, runs("host2")), (Some(0), three), "{promoted:?}\n{}", lab.world.log());
}
