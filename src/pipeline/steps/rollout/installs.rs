//! What an app runs by on a host, in its turn of a rollout: unit, sites, credentials and database are put there where they
//! are missing or another, before the app is restarted. So the first deploy on a host that was set up is a deploy like any.
//!
//! Observes before it acts: a look says what is due, and a host where nothing is due is not touched.

use super::super::{StepError, Work};
use crate::host::install::{Foreign, Item, Kind, Standing, Standings, Wanted};
use crate::model::{Host, Secret};
use crate::pipeline::log::HostLog;
use crate::store::StoreError;

/// What the app wants of the host, with its secrets; none where nothing of it is ours to install.
pub(super) fn wanted(work: &Work, host: &Host) -> Result<Option<Wanted>, StepError> {
    let (secrets, rooms) = (secrets(work)?, work.rooms());
    Wanted::of(&work.job.app, host, &rooms.templates, Some(&secrets), Foreign::Keep)
        .map(|wanted| wanted.map(|wanted| wanted.for_job(work.job.id)))
        .map_err(|error| StepError::failed(error.to_string()))
}

/// What its `:migrate` wants there, which runs in `folder`; none where the app's unit is not ours.
pub(super) fn for_migration(
    work: &Work,
    host: &Host,
    (folder, command): (&str, &str),
) -> Result<Option<Wanted>, StepError> {
    let (secrets, rooms) = (secrets(work)?, work.rooms());
    Wanted::for_migration(&work.job.app, host, &rooms.templates, &secrets, (folder, command))
        .map(|wanted| wanted.map(|wanted| wanted.for_job(work.job.id)))
        .map_err(|error| StepError::failed(error.to_string()))
}

/// The secrets that the app's unit gets.
fn secrets(work: &Work) -> Result<Vec<(String, Secret)>, StepError> {
    let app = &work.job.app;
    let mut secrets = Vec::new();
    for name in app.service.iter().filter(|service| service.exec_start.is_some()).flat_map(|service| &service.secrets) {
        let set = format!("`airplanes secret set {} {name}`, then deploy it", app.name);
        let secret = match work.inner.store.secret(&app.name, name) {
            Ok(secret) => secret.ok_or_else(|| format!("the secret {name} of {} is not set; {set}", app.name)),
            // It will be no other in a second.
            Err(StoreError::Sealing { why }) => Err(format!("{why}: {set}")),
            Err(error) => return Err(error.into()),
        };
        secrets.push((name.to_string(), secret.map_err(StepError::failed)?));
    }
    Ok(secrets)
}

/// Tells what a look has found.
pub(super) fn tell(log: &HostLog, seen: &Standings) {
    for item in &seen.items {
        match item.standing {
            Standing::Foreign => log.line(&format!(
                "{} was not made by airplanes and stays; `airplanes host install --replace` takes it over",
                item.name
            )),
            Standing::New | Standing::Differs => log.line(&format!("installing {}", of(item))),
            Standing::Same | Standing::Absent => {}
        }
    }
    for left in &seen.left {
        log.line(left.words());
    }
    if seen.stale {
        log.line("what runs was started before what it runs by was put there");
    }
}

fn of(item: &Item) -> String {
    match item.kind {
        Kind::Unit | Kind::Site | Kind::Http | Kind::Upstream => item.name.clone(),
        kind => format!("the {} {}", kind.as_str(), item.name),
    }
}
