//! `gc`: upkeep now, told kind by kind as the daemon goes through it.

use std::time::Duration;

use clap::Args;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, plain, print, say, table};
use super::{Form, Globals};
use crate::model::upkeep::{Bytes, DiskView, GcView};

/// How often the daemon is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// `gc`.
#[derive(Debug, Clone, Args)]
pub struct GcArgs {
    /// Say what would go, and let it be.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn gc(client: &Client, globals: &Globals, args: GcArgs) -> Result<Exit, CliError> {
    let query: &[(&str, String)] = &[("dry_run", args.dry_run.to_string())];
    let mut round: GcView = client.post_with(&["gc"], query, None::<&()>).await?;
    let (progress, mut told) = (Paint::stderr(globals.color), None);
    while round.finished_at.is_none() {
        if round.doing != told {
            told.clone_from(&round.doing);
            if let Some(doing) = &told {
                say(&progress.dim(&format!("{} …", plain(doing))));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
        round = client.get(&["gc"], &[]).await?;
    }
    if !args.form.print(&round)? {
        print(&page(Paint::stdout(globals.color), &round))?;
    }
    Ok(if round.faults.is_empty() { Exit::Done } else { Exit::Error })
}

fn page(paint: Paint, round: &GcView) -> String {
    let row = |kind: &crate::model::upkeep::GcKind| {
        let bytes =
            if kind.kind == "maintenance" && round.dry_run { "?".to_owned() } else { Bytes(kind.bytes).to_string() };
        vec![kind.kind.clone(), kind.count.to_string(), bytes, what(&kind.kind).to_owned()]
    };
    let head = if round.dry_run { ["WOULD GO", "COUNT", "BYTES", ""] } else { ["GONE", "COUNT", "BYTES", ""] };
    let mut out = table(paint, &head, &round.kinds.iter().map(row).collect::<Vec<_>>());
    for fault in &round.faults {
        out.push_str(&format!("{} {}\n", paint.red("not done:"), plain(fault)));
    }
    match (&round.disk_before, &round.disk_after) {
        (Some(before), Some(after)) if !round.dry_run => {
            out.push_str(&format!("{}, before {}\n", room(after), Bytes(before.free)));
        }
        (Some(disk), _) => out.push_str(&format!("{}; nothing was changed\n", room(disk))),
        _ => {}
    }
    out
}

/// How much is free, in words.
pub(super) fn room(disk: &DiskView) -> String {
    format!("{} of {} free in {}", Bytes(disk.free), Bytes(disk.total), plain(&disk.path))
}

fn what(kind: &str) -> &'static str {
    match kind {
        "jobs" => "ended jobs that :keep does not keep, with their journals",
        "events" => "events whose jobs are gone, with their plans",
        "deliveries" => "webhook calls of long ago",
        "logs" => "logs of jobs that are gone",
        "artifacts" => "files of builds that no host needs",
        "work" => "clones of jobs that have ended",
        "leftovers" => "what killed daemons left half done",
        "mirrors" => "mirrors that no app needs any more",
        "maintenance" => "mirrors whose packs and refs git joins",
        _ => "",
    }
}
