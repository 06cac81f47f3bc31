//! `backup`: the daemon's state, streamed into a file that appears only once it is whole.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{print_bytes, say};
use super::restore::describe;
use crate::{files, store};

/// `backup`.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// The file to write, replaced if it is there; `-` for standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Without the jobs' logs, which are most of it.
    #[arg(long)]
    no_logs: bool,
}

pub(super) async fn backup(client: &Client, args: BackupArgs) -> Result<Exit, CliError> {
    let stdout = args.file == Path::new("-");
    if stdout && io::stdout().is_terminal() {
        return Err(CliError::usage("a backup is nothing for a terminal", "name a file, or send it into a pipe"));
    }
    // It would be put in the place of a device or a pipe, not written into it.
    if !stdout && std::fs::metadata(&args.file).is_ok_and(|file| !file.is_file()) {
        let what = format!("{} is there, and is no plain file", args.file.display());
        return Err(CliError::usage(what, "name a new file, or one to replace; `-` writes to standard output"));
    }
    let mut response = client.backup(!args.no_logs).await?;
    if stdout {
        while let Some(chunk) = response.chunk().await.map_err(|e| client.broken(&e))? {
            if !print_bytes(&chunk)? {
                return Err(CliError::other("whoever reads standard output went away: there is no whole backup"));
            }
        }
        return Ok(Exit::Done);
    }
    // Of a name of its own: another backup to the same file may be under way. It goes when it is let go of.
    let folder = files::folder_of(&args.file);
    let part = tempfile::Builder::new().prefix("airplanes-backup-").suffix(".part").tempfile_in(folder);
    let part = part.map_err(|e| CliError::io(&format!("{} can't be written", folder.display()), &e))?;
    let fault = |e: &io::Error| CliError::io(&format!("{} can't be written", part.path().display()), e);
    while let Some(chunk) = response.chunk().await.map_err(|e| client.broken(&e))? {
        part.as_file().write_all(&chunk).map_err(|e| fault(&e))?;
    }
    let contents = store::inspect(part.path()).map_err(|e| CliError::other(e.to_string()))?;
    files::put(part.as_file(), part.path(), &args.file).map_err(|e| fault(&e))?;
    say(&format!("{}: {}", args.file.display(), describe(&contents)));
    say("config.edn, deploy.edn and the keys they name are not in it: keep them beside it");
    Ok(Exit::Done)
}
