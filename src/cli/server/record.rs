//! What a new server is recorded in: known_hosts, by the key that it was given, and `:hosts` of config.edn.

use std::path::{Path, PathBuf};

use crate::cli::Globals;
use crate::cli::error::CliError;
use crate::cli::host::Place;
use crate::cli::keys::{KNOWN_HOSTS, add_to_config};
use crate::cli::output::{Paint, say};
use crate::config::{self, Addition, Key, Loaded};
use crate::git::known_hosts::{HostKey, KnownHosts};
use crate::model::server::ServerView;
use crate::watch::FsSource;

/// The port of a new server's sshd.
const PORT: u16 = 22;

/// Records a server that is ready. Where the daemon's config.edn is elsewhere, it is said what to add to it.
pub(super) fn record(globals: &Globals, view: &ServerView, paint: Paint) -> Result<(), CliError> {
    let (Some(address), Some(public)) = (&view.address, &view.host_key) else { return Ok(()) };
    let line = format!("{address} {public}");
    let Some((_, key)) = HostKey::of_line(&line) else {
        return Err(CliError::other(format!("the daemon told a host key that is none: {public}")));
    };
    let hosts: &[&str] = &["hosts", view.name.as_str()];
    let addition = |path, key, value| Addition { path, key: Key::Keyword(key), value };
    let mut additions = vec![addition(hosts, "address", address.as_str()), addition(hosts, "user", view.user.as_str())];
    let Some((path, loaded)) = here(globals)? else {
        let words = format!(":hosts {{:{} {{:address \"{address}\" :user \"{}\"}}}}", view.name, view.user);
        say(&format!("{} {words}", paint.cyan("add to config.edn:")));
        say(&format!("{} {line}", paint.cyan("add to the known_hosts file of :ssh:")));
        return Ok(());
    };
    let file = known_hosts(&path, &loaded);
    if loaded.config.ssh.known_hosts.is_none() {
        additions.push(addition(&["ssh"], "known-hosts", KNOWN_HOSTS));
    }
    let place = Place { host: address.to_string(), port: PORT, files: vec![file.clone()] };
    let on_record = read(&file)?.keys_of(&place.name());
    if !on_record.iter().all(|(_, known)| *known == key) {
        // The address was another server's once; the provider says that it is this one's now.
        place.forget()?;
    }
    place.record(std::slice::from_ref(&key))?;
    say(&format!("{} {} {} in {}", paint.green("recorded:"), address, key.fingerprint(), file.display()));
    let there = loaded.config.hosts.iter().find(|(name, _)| name.as_str() == view.name.as_str());
    if there.is_some_and(|(_, host)| host.address == *address) {
        return Ok(());
    }
    if let Some((_, host)) = there {
        // Half of an entry would be another host's.
        let (name, path) = (&view.name, path.display());
        say(&format!("still to do: :{name} of :hosts in {path} is at {}; it is at {address} now", host.address));
        return Ok(());
    }
    let (added, to_add) = add_to_config(&path, &additions, globals)?;
    added.iter().for_each(|entry| say(&format!("added to {}: {entry}", path.display())));
    to_add.iter().for_each(|entry| say(&format!("add to {} yourself: {entry}", path.display())));
    Ok(())
}

/// Forgets the keys of one that is gone: its address will be another's.
pub(super) fn forget(globals: &Globals, view: &ServerView) -> Result<(), CliError> {
    let Some((path, loaded)) = here(globals)? else { return Ok(()) };
    if let Some(address) = &view.address {
        let file = known_hosts(&path, &loaded);
        Place { host: address.to_string(), port: PORT, files: vec![file] }.forget()?;
    }
    if loaded.config.hosts.keys().any(|name| name.as_str() == view.name.as_str()) {
        say(&format!("still to do: take :{} out of :hosts in {}", view.name, path.display()));
    }
    Ok(())
}

/// The daemon's configuration, if it is on this machine.
fn here(globals: &Globals) -> Result<Option<(PathBuf, Loaded)>, CliError> {
    let path = std::path::absolute(&globals.config).map_err(|e| CliError::io("there is no current folder", &e))?;
    if !path.exists() {
        return Ok(None);
    }
    match config::load(&FsSource, &path) {
        Ok(loaded) => Ok(Some((path, loaded))),
        Err(_) => {
            let path = path.display();
            say(&format!("{path} can't be used here: `airplanes check` says why; run it as root or the daemon's user"));
            Ok(None)
        }
    }
}

fn known_hosts(path: &Path, loaded: &Loaded) -> PathBuf {
    let beside = || path.parent().unwrap_or(Path::new("/")).join(KNOWN_HOSTS);
    loaded.config.ssh.known_hosts.clone().unwrap_or_else(beside)
}

fn read(file: &Path) -> Result<KnownHosts, CliError> {
    KnownHosts::read(file).map_err(|e| CliError::io(&format!("{} can't be read", file.display()), &e))
}
