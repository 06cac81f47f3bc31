//! `promote`: what one environment of an app runs, brought to the next.

use clap::Args;

use super::client::Client;
use super::deploy;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, can_ask, plain, print, say, says_yes};
use super::rollback::lines;
use super::{Form, Globals};
use crate::model::AppName;
use crate::model::api::{PromotionView, Submitted};

/// `promote`.
#[derive(Debug, Clone, Args)]
pub struct PromoteArgs {
    /// The app, as deploy.edn names it.
    #[arg(value_name = "APP")]
    app: String,
    /// The environment that gets what the one before it runs; needed where several could be meant.
    #[arg(long, value_name = "ENV")]
    to: Option<String>,
    /// Say what would be done, and do nothing.
    #[arg(long, alias = "dry-run", conflicts_with = "watch")]
    plan: bool,
    /// Tell it on standard error until it ends, and end with the job's exit code.
    #[arg(long, short)]
    watch: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn promote(client: &Client, globals: &Globals, args: PromoteArgs) -> Result<Exit, CliError> {
    let app = AppName::new(args.app)?;
    let path: Vec<&str> = ["apps"].into_iter().chain(app.as_str().split('/')).chain(["promote"]).collect();
    let mut query: Vec<(&str, String)> = args.to.map(|to| ("to", to)).into_iter().collect();
    if args.plan || !args.yes {
        let view: PromotionView = client.ask(&path, &query).await?;
        if args.plan {
            if !args.form.print(&view)? {
                print(&told(Paint::stdout(globals.color), &view))?;
            }
            return Ok(Exit::Done);
        }
        if view.manual {
            if !can_ask() {
                let hint = format!("airplanes promote {app} --to {} --yes", view.to);
                return Err(CliError::usage("there is nobody to ask: this is no terminal", hint));
            }
            say(told(Paint::stderr(globals.color), &view).trim_end());
            if !says_yes(&format!("Promote {app} to {}?", view.to))? {
                return Err(CliError::Refused { message: "nothing was promoted".to_owned(), hint: None });
            }
        }
        // What was shown is promoted, or nothing.
        query = vec![("to", view.to.to_string()), ("commit", view.commit.to_string())];
    }
    let submitted: Submitted = client.post_with(&path, &query, None::<&()>).await?;
    deploy::told(client, globals, args.form, &submitted, args.watch).await
}

/// What it would do.
fn told(paint: Paint, view: &PromotionView) -> String {
    let live = match view.live {
        Some(live) if live == view.commit => String::new(),
        Some(live) => format!(" in place of {}", live.short()),
        None => String::new(),
    };
    let (commit, from, to) = (view.commit.short(), &view.from, &view.to);
    let mut text = format!("{} {commit} goes from {from} to {to}{live}; job {} built it\n", view.app, view.of);
    for note in &view.notes {
        text.push_str(&format!("{} {}\n", paint.yellow("note:"), plain(note)));
    }
    text + &lines(paint, &view.rollout)
}
