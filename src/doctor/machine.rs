//! This machine and the daemon on it: configuration, store, port, disk. Nothing here asks anyone.

use std::net::TcpListener;
use std::path::Path;

use super::{Patient, ports};
use crate::model::Check;
use crate::model::upkeep::Bytes;

const GROUP: &str = "machine";

/// All of them.
pub(super) fn checks(patient: &Patient) -> Vec<Check> {
    let mut checks = vec![configuration(patient)];
    checks.extend(store(patient));
    checks.push(port(patient));
    checks.push(disk(patient));
    checks
}

fn configuration(patient: &Patient) -> Check {
    let name = "configuration";
    let file = patient.config.display();
    let mend = format!("airplanes check --config {file}");
    if let Some(fault) = patient.alive.as_ref().and_then(|alive| alive.config_fault.as_deref()) {
        let first = fault.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        return Check::failed(GROUP, name, format!("the last edit is not in force: {first}"), mend);
    }
    let loaded = &patient.loaded;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let said = format!("{file}: {}, checked as {}", count(loaded.apps.len(), "app"), patient.user);
    match loaded.warnings.findings().next() {
        Some(warning) => Check::warning(GROUP, name, format!("{said}; {}", warning.message), mend),
        None => Check::ok(GROUP, name, said),
    }
}

/// Only the daemon can open it.
fn store(patient: &Patient) -> Option<Check> {
    let alive = patient.alive.as_ref()?;
    Some(match alive.store.fault() {
        None => Check::ok(GROUP, "store", format!("takes writes in {}", patient.loaded.config.state.display())),
        Some(fault) => {
            let said = format!("takes no writes since {}: {}", fault.since.strftime("%Y-%m-%d %H:%M:%SZ"), fault.why);
            let mend = format!("df -h {}", patient.loaded.config.state.display());
            Check::failed(GROUP, "store", said, mend)
        }
    })
}

fn port(patient: &Patient) -> Check {
    let (name, listen) = ("port", patient.loaded.config.listen);
    if let Some(alive) = &patient.alive {
        return match alive.address {
            Some(address) if listen.port() != 0 && address != listen => {
                let said = format!("the daemon listens on {address}, and :listen is {listen} now");
                Check::warning(GROUP, name, said, "systemctl restart airplanes")
            }
            Some(address) => Check::ok(GROUP, name, format!("the daemon listens on {address}")),
            None => Check::skipped(GROUP, name, "where the daemon listens is not known"),
        };
    }
    match TcpListener::bind(listen) {
        Ok(_) => Check::ok(GROUP, name, format!("{listen} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let by = ports::owner(listen.port()).unwrap_or_else(|| "a process that is not yours".to_owned());
            let said = format!("{listen} is in use by {by}, so no daemon can listen there");
            Check::failed(GROUP, name, said, format!("ss -ltnp 'sport = :{}'", listen.port()))
        }
        Err(error) => {
            let said = format!("{} can't listen on {listen}: {error}", patient.user);
            Check::failed(GROUP, name, said, format!("correct :listen in {}", patient.config.display()))
        }
    }
}

fn disk(patient: &Patient) -> Check {
    let config = &patient.loaded.config;
    // A state folder that is not there yet will be on the disk of its parent.
    let place = config.state.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let stat = match nix::sys::statvfs::statvfs(place) {
        Ok(stat) => stat,
        Err(error) => {
            let said = format!("{}: {}", place.display(), error.desc());
            return Check::failed(GROUP, "disk", said, format!("ls -ld {}", place.display()));
        }
    };
    // The block counts are of other widths on other machines.
    #[allow(clippy::useless_conversion, reason = "they are u64 on this one")]
    let free = u64::from(stat.blocks_available()).saturating_mul(stat.fragment_size());
    let said = format!("{} free in {}, :min-free is {}", Bytes(free), place.display(), Bytes(config.min_free));
    if free < config.min_free {
        let said = format!("{said}: no build begins until there is room");
        return Check::failed(GROUP, "disk", said, "airplanes gc   (and where the rest is: du -xh / | sort -h | tail)");
    }
    match stat.files_available() {
        // A file system without a fixed number of inodes says 0 of 0.
        0 if stat.files() > 0 => {
            let mend = format!("du -x --inodes {} | sort -n | tail", place.display());
            Check::failed(GROUP, "disk", format!("{} has no inodes left", place.display()), mend)
        }
        _ => Check::ok(GROUP, "disk", said),
    }
}
