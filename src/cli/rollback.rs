//! `rollback`: an app's hosts back to a commit that did well. Also how a rollout would go, for `deploy --plan`.

use clap::Args;

use super::client::Client;
use super::deploy;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, can_ask, plain, print, print_page, say, says_yes};
use super::{Form, Globals};
use crate::model::AppName;
use crate::model::api::{RollbackView, RolloutView, Submitted};

/// `rollback`.
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// The app, as deploy.edn names it.
    #[arg(value_name = "APP")]
    app: String,
    /// A commit that was live before, or the job that brought it; by default what was live before what is.
    #[arg(long, value_name = "SHA|JOB")]
    to: Option<String>,
    /// The environment that goes back; needed where the app has several.
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    /// Say what would be done, and do nothing.
    #[arg(long, alias = "dry-run", conflicts_with = "watch")]
    plan: bool,
    /// Don't ask, where a :migrate that is not :reversible? has run since.
    #[arg(long)]
    yes: bool,
    /// Tell it on standard error until it ends, and end with the job's exit code.
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn rollback(client: &Client, globals: &Globals, args: RollbackArgs) -> Result<Exit, CliError> {
    let app = AppName::new(args.app)?;
    let path: Vec<&str> = ["apps"].into_iter().chain(app.as_str().split('/')).chain(["rollback"]).collect();
    let env = args.env.map(|env| ("env", env));
    let mut query: Vec<(&str, String)> = args.to.map(|to| ("to", to)).into_iter().chain(env).collect();
    let paint = Paint::stdout(globals.color);
    if args.plan {
        if let Some(accept) = args.form.accept() {
            print_page(&client.page(&path, &query, accept).await?)?;
            return Ok(Exit::Done);
        }
        let view: RollbackView = client.get(&path, &query).await?;
        let (from, to) = (view.from.short(), view.to.short());
        let what =
            view.environment.as_ref().map_or_else(|| view.app.to_string(), |there| format!("{there} of {}", view.app));
        print(&format!("{what} goes back from {from} to {to}, which job {} built\n", view.of))?;
        if let Some(warning) = view.warning() {
            print(&format!("{} {warning}\n", paint.yellow("note:")))?;
        }
        for job in &view.cancels {
            print(&format!("job {job} is canceled for it\n"))?;
        }
        print(&lines(paint, &view.rollout))?;
        return Ok(Exit::Done);
    }
    if !args.yes {
        let view: RollbackView = client.get(&path, &query).await?;
        let shown = [("commit", view.to.to_string()), ("from", view.from.to_string())];
        if let Some(warning) = view.warning() {
            if !can_ask() {
                let said: String = query.iter().map(|(key, value)| format!(" --{key} {value}")).collect();
                let hint = format!("if that is well: airplanes rollback {app}{said} --yes");
                return Err(CliError::usage(warning, hint));
            }
            say(&warning);
            if !says_yes(&format!("Roll {app} back all the same?"))? {
                return Err(CliError::Refused { message: "nothing was rolled back".to_owned(), hint: None });
            }
        }
        // What was looked at is done, or nothing.
        query.extend(shown);
    }
    query.push(("yes", "true".to_owned()));
    let submitted: Submitted = client.post_with(&path, &query, None::<&()>).await?;
    deploy::told(client, globals, args.form, &submitted, args.watch).await
}

/// The batches of a rollout, and what ends it.
pub(super) fn lines(paint: Paint, view: &RolloutView) -> String {
    let mut text = String::new();
    for (number, batch) in (1..).zip(&view.batches) {
        let names: Vec<&str> = batch.iter().map(|host| host.as_str()).collect();
        let there = view.environments.get(number - 1).map(|name| format!(" ({name})")).unwrap_or_default();
        text.push_str(&format!("batch {number} of {}{there}: {}\n", view.batches.len(), names.join(", ")));
    }
    if view.batches.is_empty() {
        text.push_str("it has no hosts\n");
    }
    for note in &view.notes {
        text.push_str(&format!("{}\n", paint.dim(&plain(note))));
    }
    if let Some(held) = &view.held {
        text.push_str(&format!("{} {}\n", paint.yellow("held:"), plain(held)));
    }
    text
}
