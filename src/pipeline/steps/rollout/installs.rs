//! What an app runs by on a host, in its turn of a rollout: unit, sites, credentials and database are put there where they
//! are missing or another, before the app is restarted. So the first deploy on a host that was set up is a deploy like any.
//!
//! Observes before it acts: a look says what is due, and a host where nothing is due is not touched.

use super::super::{StepError, Work};
use crate::host::install::{Foreign, Item, Kind, Standing, Standings, Wanted};
use crate::model::Host;
use crate::pipeline::log::HostLog;

/// What the app wants of the host, with its secrets; none where nothing of it is ours to install.
pub(super) fn wanted(work: &Work, host: &Host) -> Result<Option<Wanted>, StepError> {
    let app = &work.job.app;
    let mut secrets = Vec::new();
    for name in app.service.iter().filter(|service| service.exec_start.is_some()).flat_map(|service| &service.secrets) {
        let Some(secret) = work.inner.store.secret(&app.name, name)? else {
            let app = &app.name;
            let words =
                format!("the secret {name} of {app} is not set; `airplanes secret set {app} {name}`, then deploy it");
            return Err(StepError::failed(words));
        };
        secrets.push((name.to_string(), secret));
    }
    let rooms = work.rooms();
    Wanted::of(app, host, &rooms.templates, Some(&secrets), Foreign::Keep)
        .map_err(|error| StepError::failed(error.to_string()))
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
