//! `host lock`: an app's folder on a host kept for a person, until they end it.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::cli::Globals;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::keys::load;
use crate::cli::output::{plain, say};
use crate::host::Error;
use crate::host::lock::{Holder, lock};
use crate::ssh::{Hosts, Settings};

/// `host lock`.
#[derive(Debug, Clone, Args)]
pub struct LockArgs {
    /// The host, as :hosts names it.
    #[arg(value_name = "HOST")]
    host: String,
    /// The app, as deploy.edn names it.
    #[arg(value_name = "APP")]
    app: String,
    /// Why, for whoever is refused meanwhile.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) async fn hold(globals: &Globals, args: LockArgs) -> Result<Exit, CliError> {
    let path = std::path::absolute(&globals.config).map_err(|e| CliError::io("there is no current folder", &e))?;
    let loaded = load(globals, &path)?;
    let app = loaded.apps.values().find(|app| app.name.as_str() == args.app);
    let app =
        app.ok_or_else(|| CliError::usage(format!("there is no app {}", args.app), "`airplanes check` lists them"))?;
    let host = app.hosts.iter().find(|host| host.name.as_str() == args.host);
    let names: Vec<&str> = app.hosts.iter().map(|host| host.name.as_str()).collect();
    let host = host.ok_or_else(|| {
        CliError::usage(format!("{} is not on {}", app.name, args.host), format!("it is on {}", names.join(", ")))
    })?;
    let Some(folder) = app.folder_on(host) else {
        return Err(CliError::usage(format!("{} has no :working-directory", app.name), "give it one"));
    };
    let ssh = &loaded.config.ssh;
    let settings =
        Settings { identity: ssh.identity.clone(), known_hosts: ssh.known_hosts.clone(), ..Settings::default() };
    let hosts = Hosts::new(settings).map_err(|e| CliError::other(e.to_string()))?;
    let who = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "somebody".to_owned());
    let machine = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    let who = format!("{who} on {}", machine.trim());
    let id = format!("person:{}", std::process::id());
    let holder = Holder { id, who, since: Timestamp::now(), why: args.reason };
    let cancel = CancellationToken::new();
    let held = lock(&hosts, host, &folder, &holder, &cancel).await.map_err(|error| match error {
        Error::Locked { .. } => CliError::Refused { message: error.to_string(), hint: None },
        error => CliError::other(error.to_string()),
    })?;
    let Some(mut held) = held else {
        return Err(CliError::other(format!("{folder} is not there yet on {}, or it has no flock", host.name)));
    };
    say(&format!("{} on {} is yours; Ctrl-C lets go of it", plain(&folder), host.name));
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {
            held.free().await;
            Ok(Exit::Done)
        }
        () = held.lost() => Err(CliError::other(format!("the lock was lost: the connection to {} is gone", host.name))),
    }
}
