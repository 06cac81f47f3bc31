//! The hosts: the login, and what a rollout of each app would meet there. One fresh connection a host, as a daemon
//! that has just started would make it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use super::{CHECK, Patient, clock, too_slow};
use crate::host::{self, Folder, HostFacts, Readiness, Remote, unit_of};
use crate::model::rollout::Ship;
use crate::model::{App, Check, Host};
use crate::ssh::{self, Cause, Hosts};

/// One task a host. `all`: also the hosts of config.edn that no app has.
pub(super) fn tasks(patient: &Arc<Patient>, apps: &[App], all: bool) -> Vec<BoxFuture<'static, Vec<Check>>> {
    let mut hosts: Vec<Host> = apps.iter().flat_map(|app| app.hosts.clone()).collect();
    if all {
        hosts.extend(patient.loaded.config.hosts.values().cloned());
    }
    hosts.sort_by(|one, other| one.name.cmp(&other.name));
    hosts.dedup();
    let pool = match Hosts::new(patient.hosts.clone()) {
        Ok(pool) => pool,
        Err(error) => {
            let failed = Check::failed("hosts", "ssh", error.to_string(), "df -h /tmp; ls -ld /tmp");
            return vec![Box::pin(std::future::ready(vec![failed]))];
        }
    };
    let on = |host: &Host| apps.iter().filter(|app| app.hosts.contains(host)).cloned().collect();
    let task = |host: Host| -> BoxFuture<'static, Vec<Check>> {
        let apps: Vec<App> = on(&host);
        Box::pin(examine(patient.clone(), pool.clone(), host, apps))
    };
    hosts.into_iter().map(task).collect()
}

async fn examine(patient: Arc<Patient>, pool: Hosts, host: Host, apps: Vec<App>) -> Vec<Check> {
    let group = format!("host {}", host.name);
    let began = Instant::now();
    let mut silent = |_: &[u8]| ();
    let mut remote = Remote { hosts: &pool, host: &host, timeout: CHECK, cancel: &patient.stop, log: &mut silent };
    let facts = match tokio::time::timeout(CHECK, remote.facts()).await {
        Err(_) => return vec![too_slow(group, "ssh", CHECK)],
        Ok(Err(error)) => {
            let mend = mend(&patient, &host, &error);
            return vec![Check::failed(group, "ssh", error.to_string(), mend)];
        }
        Ok(Ok(facts)) => facts,
    };
    let took = began.elapsed();
    let mut checks = vec![Check::ok(&group, "ssh", format!("logged in as {} in {}", facts.user, millis(took)))];
    checks.extend(time(&group, &facts));
    if apps.iter().any(|app| app.rollout.ship.artifact().is_none()) {
        checks.push(git(&group, &facts));
    }
    for app in &apps {
        let Some(folder) = app.folder_on(&host) else { continue };
        let (unit, health) = (unit_of(app), app.health_on(&host));
        let looked = tokio::time::timeout(CHECK, remote.readiness(&folder, unit.as_ref(), health.as_deref())).await;
        match looked {
            Err(_) => checks.push(too_slow(&group, format!("{} folder", app.name), CHECK)),
            Ok(Err(error)) => {
                let mend = mend(&patient, &host, &error);
                checks.push(Check::failed(&group, format!("{} folder", app.name), error.to_string(), mend));
            }
            Ok(Ok(ready)) => checks.extend(judge(&group, &host, &facts, app, &folder, &ready)),
        }
        let name = format!("{} fetch", app.name);
        match &app.rollout.ship {
            Ship::Artifact(artifact) => {
                checks.push(Check::ok(&group, name, format!("the host is sent {} (:artifact)", artifact.path)));
                continue;
            }
            _ if facts.git.is_none() => continue,
            Ship::Push => {
                checks.push(Check::ok(&group, name, "the host is sent what it lacks (:ship :push)"));
                continue;
            }
            Ship::Pull => {}
        }
        let reached = tokio::time::timeout(CHECK, remote.reach(&folder, &app.git_url, app.branch.as_ref())).await;
        checks.push(match reached {
            Err(_) => too_slow(&group, name, CHECK),
            Ok(Err(error)) => Check::failed(&group, name, error.to_string(), mend(&patient, &host, &error)),
            Ok(Ok(Ok(()))) => Check::ok(&group, name, format!("the host itself can fetch {}", app.git_url)),
            Ok(Ok(Err(said))) => {
                let said = format!("the host itself can't fetch {}: {said}", app.git_url);
                let mend = format!(
                    "give {} there a read-only deploy key, then: {} git ls-remote {}",
                    facts.user,
                    shell(&host),
                    app.git_url
                );
                Check::failed(&group, name, said, mend)
            }
        });
    }
    checks
}

