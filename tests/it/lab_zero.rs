//! An app that is deployed without a request lost, on a real host with nginx: from a plain unit to two instances, from
//! one commit to the next with the daemon killed on the way, and back by itself from one that does not come up; all under
//! a client that never stops asking. The long run: `scripts/zero-downtime`.
//!
//! Skipped unless a lab is up; see `lab`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::support::acts::given;
use super::support::lab_world::{LabWorld, address, inside};

/// Answers with its version after a start that takes a while, and some requests slowly.
const APP: &str = r#"use strict; use IO::Socket::INET;
open my $f, '<', 'version' or die "no version"; my $v = <$f>; chomp $v; die "it does not start" if $v eq 'bad';
select undef, undef, undef, 0.4; $SIG{CHLD} = 'IGNORE';
my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$ENV{PORT}", Listen => 128, ReuseAddr => 1) or die "no port: $!";
while (1) {
  my $c = $s->accept or next;
  if (fork) { close $c; next }
  my $first = <$c>; while (my $line = <$c>) { last if $line =~ /^\r?\n$/ }
  select undef, undef, undef, 0.3 if $first =~ /slow/;
  print $c "HTTP/1.0 200 OK\r\nContent-Length: " . length($v) . "\r\n\r\n$v"; close $c; exit;
}
"#;

const PLAIN: &str = r#":app {:git-url "{repo:app}" :working-directory "/srv/zero" :hosts [:host2] :ship :push
    :service {:name "zero" :exec-start "/usr/bin/perl /srv/zero/app.pl" :environment {"PORT" "7200"}}
    :nginx {:host "zero.example.com" :port 7200}
    :health {:url "http://127.0.0.1:7200/" :stable "300ms" :timeout "20s"}}"#;

const ZERO: &str = r#":app {:git-url "{repo:app}" :working-directory "/srv/zero" :hosts [:host2] :ship :push
    :service {:name "zero" :exec-start "/usr/bin/perl /srv/zero/app.pl"}
    :nginx {:host "zero.example.com"} :zero-downtime {:ports [7200 7201] :drain "5s"} :rollout {:on-failure :rollback}
    :health {:url "http://127.0.0.1:{port}/" :stable "300ms" :timeout "3s"}}"#;

/// The host as it was.
struct Bare;

impl Bare {
    fn make() {
        inside(
            "host2",
            "systemctl disable --now zero zero@7200 zero@7201 2>/dev/null; rm -rf /srv/zero /etc/systemd/system/zero* \
             /etc/nginx/conf.d/airplanes* /etc/nginx/airplanes /etc/sudoers.d/airplanes /usr/local/sbin/airplanes-host \
             /run/airplanes-host.*; systemctl daemon-reload; systemctl reset-failed; systemctl reload-or-restart nginx",
        );
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        Self::make();
    }
}

/// Asks a hundred times a second, a connection each.
struct Client {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(u32, Vec<String>)>>,
}

