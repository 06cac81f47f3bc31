//! `hook test`: the daemon calls itself as an app's forge would.

use clap::{Args, Subcommand, ValueEnum};

use super::client::Client;
use super::doctor::Page;
use super::error::CliError;
use super::exit::Exit;
use super::output::{can_ask, say, says_yes};
use super::{Form, Globals};
use crate::model::api::{PlanQuery, PlanView};
use crate::model::check::{DoctorLine, HookTest};
use crate::model::{AppName, Forge};

/// `hook`.
#[derive(Debug, Clone, Args)]
pub struct HookArgs {
    #[command(subcommand)]
    command: HookCommand,
}

/// What is done.
#[derive(Debug, Clone, Subcommand)]
pub enum HookCommand {
    /// Send the daemon a signed call as an app's forge would.
    #[command(
        long_about = "Let the daemon call itself as an app's forge would, with the secret of config.edn: at :url, if \
        there is one, and at its own port. Each check that the call passes is shown: reached, path, signature, stored, \
        and what became of it.\n\n\
        A ping sets nothing in motion. --push tells of the branch's present head as just pushed: apps that stand there \
        already have nothing to do, and what was accepted before is a duplicate, but whatever that head has not set in \
        motion yet it will.\n\n  airplanes hook test shop\n  airplanes hook test shop --push"
    )]
    Test(TestArgs),
}

/// `hook test`.
#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// The app, as deploy.edn names it.
    #[arg(value_name = "APP")]
    app: String,
    /// A push of the branch's present head, in place of a ping.
    #[arg(long)]
    push: bool,
    /// Don't ask before a push.
    #[arg(long, requires = "push")]
    yes: bool,
    /// The forge, where the repository's url does not tell.
    #[arg(long, value_name = "FORGE", value_enum)]
    forge: Option<Word>,
    #[command(flatten)]
    form: Form,
}

/// A forge, as it is typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Word {
    Github,
    Gitlab,
    Gitea,
    Bitbucket,
}

pub(super) async fn hook(client: &Client, globals: &Globals, args: HookArgs) -> Result<Exit, CliError> {
    let HookCommand::Test(args) = args.command;
    let app = AppName::new(args.app)?;
    if args.push && !args.yes && !agreed(client, &app).await? {
        return Err(CliError::Refused { message: "nothing was sent".to_owned(), hint: None });
    }
    let forge = args.forge.map(|word| match word {
        Word::Github => Forge::Github,
        Word::Gitlab => Forge::Gitlab,
        Word::Gitea => Forge::Gitea,
        Word::Bitbucket => Forge::Bitbucket,
    });
    let mut page = Page::new(globals, args.form);
    let mut lines = client.post_lines(&["doctor", "hook"], &HookTest { app, push: args.push, forge }).await?;
    while let Some(line) = lines.next().await? {
        match line {
            DoctorLine::Check(check) => page.check(check)?,
            DoctorLine::End { .. } => return page.end(),
        }
    }
    Err(CliError::other("the daemon ended before all was looked at; run this again when it is back"))
}

/// Says what the push may set in motion, and asks.
async fn agreed(client: &Client, app: &AppName) -> Result<bool, CliError> {
    let plan: PlanView =
        client.post(&["plans"], Some(&PlanQuery { repo: app.to_string(), branch: None, sha: None })).await?;
    let names: Vec<&str> = plan.apps.iter().map(|planned| planned.app.as_str()).collect();
    let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", then ") };
    say(&format!("a push of {app}'s present head sets in motion, unless it did so already: {names}"));
    if !can_ask() {
        return Err(CliError::usage("there is nobody to ask: this is no terminal", "give --yes if that is meant"));
    }
    says_yes("Send it?")
}