fn time(group: &str, facts: &HostFacts) -> Option<Check> {
    // It told the second, and half of the way back has passed: close enough for what counts as wrong.
    let theirs = Timestamp::from_second(facts.now?).ok()? + SignedDuration::from_millis(500);
    Some(clock::judge(group, "clock", Timestamp::now(), theirs, "the host"))
}

fn git(group: &str, facts: &HostFacts) -> Check {
    match &facts.git {
        Some(version) => Check::ok(group, "git", version.clone()),
        None => Check::failed(group, "git", "there is no git", "apt-get install git   (there)"),
    }
}

fn judge(group: &str, host: &Host, facts: &HostFacts, app: &App, folder: &str, ready: &Readiness) -> Vec<Check> {
    let mut checks = vec![working_directory(group, host, facts, app, folder, ready)];
    if let Some(unit) = unit_of(app) {
        checks.extend(units(group, host, facts, app, unit.as_str(), ready));
    } else if let Some(command) = &app.restart {
        let said = format!("by its own command, which is not tried: {command}");
        checks.push(Check::skipped(group, format!("{} restart", app.name), said));
    }
    if let Some(health) = app.health_on(host) {
        let name = format!("{} health", app.name);
        checks.push(match ready.asks.as_deref() {
            Some("bash") if !health.starts_with("http://") => {
                Check::failed(group, name, format!("nothing there can ask {health}"), "apt-get install curl   (there)")
            }
            Some(tool) => Check::ok(group, name, format!("{tool} can ask {health}")),
            None => {
                Check::failed(group, name, format!("nothing there can ask {health}"), "apt-get install curl   (there)")
            }
        });
    }
    checks
}

fn working_directory(group: &str, host: &Host, facts: &HostFacts, app: &App, folder: &str, ready: &Readiness) -> Check {
    let (name, user) = (format!("{} folder", app.name), &facts.user);
    let root = |command: String| format!("{} sudo {command}", shell(host));
    match &ready.folder {
        Folder::Absent | Folder::AbsentIn(_) if !ready.writable => {
            let said = format!("{folder} is not there, and {user} may not make it");
            Check::failed(group, name, said, root(format!("install -d -o {user} {folder}")))
        }
        Folder::Absent | Folder::AbsentIn(_) => {
            Check::ok(group, name, format!("{folder} is not there yet: the first rollout makes it"))
        }
        Folder::Clone | Folder::ReadOnlyClone | Folder::Refused(_) if app.rollout.ship.artifact().is_some() => {
            let said = format!("{folder} is a clone, and can't take the releases of an :artifact");
            Check::failed(group, name, said, root(format!("mv {folder} {folder}.old")))
        }
        Folder::Releases if app.rollout.ship.artifact().is_none() => {
            let said = format!("{folder} is no clone: it holds the releases of an :artifact");
            Check::failed(group, name, said, root(format!("mv {folder} {folder}.old")))
        }
        Folder::Other(what) if app.rollout.ship.artifact().is_none() || *what == "it is a file" => {
            let said = format!("{folder} is no clone: {what}");
            Check::failed(group, name, said, root(format!("mv {folder} {folder}.old")))
        }
        Folder::Refused(said) => {
            let said = format!("git there does not touch {folder}: {said}");
            Check::failed(group, name, said, root(format!("chown -R {user} {folder}")))
        }
        Folder::ReadOnlyClone => {
            let said = format!("{user} may not write {folder}/.git");
            Check::failed(group, name, said, root(format!("chown -R {user} {folder}")))
        }
        _ if !ready.writable => {
            let said = format!("{user} may not write {folder}");
            Check::failed(group, name, said, root(format!("chown -R {user} {folder}")))
        }
        Folder::Empty => Check::ok(group, name, format!("{folder} is empty: the first rollout fills it")),
        // Releases stand beside what else is there.
        Folder::Other(_) => Check::ok(group, name, format!("{folder} is writable for {user}")),
        Folder::Releases => {
            let at = ready.head.map_or_else(|| "no release".to_owned(), |head| head.short());
            Check::ok(group, name, format!("{folder} is at release {at}, writable for {user}"))
        }
        Folder::Clone if !ready.changed.is_empty() => {
            let shown = ready.changed.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
            let said = format!("{folder} has changes that are not committed ({shown}): a rollout leaves it alone");
            Check::failed(group, name, said, format!("{} git -C {folder} status", shell(host)))
        }
        Folder::Clone => {
            let at = ready.head.map_or_else(|| "no commit".to_owned(), |head| head.short());
            Check::ok(group, name, format!("{folder} is a clone at {at}, writable for {user}"))
        }
    }
}

