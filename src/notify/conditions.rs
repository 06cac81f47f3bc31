//! How the daemon itself is: its disk, its store, its configuration, its parked jobs, and the forges that call it.
//! Each is looked at now and again; what is told is a matter of what was told before.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::hearing::{Call, Hearing, WINDOW};
use crate::config::Config;
use crate::model::upkeep::{Bytes, DiskView};
use crate::model::{Delivery, Forge, Happening, Outcome, Topic};
use crate::store::{Store, StoreError};

/// What a condition is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Now {
    Well,
    Trouble(Words),
}

/// What is said of a trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub title: String,
    pub detail: String,
    pub next: String,
}

/// What happened when a condition turns.
pub(super) fn happening(topic: &Topic, trouble: bool) -> Happening {
    match (topic, trouble) {
        (Topic::App(_), true) => Happening::AppFailed,
        (Topic::App(_), false) => Happening::AppRecovered,
        (Topic::Job(_), true) => Happening::JobParked,
        (Topic::Job(_), false) => Happening::JobReleased,
        (Topic::Disk, true) => Happening::DiskLow,
        (Topic::Disk, false) => Happening::DiskWell,
        (Topic::Store, true) => Happening::StoreFault,
        (Topic::Store, false) => Happening::StoreWell,
        (Topic::Webhooks(_), true) => Happening::WebhooksSilent,
        (Topic::Webhooks(_), false) => Happening::WebhooksBack,
        (Topic::Config, true) => Happening::ConfigRefused,
        (Topic::Config, false) => Happening::ConfigWell,
    }
}

/// What is said when a trouble is over.
pub(super) fn over(topic: &Topic) -> (String, String) {
    let nothing = "nothing is left to be done".to_owned();
    match topic {
        Topic::App(name) => (format!("{name} recovered"), nothing),
        Topic::Job(id) => (format!("job {id} no longer holds its app"), nothing),
        Topic::Disk => ("there is room on the disk again".to_owned(), "builds start again by themselves".to_owned()),
        Topic::Store => ("the store takes writes again".to_owned(), "jobs go on by themselves; forges that had no 202 meanwhile may not call again: redeliver at the forge, or `airplanes deploy APP`".to_owned()),
        Topic::Webhooks(forge) => (format!("{} sends webhooks again", forge.as_str()), "`airplanes deliveries` shows them; what was pushed meanwhile may be missing: `airplanes deploy APP`".to_owned()),
        Topic::Config => ("the configuration on disk is in force".to_owned(), nothing),
    }
}

/// Whether there is room. Below `:min-free` the disk is low, until a tenth more than that is free.
pub(super) fn disk(disk: &DiskView, was_low: bool) -> Now {
    let enough = if was_low { disk.min_free.saturating_add(disk.min_free / 10) } else { disk.min_free };
    if disk.free >= enough {
        return Now::Well;
    }
    let (free, min_free) = (Bytes(disk.free), Bytes(disk.min_free));
    Now::Trouble(Words {
        title: format!("the disk is nearly full: {free} free"),
        detail: format!("{} is on a disk with {free} free, and :disk {{:min-free}} is {min_free}", disk.path),
        next: "`airplanes gc` removes what is not needed; then free space there, or give it more. Builds wait \
               meanwhile, webhooks are still taken"
            .to_owned(),
    })
}

/// Jobs whose journals can't be read.
pub(super) fn parked(store: &Store) -> BTreeMap<Topic, Words> {
    let jobs = store.open_jobs().into_iter().filter(|job| job.outcome() == Some(Outcome::Parked));
    let words = jobs.map(|job| {
        let (id, app) = (job.id, &job.app.name);
        let why = job.ended.as_ref().map(|(_, _, why)| why.clone()).unwrap_or_default();
        let words = Words {
            title: format!("a job of {app} is parked: its journal can't be read"),
            detail: format!("job {id}: {why}"),
            next: format!("look at what {app} runs on its hosts, then `airplanes cancel {id}` lets it go on"),
        };
        (Topic::Job(id), words)
    });
    words.collect()
}

/// A fault that has to stand for a while before it is told.
#[derive(Debug, Default)]
pub(super) struct Standing {
    since: Option<Instant>,
}

impl Standing {
    /// Whether it has stood for `long`.
    pub fn has_stood(&mut self, is_there: bool, long: Duration, now: Instant) -> bool {
        if !is_there {
            self.since = None;
            return false;
        }
        now.duration_since(*self.since.get_or_insert(now)) >= long
    }
}

/// What is said of an edit that is not in force.
pub(super) fn refused_edit(fault: &str) -> Words {
    Words {
        title: "an edit of the configuration is not in force".to_owned(),
        detail: fault.to_owned(),
        next: "correct the file: it is read as soon as it is saved; `airplanes check` says what is wrong, and the last good configuration stays in force".to_owned(),
    }
}

/// What is said of a store that takes nothing.
pub(super) fn store_fault(why: &str) -> Words {
    Words {
        title: "the store takes no writes".to_owned(),
        detail: why.to_owned(),
        next: "free space or mend the disk: webhooks are answered 503 and jobs wait; the daemon tries again by itself"
            .to_owned(),
    }
}

/// Takes in the deliveries that are new, at first those of the last month.
pub(super) fn listen(store: &Store, hearing: &mut Hearing, now: Timestamp) -> Result<(), StoreError> {
    // Of each only what is heard: a month may be many.
    let (mut new, mut before): (Vec<Call>, _) = (Vec::new(), None);
    loop {
        let page = store.deliveries(before, 200)?;
        let is_new =
            |d: &Delivery| hearing.newest().is_none_or(|newest| d.id > newest) && now.duration_since(d.at) < WINDOW;
        let whole = page.len() == 200 && page.iter().all(is_new);
        before = page.last().map(|d| d.id);
        new.extend(page.iter().filter(|delivery| is_new(delivery)).map(Call::of));
        if !whole {
            break;
        }
    }
    hearing.hear(new.into_iter().rev());
    Ok(())
}

/// How the forges are that are configured.
pub(super) fn silences(config: &Config, hearing: &Hearing, now: Timestamp, floor: Duration) -> Vec<(Forge, Now)> {
    let floor = SignedDuration::try_from(floor).unwrap_or(SignedDuration::MAX);
    let heard = |forge: &Forge| {
        let now = match hearing.silence(*forge, now, floor)? {
            Ok(()) => Now::Well,
            Err((last, silent)) => {
                let (name, days) = (forge.as_str(), silent.as_hours() / 24);
                Now::Trouble(Words {
                    title: format!("{name} has sent no webhook for {days} days"),
                    detail: format!(
                        "The last one came at {}. Before, it sent often enough for that to be strange.",
                        last.strftime("%Y-%m-%d %H:%M UTC")
                    ),
                    next: format!(
                        "look at the deliveries of the webhook on {name}'s side: is it disabled, is its url still right, does the proxy let it through? If nobody has pushed, all is well"
                    ),
                })
            }
        };
        Some((*forge, now))
    };
    config.webhooks.keys().filter_map(heard).collect()
}
