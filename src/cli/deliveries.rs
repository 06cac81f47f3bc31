//! `deliveries`: webhook calls and what became of each.

use clap::Args;
use jiff::Timestamp;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, ago, plain, print, print_page, say, table};
use super::{Form, Globals};
use crate::model::inbox::{DeliveryList, DeliveryView, EventView};

/// `deliveries`.
#[derive(Debug, Clone, Args)]
pub struct DeliveriesArgs {
    /// How many.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only those older than this delivery.
    #[arg(long, value_name = "DELIVERY")]
    before: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn deliveries(client: &Client, globals: &Globals, args: DeliveriesArgs) -> Result<Exit, CliError> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.before.map(|before| ("before", before)));
    if let Some(accept) = args.form.accept() {
        print_page(&client.page(&["deliveries"], &query, accept).await?)?;
        return Ok(Exit::Done);
    }
    let list: DeliveryList = client.get(&["deliveries"], &query).await?;
    if list.deliveries.is_empty() {
        say("no webhook has called yet");
        return Ok(Exit::Done);
    }
    print(&delivery_table(Paint::stdout(globals.color), &list.deliveries, Timestamp::now()))?;
    if let Some(next) = list.next {
        say(&Paint::stderr(globals.color).dim(&format!("older ones: --before {next}")));
    }
    Ok(Exit::Done)
}

/// Deliveries as a table.
pub(super) fn delivery_table(paint: Paint, deliveries: &[DeliveryView], now: Timestamp) -> String {
    let row = |delivery: &DeliveryView| {
        let became: Vec<String> = match (&delivery.reason, delivery.events.as_slice()) {
            (Some(reason), _) => vec![plain(reason)],
            (None, events) => events.iter().map(became).collect(),
        };
        vec![
            delivery.id.to_string(),
            ago(now, delivery.at),
            format!("{} {}", delivery.forge.as_str(), plain(&delivery.event)),
            delivery.repo.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            paint.state(&delivery.status),
            became.join("; "),
        ]
    };
    let head = ["DELIVERY", "CAME", "EVENT", "REPOSITORY", "ANSWER", "WHAT BECAME OF IT"];
    table(paint, &head, &deliveries.iter().map(row).collect::<Vec<_>>())
}

fn became(event: &EventView) -> String {
    let branch = event.branch.as_ref().map(|b| format!("{b} ")).unwrap_or_default();
    let after = event.after.map(|sha| sha.short()).unwrap_or_default();
    let jobs: Vec<String> = event.jobs.iter().map(|job| format!("{} {}", job.app, job.state)).collect();
    let what = match (event.state.as_str(), jobs.is_empty()) {
        ("accepted", _) => "not planned yet".to_owned(),
        (_, false) => jobs.join(", "),
        (_, true) => event.notes.first().map_or_else(|| "nothing to do".to_owned(), |note| plain(note)),
    };
    format!("{branch}{after}: {what}")
}