impl Client {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, at) = (stop.clone(), format!("{}:80", address("host2")));
        let ask = move |path: &str| -> Result<(), String> {
            let words = |error: std::io::Error| error.to_string();
            let mut stream = TcpStream::connect(&at).map_err(words)?;
            stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(words)?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: zero.example.com\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).map_err(words)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map_err(words)?;
            if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(format!("{answer:?}")) }
        };
        let thread = std::thread::spawn(move || {
            let asked = std::sync::Mutex::new((0, Vec::new()));
            std::thread::scope(|scope| {
                let mut n = 0;
                while !ended.load(Ordering::Relaxed) {
                    n += 1;
                    let (ask, asked) = (&ask, &asked);
                    scope.spawn(move || {
                        let result = ask(if n % 10 == 0 { "/slow" } else { "/" });
                        let mut asked = asked.lock().unwrap();
                        asked.0 += 1;
                        asked.1.extend(result.err());
                    });
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            asked.into_inner().unwrap()
        });
        Self { stop, thread: Some(thread) }
    }

    /// How often it asked, and what failed.
    fn end(mut self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn answer() -> String {
    inside("host2", "curl -sS -H 'Host: zero.example.com' http://127.0.0.1/ 2>&1 || :")
}

/// Its instances that are not down, and where nginx sends requests.
fn stands() -> (String, String) {
    let units = "systemctl list-units --plain --no-legend 'zero*' | cut -d' ' -f1 | xargs";
    (inside("host2", units), inside("host2", "sed -n 's/^server //p' /etc/nginx/airplanes/zero.server"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_stops_asking_sees_no_failed_request_over_deploys_a_killed_daemon_and_a_way_back() {
    let Some(mut lab) = LabWorld::open(PLAIN).await else { return };
    Bare::make();
    let _bare = Bare;
    lab.world.commit("app", &[("app.pl", APP), ("version", "one\n")]);
    let (code, _, err) = given(&lab.world, &["host", "setup", "host2"], "");
    assert_eq!(code, 0, "{err}");
    lab.world.start().await;
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    assert_eq!(answer(), "one");

    // A program from before there were instances is told before anything is changed.
    let client = Client::start();
    lab.world.deploy_edn(ZERO);
    lab.world.commit("app", &[("version", "two\n")]);
    let program = "/usr/local/sbin/airplanes-host";
    inside("host2", &format!("cp {program} {program}.new; sed -i 's/^    ports)/    prots)/' {program}"));
    let job = lab.deploy().await;
    assert_eq!((&job["state"], answer().as_str()), (&"failed".into(), "one"), "{job:#}");
    assert!(job["hosts"][0]["error"].as_str().unwrap().contains("`airplanes host setup host2` brings"), "{job:#}");
    inside("host2", &format!("mv {program}.new {program}"));

    // From the plain unit to an instance, beside it.
    let job = lab.deploy().await;
    assert_eq!((&job["state"], answer().as_str()), (&"succeeded".into(), "two"), "{job:#}\n{}", lab.world.log());
    assert_eq!(stands(), ("zero@7201.service".into(), "127.0.0.1:7201;".into()));
    assert_eq!(inside("host2", "ls /etc/systemd/system | grep -c '^zero.service' || :"), "0");
    assert_eq!(
        inside("host2", "systemctl is-enabled zero@7201; systemctl is-enabled zero@7200 || :"),
        "enabled\ndisabled"
    );
    let job = lab.deploy().await;
    assert_eq!(job["state"], "unchanged", "{job:#}");
    let (_, out, _) = given(&lab.world, &["host", "status", "host2", "--json"], "");
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&status["apps"][0]["unit"], &status["apps"][0]["state"]),
        (&"zero@7201".into(), &"active (running)".into())
    );

    // The daemon is killed while the new one is looked at.
    lab.world.commit("app", &[("version", "three\n")]);
    lab.world.post("/apps/app/deploy").await;
    lab.until("host2", "systemctl -q is-active zero@7200").await;
    lab.world.kill();
    lab.world.start().await;
    let job = lab.world.job("app").await;
    assert_eq!((&job["state"], answer().as_str()), (&"succeeded".into(), "three"), "{job:#}\n{}", lab.world.log());
    assert_eq!(stands(), ("zero@7200.service".into(), "127.0.0.1:7200;".into()));

    // A switch that was cut off in the middle, and an instance that nobody stopped: the next deploy ends it.
    inside("host2", "touch /run/airplanes-host.switch.zero; systemctl start zero@7201");
    let job = lab.deploy().await;
    assert_eq!((&job["state"], answer().as_str()), (&"succeeded".into(), "three"), "{job:#}\n{}", lab.world.log());
    assert_eq!(stands().0, "zero@7200.service");
    assert_eq!(inside("host2", "ls /run | grep -c airplanes-host.switch || :"), "0");
    // Who serves is never stopped by us, and nginx never switched to one that is down.
    for (verb, port) in [("retire", 7200), ("switch", 7201)] {
        let said = inside("host2", &format!("{program} {verb} zero@{port}; echo $?"));
        assert!(said.starts_with("refused ") && said.ends_with("\n10"), "{verb}: {said}");
    }

    // One that does not come up had no request, and goes.
    lab.world.commit("app", &[("version", "bad\n")]);
    let job = lab.deploy().await;
    assert_eq!((&job["state"], answer().as_str()), (&"rolled-back".into(), "three"), "{job:#}\n{}", lab.world.log());
    assert!(job["hosts"][0]["error"].as_str().unwrap().contains("requests go to zero@7200"), "{job:#}");
    assert_eq!(stands(), ("zero@7200.service".into(), "127.0.0.1:7200;".into()));

    let (asked, failed) = client.end();
    assert!(failed.is_empty() && asked > 300, "{} of {asked} failed: {failed:#?}\n{}", failed.len(), lab.world.log());
}
