//! `host lock`: an app's folder on a host kept for a person, until they end it.

use clap::Args;

use super::login::Login;
use crate::cli::Globals;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{plain, say};

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
    let login = Login::new(globals)?;
    let app = login.loaded.apps.values().find(|app| app.name.as_str() == args.app);
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
    let Some(mut held) = login.lock(app, host, args.reason).await? else {
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