fn units(group: &str, host: &Host, facts: &HostFacts, app: &App, unit: &str, ready: &Readiness) -> Vec<Check> {
    let (unit_name, sudo_name) = (format!("{} unit", app.name), format!("{} sudo", app.name));
    if !ready.has_systemd {
        let mend = format!("give {} a :restart command in deploy.edn", app.name);
        return vec![Check::failed(group, unit_name, "there is no systemd", mend)];
    }
    let unit_check = match &ready.unit {
        Some(state) if state.is_missing() => {
            let mend = format!(
                "write /etc/systemd/system/{unit}.service there, then: {} sudo systemctl daemon-reload",
                shell(host)
            );
            Check::failed(group, unit_name, format!("there is no unit {unit}"), mend)
        }
        Some(state) if state.active_state == "failed" => {
            let mend = format!("{} journalctl -u {unit} -n 50", shell(host));
            Check::warning(group, unit_name, format!("{unit} has failed"), mend)
        }
        Some(state) => Check::ok(group, unit_name, format!("{unit} is {}", state.active_state)),
        None => Check::failed(
            group,
            unit_name,
            "systemd there does not answer",
            format!("{} systemctl show {unit}", shell(host)),
        ),
    };
    let sudo_check = match &ready.sudo {
        Some(Ok(())) => Check::ok(group, sudo_name, format!("{} may restart {unit} without a password", facts.user)),
        Some(Err(said)) => {
            let rule = format!("{} ALL=(root) NOPASSWD: /usr/bin/systemctl restart {unit}", facts.user);
            let said = format!("{} may not restart {unit} without a password: {said}", facts.user);
            Check::failed(group, sudo_name, said, format!("add to /etc/sudoers.d/airplanes there: {rule}"))
        }
        None => Check::skipped(group, sudo_name, "not told"),
    };
    vec![unit_check, sudo_check]
}

/// What mends a host that can't be spoken to.
fn mend(patient: &Patient, host: &Host, error: &host::Error) -> String {
    let host::Error::Ssh(error) = error else { return format!("{} true", shell(host)) };
    match error {
        ssh::Error::Unreachable { cause, .. } => match cause {
            Cause::HostKeyUnknown => format!("airplanes host trust {}", host.name),
            Cause::HostKeyChanged => {
                format!("only if the host was installed anew: airplanes host trust {} --replace", host.name)
            }
            Cause::Auth => {
                let key = patient
                    .hosts
                    .identity
                    .as_ref()
                    .map_or_else(|| "~/.ssh/id_ed25519".to_owned(), |key| key.display().to_string());
                format!("ssh-copy-id -i {key}.pub -p {} {}@{}", host.port, host.user, host.address)
            }
            Cause::NoSuchName => format!("correct :address of {} in :hosts: getent hosts {}", host.name, host.address),
            _ => format!("see that it is up, with its port and firewall: {} true", shell(host)),
        },
        ssh::Error::NoClient(_) => "apt-get install openssh-client".to_owned(),
        ssh::Error::BadHost { .. } => format!("correct {} in :hosts of {}", host.name, patient.config.display()),
        _ => format!("{} true", shell(host)),
    }
}

/// The command that begins a shell there.
fn shell(host: &Host) -> String {
    let port = if host.port == 22 { String::new() } else { format!("-p {} ", host.port) };
    format!("ssh {port}{}@{}", host.user, host.address)
}

fn millis(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}
