//! `restore`: a backup into a state folder whose daemon is stopped. Local by nature.

use std::path::PathBuf;

use clap::Args;

use super::Globals;
use super::address::state_folder;
use super::error::CliError;
use super::exit::Exit;
use super::output::say;
use crate::store::{self, BackupError, Contents};

/// `restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The backup, as `airplanes backup` wrote it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The state folder, if not the one that the config file names.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Where there is a store already, keep it aside and put this one in its place.
    #[arg(long)]
    replace: bool,
    /// Check the backup, say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn restore(globals: &Globals, args: &RestoreArgs) -> Result<Exit, CliError> {
    let state = match &args.state {
        Some(state) => state.clone(),
        None => state_folder(&globals.config).map_err(|why| {
            let hint = "give --state DIR, or --config for the daemon's config.edn";
            CliError::usage(format!("which state folder is meant is not known: {why}"), hint)
        })?,
    };
    let done = store::restore(&args.file, &state, args.replace || args.dry_run, args.dry_run);
    let done = done.map_err(|error| told(&error))?;
    say(&format!("{}: {}", args.file.display(), describe(&done.contents)));
    let (store, would) = (done.store.display(), args.dry_run);
    say(&match (&done.aside, done.had_store) {
        (Some(aside), _) => format!("restored to {store}; the store that was there is kept as {}", aside.display()),
        (None, true) if would && args.replace => format!("it would go to {store}; the store there would be kept aside"),
        (None, true) if would => format!("there is a store in {store}: it would be kept aside, with --replace"),
        _ if would => format!("it would go to {store}, where there is none"),
        _ => format!("restored to {store}"),
    });
    if done.contents.token && done.keeps_token {
        say("the operator's token that is there stays");
    }
    if !would {
        say("start the daemon: it goes on with the jobs that were under way");
    }
    Ok(Exit::Done)
}

fn told(error: &BackupError) -> CliError {
    let message = error.to_string();
    match error {
        BackupError::NotEmpty { .. } => CliError::Refused {
            message,
            hint: Some(
                "--replace keeps that store aside and puts this one in its place; --dry-run only looks".to_owned(),
            ),
        },
        BackupError::InUse { .. } => {
            CliError::Refused { message, hint: Some("systemctl stop airplanes, or end `airplanes serve`".to_owned()) }
        }
        _ => CliError::Other { message, hint: None },
    }
}

/// What is in a backup, in a line.
pub(super) fn describe(contents: &Contents) -> String {
    let Contents { about, ended, open, deliveries, rows, .. } = contents;
    let logs = match contents.logs {
        0 if about.logs => "no logs".to_owned(),
        0 => "without logs".to_owned(),
        logs => format!("{logs} logs of {} bytes", contents.log_bytes),
    };
    format!(
        "the state at {}, by airplanes {}: {ended} jobs that have ended, {open} under way, {deliveries} deliveries, \
         {rows} rows in all, {logs}",
        about.at.strftime("%F %T UTC"),
        about.daemon,
    )
}
