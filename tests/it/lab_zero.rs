//! Apps that are deployed without a request lost, on real hosts with nginx: from a plain unit to two instances, from one
//! commit to the next with the daemon killed on the way, to other ports, and back by itself from one that does not come up
//! or falls ill; all under a client that never stops asking. The long run: `scripts/zero-downtime`.
//!
//! Skipped unless a lab is up; see `lab`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::support::acts::given;
use super::support::lab_world::{HOSTS, LabWorld, address, inside};

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
    :health {:url "http://127.0.0.1:7200/" :stable "300ms" :timeout "60s"}}"#;

const ZERO: &str = r#":app {:git-url "{repo:app}" :working-directory "/srv/zero" :hosts [:host2] :ship :push
    :service {:name "zero" :exec-start "/usr/bin/perl /srv/zero/app.pl" :restart "no"}
    :nginx {:host "zero.example.com"} :zero-downtime {:ports [7200 7201] :drain "60s"} :rollout {:on-failure :rollback}
    :health {:url "http://127.0.0.1:{port}/" :stable "300ms" :timeout "60s"}}"#;

/// One file with its version in it. On host2 the version `ill` is so once nginx sends it requests, and answers them well.
const JAR: &str = r#"use strict; use IO::Socket::INET; my $v = 'VERSION'; open my $h, '<', '/etc/hostname' or die; my $name = <$h>;
die "it does not start" if $v eq 'bad';
select undef, undef, undef, 0.4; $SIG{CHLD} = 'IGNORE';
sub is_ill {
  return 0 unless $v =~ /^ill/ && $name =~ /host2/ && open my $f, '<', '/etc/nginx/airplanes/zero.server';
  return join('', <$f>) =~ /:$ENV{PORT};/;
}
my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$ENV{PORT}", Listen => 128, ReuseAddr => 1) or die "no port: $!";
while (1) {
  my $c = $s->accept or next;
  if (fork) { close $c; next }
  my $is_look = 0; while (my $line = <$c>) { $is_look = 1 if $line =~ /^Host: 127/i; last if $line =~ /^\r?\n$/ }
  my $said = $is_look && is_ill() ? '503 Ill' : '200 OK';
  print $c "HTTP/1.0 $said\r\nContent-Length: " . length($v) . "\r\n\r\n$v"; close $c; exit;
}
"#;

/// What is deployed of that on both hosts: the unit's and site's own, and what comes besides.
fn jar(service: &str, site: &str, more: &str) -> String {
    format!(
        r#":app {{:git-url "{{repo:app}}" :build "sed s/VERSION/$(cat version)/ app.pl >app.jar" :artifact "app.jar"
    :working-directory "/srv/zero" :hosts [:host1 :host2]
    :service {{:name "zero" :exec-start "/usr/bin/perl /srv/zero/current/app.jar" {service}}}
    :nginx {{:host "zero.example.com" {site}}} {more}}}"#
    )
}

