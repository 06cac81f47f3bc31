//! `sync`: the daemon looks at remotes now, and takes up what no webhook told of.

use clap::Args;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, plain, print, say, table};
use super::repos::behind_lines;
use super::{Form, Globals};
use crate::model::repo::{MovedView, NewTagView, SyncView};
use crate::model::{AppName, EventId};

/// `sync`.
#[derive(Debug, Clone, Args)]
pub struct SyncArgs {
    /// Only its own repository and those that it depends on.
    #[arg(value_name = "APP")]
    app: Option<String>,
    /// Say what has moved, and do nothing about it.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn sync(client: &Client, globals: &Globals, args: SyncArgs) -> Result<Exit, CliError> {
    let app = args.app.map(AppName::new).transpose()?;
    let mut query = vec![("dry_run", args.dry_run.to_string())];
    query.extend(app.map(|app| ("app", app.to_string())));
    let view: SyncView = client.post_with(&["sync"], &query, None::<&()>).await?;
    let exit = if view.failed.is_empty() { Exit::Done } else { Exit::Error };
    if args.form.print(&view)? {
        return Ok(exit);
    }
    let paint = Paint::stdout(globals.color);
    let of = |event: Option<EventId>| match event {
        Some(event) => event.to_string(),
        None if view.dry_run => "-".to_owned(),
        None => "told meanwhile".to_owned(),
    };
    let row = |moved: &MovedView| {
        let event = match moved.back && moved.event.is_none() && !view.dry_run {
            true => "it goes back: if the next listing says so too".to_owned(),
            false => of(moved.event),
        };
        let was = moved.was.map_or_else(|| "-".to_owned(), |sha| sha.short());
        vec![moved.repo.to_string(), moved.branch.to_string(), was, moved.now.short(), event]
    };
    let tag = |new: &NewTagView| {
        let name = format!("tag {}", plain(&new.tag));
        vec![new.repo.to_string(), name, "-".to_owned(), new.now.short(), of(new.event)]
    };
    let rows: Vec<_> = view.moved.iter().map(row).chain(view.tags.iter().map(tag)).collect();
    let mut out = String::new();
    if !rows.is_empty() {
        out = table(paint, &["REPOSITORY", "BRANCH", "WAS", "NOW", "EVENT"], &rows);
    }
    out.push_str(&behind_lines(paint, &view.behind));
    for failed in &view.failed {
        out.push_str(&format!("{} {}: {}\n", paint.red("not asked:"), failed.repo, plain(&failed.error)));
    }
    print(&out)?;
    let remotes = if view.asked == 1 { "remote" } else { "remotes" };
    let what = match (rows.len(), view.dry_run) {
        (0, _) => "nothing had moved that no webhook told of".to_owned(),
        (moved, true) => format!("{moved} moved; nothing was done"),
        (moved, false) => format!("{moved} moved; `airplanes jobs` shows what follows"),
    };
    say(&Paint::stderr(globals.color).dim(&format!("asked {} {remotes}: {what}", view.asked)));
    Ok(exit)
}
