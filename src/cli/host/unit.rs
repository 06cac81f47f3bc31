//! `host unit`: a unit of a host, started and stopped by hand.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::login::Login;
use crate::cli::Globals;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output::{Paint, plain, print, say};
use crate::host::setup::UnitVerb;
use crate::model::{App, UnitName};

const LIMIT: Duration = Duration::from_secs(180);
/// How many of its last lines a status shows.
const LINES: u32 = 20;

/// `host unit`.
#[derive(Debug, Clone, Args)]
pub struct UnitArgs {
    /// What to do.
    #[arg(value_enum)]
    verb: Verb,
    /// A name of :hosts.
    #[arg(value_name = "HOST")]
    host: String,
    /// The unit, without `.service`.
    #[arg(value_name = "UNIT", value_parser = |text: &str| UnitName::new(text))]
    unit: UnitName,
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verb {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Have it read its configuration again.
    Reload,
    /// Stop and start it.
    Restart,
    /// Show how it is, with its last lines.
    Status,
    /// Have it start with the system.
    Enable,
}

pub(super) async fn unit(globals: &Globals, args: UnitArgs) -> Result<Exit, CliError> {
    let login = Login::new(globals)?;
    let host = login.host(&args.host)?;
    let (unit, paint) = (&args.unit, Paint::stderr(globals.color));
    let verb = match args.verb {
        Verb::Start => UnitVerb::Start,
        Verb::Stop => UnitVerb::Stop,
        Verb::Reload => UnitVerb::Reload,
        Verb::Restart => UnitVerb::Restart,
        Verb::Enable => UnitVerb::Enable,
        Verb::Status => {
            let (state, lines) = login.on(&host, LIMIT, async |remote| remote.unit_status(unit, LINES).await).await?;
            let text: String = lines.iter().map(|line| format!("{}\n", plain(line))).collect();
            print(&text)?;
            return Ok(if state.is_some_and(|state| state.is_active()) { Exit::Done } else { Exit::Error });
        }
    };
    // Nobody restarts in the middle of a rollout's turn, or under the hands of a person.
    let is_its = |name: &UnitName| {
        name == unit || unit.as_str().strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('@'))
    };
    let is_there = |app: &&App| app.hosts.iter().any(|other| other.name == host.name);
    let mut apps = login.loaded.apps.values().filter(is_there);
    let app = apps.find(|app| app.service.as_ref().is_some_and(|service| is_its(&service.name)));
    let _alone = match app {
        Some(app) => login.lock(app, &host, format!("airplanes host unit {} {unit}", verb.as_str())).await?,
        None => None,
    };
    let state = login.on(&host, LIMIT, async |remote| remote.act_on_unit(verb, unit).await).await?;
    let now = state.map_or("not known".to_owned(), |state| format!("{} ({})", state.active_state, state.sub_state));
    say(&format!("{}: {unit} is {}", host.name, paint.bold(&now)));
    Ok(Exit::Done)
}
