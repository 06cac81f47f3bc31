//! `status`: how the daemon is, on one page.

use clap::Args;
use jiff::Timestamp;

use super::client::Client;
use super::deliveries::delivery_table;
use super::error::CliError;
use super::exit::Exit;
use super::gc::room;
use super::hold::held_lines;
use super::output::{Paint, ago, plain, print, print_page};
use super::show::job_table;
use super::{Form, Globals};
use crate::model::inbox::StatusView;
use crate::model::notice::NotifyView;
use crate::model::upkeep::Bytes;

/// `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    form: Form,
}

pub(super) async fn status(client: &Client, globals: &Globals, args: StatusArgs) -> Result<Exit, CliError> {
    if let Some(accept) = args.form.accept() {
        print_page(&client.page(&["status"], &[], accept).await?)?;
        return Ok(Exit::Done);
    }
    let status: StatusView = client.get(&["status"], &[]).await?;
    let (paint, now) = (Paint::stdout(globals.color), Timestamp::now());
    let counts = status.counts;
    let mut out = format!(
        "airplanes {}, up since {} ({}), store {}\n",
        status.version,
        status.up_since.strftime("%Y-%m-%d %H:%M:%SZ"),
        ago(now, status.up_since),
        paint.state(&status.store.state),
    );
    if let Some(since) = status.store.since {
        let why = status.store.why.as_deref().map(plain).unwrap_or_default();
        out.push_str(&format!("the store takes no writes since {}: {why}\n", ago(now, since)));
    }
    out.push_str(&format!(
        "{} {}; jobs: {} running, {} queued, {} waiting",
        counts.apps,
        if counts.apps == 1 { "app" } else { "apps" },
        counts.running,
        counts.queued,
        counts.waiting
    ));
    if counts.parked > 0 {
        out.push_str(&format!(", {}", paint.red(&format!("{} parked", counts.parked))));
    }
    if counts.unplanned > 0 {
        out.push_str(&format!("; {} events without a plan yet", counts.unplanned));
    }
    out.push('\n');
    if let Some(disk) = &status.disk {
        out.push_str(&format!("{}, builds want {}\n", room(disk), Bytes(disk.min_free)));
        if let Some(low) = &disk.low {
            out.push_str(&format!("{} {}\n", paint.red("no build begins:"), plain(low)));
        }
    }
    if let Some(builds) = &status.builds {
        let each = builds.each.as_deref().map(|each| format!(", each {}", plain(each))).unwrap_or_default();
        out.push_str(&format!("builds: {} at once{each}\n", builds.at_once));
        for lacking in &builds.lacking {
            out.push_str(&format!("{} {}\n", paint.red("not kept:"), plain(lacking)));
        }
    }
    if let Some(fault) = &status.config_fault {
        let lines: Vec<String> = fault.lines().map(plain).collect();
        out.push_str(&format!(
            "{}\n{}\n",
            paint.red("the last edit of the configuration is not in force:"),
            lines.join("\n")
        ));
    }
    if let Some(notify) = &status.notify {
        out.push_str(&notify_lines(paint, now, notify));
    }
    let holds = status.apps.iter().flatten().flat_map(|app| &app.holds);
    out.push_str(&held_lines(paint, holds));
    for refusal in status.refusals.iter().flatten() {
        out.push_str(&format!(
            "{} {} of {}, the last {}: {}\n",
            paint.red("webhooks refused:"),
            refusal.count,
            refusal.forge.as_str(),
            ago(now, refusal.last_at),
            plain(&refusal.last_reason)
        ));
    }
    if let Some(jobs) = status.jobs.filter(|jobs| !jobs.is_empty()) {
        out.push_str(&format!("\n{}", job_table(paint, &jobs, now)));
    }
    if let Some(deliveries) = status.deliveries.filter(|deliveries| !deliveries.is_empty()) {
        out.push_str(&format!("\n{}", delivery_table(paint, &deliveries, now)));
    }
    print(&out)?;
    Ok(Exit::Done)
}

/// Ways that do not work, and a dead-man url that is not called. What works is not worth a line.
fn notify_lines(paint: Paint, now: Timestamp, notify: &NotifyView) -> String {
    let mut out = String::new();
    for way in notify.ways.iter().filter(|way| way.error.is_some() || way.given_up > 0) {
        let error = way.error.as_deref().map(plain).unwrap_or_default();
        let given_up = if way.given_up > 0 { format!(", {} given up", way.given_up) } else { String::new() };
        let head = paint.red(&format!("nobody is told by {}", plain(&way.way)));
        out.push_str(&format!("{head}: {} waiting{given_up}: {error}\n", way.waiting));
    }
    if let Some(dead_man) = notify.dead_man.as_ref().filter(|dead_man| dead_man.error.is_some()) {
        let error = dead_man.error.as_deref().map(plain).unwrap_or_default();
        let last = dead_man.called_at.map_or_else(|| "never".to_owned(), |at| ago(now, at));
        let head = paint.red(&format!("the dead-man url at {}", plain(&dead_man.host)));
        out.push_str(&format!("{head}, last called {last}: {error}\n"));
    }
    out
}
