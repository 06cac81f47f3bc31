//! `repos`: when anything was last heard of each repository.

use clap::Args;
use jiff::Timestamp;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, ago, plain, print, print_page, say, span, table};
use super::{Form, Globals};
use crate::model::repo::{BehindView, LastSeenView, RepoList, RepoView};

/// `repos`.
#[derive(Debug, Clone, Args)]
pub struct ReposArgs {
    /// Only this one: a url of it, its identity, a library or an app; or those whose identity holds this text.
    #[arg(value_name = "REPO")]
    repo: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn repos(client: &Client, globals: &Globals, args: ReposArgs) -> Result<Exit, CliError> {
    let query: Vec<(&str, String)> = args.repo.map(|repo| ("repo", repo)).into_iter().collect();
    if let Some(accept) = args.form.accept() {
        print_page(&client.page(&["repos"], &query, accept).await?)?;
        return Ok(Exit::Done);
    }
    let list: RepoList = client.get(&["repos"], &query).await?;
    if list.repos.is_empty() {
        say("no repositories: deploy.edn is empty");
        return Ok(Exit::Done);
    }
    let (paint, now) = (Paint::stdout(globals.color), Timestamp::now());
    let row = |view: &RepoView| {
        vec![
            view.repo.to_string(),
            last_seen(view.last_seen, now),
            view.next.map_or_else(|| "-".to_owned(), |next| format!("in {}", span(until(now, next)))),
            names(view.apps.iter().map(|app| app.as_str())),
            names(view.dependents.iter().map(|app| app.as_str())),
        ]
    };
    let head = ["REPOSITORY", "LAST SEEN", "LISTED", "APPS", "DEPENDENTS"];
    let mut out = table(paint, &head, &list.repos.iter().map(row).collect::<Vec<_>>());
    for view in &list.repos {
        for branch in &view.gone {
            let words = "which apps follow, is not there (any more): `airplanes graph` says which; correct :branch or \
                         :track in deploy.edn, or a sha that was on it";
            out.push_str(&format!("{} branch {branch} of {}, {words}\n", paint.red("gone:"), view.repo));
        }
        out.push_str(&behind_lines(paint, &view.behind));
        if let Some(fault) = &view.error {
            let why = plain(&fault.why);
            out.push_str(&format!(
                "{} {} since {}: {why}\n",
                paint.red("not listed:"),
                view.repo,
                ago(now, fault.since)
            ));
        }
    }
    print(&out)?;
    Ok(Exit::Done)
}

/// Lines that say which apps have not what is at a head.
pub(super) fn behind_lines(paint: Paint, behind: &[BehindView]) -> String {
    behind.iter().map(|behind| format!("{} {}\n", paint.yellow("behind:"), plain(&behind.to_string()))).collect()
}

/// `webhook 3m ago`.
pub(super) fn last_seen(seen: Option<LastSeenView>, now: Timestamp) -> String {
    seen.map_or_else(|| "-".to_owned(), |seen| format!("{} {}", seen.by.as_str(), ago(now, seen.at)))
}

fn until(now: Timestamp, next: Timestamp) -> f64 {
    next.duration_since(now).as_secs_f64().max(0.0)
}

/// Some names, and how many more.
fn names<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let shown: Vec<&str> = names.take(SHOWN).collect();
    match (shown.is_empty(), more) {
        (true, _) => "-".to_owned(),
        (false, 0) => shown.join(" "),
        (false, more) => format!("{} +{more}", shown.join(" ")),
    }
}