/// With two instances at these ports.
fn jars(ports: &str, service: &str, timeout: &str, more: &str) -> String {
    let health = format!(r#":health {{:url "http://127.0.0.1:{{port}}/" :stable "300ms" :timeout "{timeout}"}}"#);
    jar(service, "", &format!(r#":zero-downtime {{:ports [{ports}] :drain "60s"}} {more} {health}"#))
}

/// So many requests may be under way: more would be nginx's own limit of connections, where a machine is too slow for them.
const AT_ONCE: u32 = 64;

/// Asks a hundred times a second, a connection each, and as often as it is answered where the machine is slower than that.
struct Client {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(u32, Vec<String>)>>,
}

impl Client {
    /// Asks these in turn.
    fn of(hosts: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ats: Vec<String> = hosts.iter().map(|host| format!("{}:80", address(host))).collect();
        let ended = stop.clone();
        let ask = move |n: u32| -> Result<(), String> {
            let path = if n.is_multiple_of(10) { "/slow" } else { "/" };
            let words = |error: std::io::Error| error.to_string();
            let mut stream = TcpStream::connect(&ats[n as usize % ats.len()]).map_err(words)?;
            stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(words)?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: zero.example.com\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).map_err(words)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map_err(words)?;
            if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(format!("{answer:?}")) }
        };
        let thread = std::thread::spawn(move || {
            let asked = std::sync::Mutex::new((0, Vec::new()));
            let begin = std::time::Instant::now();
            std::thread::scope(|scope| {
                let mut n = 0;
                while !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(10));
                    if n - asked.lock().unwrap().0 >= AT_ONCE {
                        continue;
                    }
                    n += 1;
                    let (ask, asked, since) = (&ask, &asked, begin.elapsed());
                    scope.spawn(move || {
                        let result = ask(n);
                        let ended = begin.elapsed();
                        let mut asked = asked.lock().unwrap();
                        asked.0 += 1;
                        asked.1.extend(result.err().map(|said| format!("{since:?} to {ended:?}: {said}")));
                    });
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
    answer_of("host2")
}

fn answer_of(host: &str) -> String {
    inside(host, "curl -sS -H 'Host: zero.example.com' http://127.0.0.1/ 2>&1 || :")
}

/// Its units that are not down, and where nginx sends requests.
fn stands() -> (String, String) {
    stands_on("host2")
}

fn stands_on(host: &str) -> (String, String) {
    let up = "--state=active,activating,deactivating,reloading";
    let units = &format!("systemctl list-units --plain --no-legend {up} 'zero*' | cut -d' ' -f1 | xargs");
    (inside(host, units), inside(host, "sed -n 's/^server //p' /etc/nginx/airplanes/zero.server 2>/dev/null || :"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_stops_asking_sees_no_failed_request_over_deploys_a_killed_daemon_and_a_way_back() {
    let Some(mut lab) = LabWorld::bare("zero", PLAIN).await else { return };
    lab.world.commit("app", &[("app.pl", APP), ("version", "one\n")]);
    lab.set_up("host2");
    lab.world.start().await;
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    assert_eq!(answer(), "one");

    // A program from before there were instances is told before anything is changed.
    let client = Client::of(&["host2"]);
    lab.edit(ZERO).await;
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

    // Nor has one by a unit that does not come up at the commit that runs; the unit is what it was.
    let unit = inside("host2", "cat /etc/systemd/system/zero@.service");
    lab.world.commit("app", &[("version", "three\n")]);
    let job = lab.deploy().await;
    assert_eq!((&job["state"], answer().as_str()), (&"succeeded".into(), "three"), "{job:#}\n{}", lab.world.log());
    let stood = stands();
    lab.edit(&ZERO.replace("app.pl", "no.pl")).await;
    let job = lab.deploy().await;
    assert_eq!((&job["state"], answer().as_str()), (&"rolled-back".into(), "three"), "{job:#}\n{}", lab.world.log());
    assert_eq!((stands(), inside("host2", "cat /etc/systemd/system/zero@.service")), (stood, unit));

    let (asked, failed) = client.end();
    assert!(failed.is_empty() && asked > 300, "{} of {asked} failed: {failed:#?}\n{}", failed.len(), lab.world.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_of_one_jar_are_put_back_before_a_switch_go_back_after_it_move_to_other_ports_and_are_plain_again() {
    let plain = jar(
        r#":environment {"PORT" "7200"}"#,
        ":port 7200",
        r#":health {:url "http://127.0.0.1:7200/" :stable "300ms" :timeout "60s"}"#,
    );
    let Some(mut lab) = LabWorld::bare("zero", &plain).await else { return };
    lab.world.commit("app", &[("app.pl", JAR), ("version", "one\n")]);
    lab.set_up("host2");
    lab.world.start().await;
    let job = lab.deploy().await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", lab.world.log());
    let both = |answers: &str, job: &serde_json::Value, state: &str, lab: &LabWorld| {
        assert_eq!(job["state"], state, "{job:#}\n{}", lab.world.log());
        assert_eq!(HOSTS.map(answer_of), [answers; 2], "{job:#}\n{}", lab.world.log());
    };
    let client = Client::of(&HOSTS);

    // The first switch fails on the canary, which is to be left as it is: the plain unit is as it was, as are its files.
    let is = "systemctl show -p InvocationID -p UnitFileState zero; readlink /srv/zero/current; \
              cat /etc/systemd/system/zero.service /etc/nginx/conf.d/airplanes-zero.conf; ls /etc/nginx/airplanes 2>/dev/null || :";
    let was = inside("host1", is);
    let halts = r#":rollout {:on-failure :halt}"#;
    lab.edit(&jars("7200 7201", "", "4s", halts)).await;
    lab.world.commit("app", &[("version", "bad\n")]);
    let job = lab.deploy().await;
    both("one", &job, "failed", &lab);
    let error = job["hosts"][0]["error"].as_str().unwrap();
    assert!(
        error.contains("; requests go to zero; no request was sent to the new instance, and all is back"),
        "{error}"
    );
    assert!(error.contains("it does not start"), "{error}");
    assert_eq!((&job["hosts"][0]["state"], &job["hosts"][1]["state"]), (&"rolled-back".into(), &"skipped".into()));
    assert_eq!((inside("host1", is), stands_on("host1").0), (was, "zero.service".into()), "{job:#}");

    // On the second host one falls ill once it has the requests: the plain unit has them again, as it was. The first one's
    // is gone by then, and an instance of what it ran takes its place.
    let goes_back = r#":rollout {:batches [1 "100%"]}"#;
    let was = inside("host2", is);
    lab.edit(&jars("7200 7201", "", "8s", goes_back)).await;
    lab.world.commit("app", &[("version", "ill\n")]);
    let job = lab.deploy().await;
    both("one", &job, "rolled-back", &lab);
    assert!(job["hosts"][1]["error"].as_str().unwrap().contains("requests go to zero@7201"), "{job:#}");
    assert_eq!((inside("host2", is), stands_on("host2").0), (was, "zero.service".into()), "{job:#}");
    assert_eq!(stands_on("host1").0, "zero@7200.service", "{job:#}");

    // From either to other ports, one batch after the other: nothing of what was is left, nor comes back with the host.
    lab.edit(&jars("7400 7401", r#":restart "no""#, "8s", goes_back)).await;
    lab.world.commit("app", &[("version", "two\n")]);
    let job = lab.deploy().await;
    both("two", &job, "succeeded", &lab);
    let started = "cd /etc/systemd/system/multi-user.target.wants; ls -d zero*";
    for host in HOSTS {
        assert_eq!(stands_on(host), ("zero@7400.service".into(), "127.0.0.1:7400;".into()), "{job:#}");
        assert_eq!(inside(host, started), "zero@7400.service", "{job:#}");
    }

    // One that falls ill again: the old instance has the requests again there, and the other host goes back too.
    let served = inside("host2", "systemctl show -p InvocationID zero@7400");
    lab.world.commit("app", &[("version", "ill2\n")]);
    let job = lab.deploy().await;
    both("two", &job, "rolled-back", &lab);
    assert!(job["hosts"][1]["error"].as_str().unwrap().contains("requests go to zero@7401"), "{job:#}");
    assert_eq!(inside("host2", "systemctl show -p InvocationID zero@7400"), served, "{job:#}\n{}", lab.world.log());
    assert_eq!(HOSTS.map(|host| stands_on(host).0), ["zero@7400.service"; 2], "{job:#}");

    // nginx's file is lost, and nginx goes on by what it knows: who has the requests is not stopped for it.
    inside("host2", "rm -r /etc/nginx/airplanes");
    lab.edit(&jars("7400 7401", r#":restart "no""#, "60s", halts)).await;
    lab.world.commit("app", &[("version", "three\n")]);
    let job = lab.deploy().await;
    both("three", &job, "succeeded", &lab);
    assert_eq!(HOSTS.map(|host| stands_on(host).0), ["zero@7401.service"; 2], "{job:#}");

    // One that does not come up had no request: what has them would come up again, though the rollout is to halt.
    lab.world.commit("app", &[("version", "bad\n")]);
    let job = lab.deploy().await;
    both("three", &job, "failed", &lab);
    assert_eq!(job["hosts"][0]["state"], "rolled-back", "{job:#}");
    // Nor had one whose unit is refused, and that by the daemon after the one that was killed.
    #[cfg(feature = "crash-points")]
    {
        let text = jars("7400 7401", r#":restart "no""#, "60s", halts);
        lab.edit(&text.replace("/bin/perl", "/bin/no-perl")).await;
        lab.world.commit("app", &[("version", "five\n")]);
        lab.world.kill();
        let at = r#""entry":"host-installing","host":"host1":after"#;
        lab.world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), at.to_owned())];
        lab.world.start().await;
        let id = lab.world.deploy("app").await;
        lab.world.dies().await;
        lab.world.start().await;
        lab.world.settled().await;
        let job = lab.world.ended(&id).await;
        both("three", &job, "failed", &lab);
        assert_eq!(job["hosts"][0]["state"], "rolled-back", "{job:#}");
        let error = job["hosts"][0]["error"].as_str().unwrap();
        assert!(error.contains("no-perl") && error.contains("no request was sent to the new instance"), "{error}");
        assert!(inside("host1", "cat /srv/zero/current/app.jar").contains("three"), "{job:#}");
        lab.world.commit("app", &[("version", "bad\n")]);
    }

    let (asked, failed) = client.end();
    assert!(failed.is_empty() && asked > 300, "{} of {asked} failed: {failed:#?}\n{}", failed.len(), lab.world.log());
    inside("host1", "systemctl restart zero@7401");
    lab.until("host1", "curl -sfS -o /dev/null -H 'Host: zero.example.com' http://127.0.0.1/ 2>/dev/null").await;
    assert_eq!(answer_of("host1"), "three");

    // After a migration what ran before is not to be started any more, so its files are not put back.
    lab.edit(&jars("7400 7401", r#":restart "no""#, "60s", &format!(r#"{halts} :migrate "true""#))).await;
    let job = lab.deploy().await;
    both("three", &job, "failed", &lab);
    assert_eq!(job["hosts"][0]["state"], "failed", "{job:#}");

    // A plain unit again, first at a commit that does not come up: then at the one that ran.
    lab.edit(&plain.replace("{:name", r#"{:restart "no" :name"#).replace(":health", ":rollout {} :health")).await;
    let job = lab.deploy().await;
    both("three", &job, "rolled-back", &lab);
    lab.world.commit("app", &[("version", "four\n")]);
    let job = lab.deploy().await;
    both("four", &job, "succeeded", &lab);
    for host in HOSTS {
        assert_eq!(stands_on(host), ("zero.service".into(), String::new()), "{job:#}");
        assert_eq!(inside(host, started), "zero.service", "{job:#}");
    }
}
