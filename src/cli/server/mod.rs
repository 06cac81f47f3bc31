//! `server`: servers that are made and destroyed at their providers, by the daemon; what it says of them is recorded here,
//! in known_hosts and config.edn, which the daemon may only read.

mod record;

use clap::{Args, Subcommand};

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::follow::Absence;
use super::output::{Paint, ago, can_ask, plain, print, print_page, say, says_yes, table};
use super::{Form, Globals};
use crate::model::server::{Price, ServerList, ServerPhase, ServerPlan, ServerRequest, ServerView};
use crate::model::{CloudName, Provider, ServerName, ServerSpec};

/// `server`.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    #[command(subcommand)]
    command: ServerCommand,
}

/// What is done.
#[derive(Debug, Clone, Subcommand)]
pub enum ServerCommand {
    /// Make a server, and wait until it lets us in.
    #[command(
        long_about = "Make a server at a provider of :providers, and wait until it lets us in over ssh. The key of :ssh \
        {:identity} is registered there; the server gets a host key that the daemon has made, so that nobody has to \
        trust its first answer. In the end that key is recorded in known_hosts, and the server in :hosts.\n\n\
        The daemon does it and journals each step: when this command or the daemon is killed, run the same again. It \
        goes on where it was, and never makes a second server.\n\n  \
        airplanes server create web-3 --provider linode --region eu-central --type g6-nanode-1 \
        --image linode/debian12 --dry-run\n  \
        airplanes server create web-4 --provider digitalocean --region fra1 --type s-1vcpu-1gb --image debian-12-x64"
    )]
    Create(CreateArgs),
    /// List the servers that were made here, with what they cost.
    #[command(
        long_about = "List the servers that were made here and are not destroyed, with what they cost where their \
        provider says so.\n\n  airplanes server list\n  airplanes server list --json"
    )]
    List(ListArgs),
    /// Destroy a server, with all that is on it.
    #[command(
        long_about = "Destroy a server that was made here, with all that is on it, and wait until its provider has none \
        of it any more. It asks first, and says which apps run there. One that is still being made is destroyed too. \
        Its keys go from known_hosts; its entry in :hosts is yours to take out.\n\n  \
        airplanes server destroy web-3 --dry-run\n  airplanes server destroy web-3"
    )]
    Destroy(DestroyArgs),
}

/// `server create`.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// Its name: its host name, and its key in :hosts. Small letters, digits and `-`.
    #[arg(value_name = "NAME")]
    name: ServerName,
    /// Who makes it: linode or digitalocean.
    #[arg(long, value_name = "PROVIDER")]
    provider: Provider,
    /// Where, in the provider's word: eu-central, fra1.
    #[arg(long, value_name = "REGION")]
    region: CloudName,
    /// How large, in the provider's word: g6-nanode-1, s-1vcpu-1gb.
    #[arg(long = "type", value_name = "TYPE")]
    kind: CloudName,
    /// Its system, in the provider's word: linode/debian12, debian-12-x64.
    #[arg(long, value_name = "IMAGE")]
    image: CloudName,
    /// Ask the provider whether it has all that and what it costs, say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    form: Form,
}

/// `server list`.
#[derive(Debug, Clone, Copy, Args)]
pub struct ListArgs {
    #[command(flatten)]
    form: Form,
}

/// `server destroy`.
#[derive(Debug, Clone, Args)]
pub struct DestroyArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: ServerName,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Say what would be destroyed, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn server(client: &Client, globals: &Globals, args: ServerArgs) -> Result<Exit, CliError> {
    match args.command {
        ServerCommand::Create(args) => create(client, globals, args).await,
        ServerCommand::List(args) => list(client, globals, args.form).await,
        ServerCommand::Destroy(args) => destroy(client, globals, args).await,
    }
}

async fn create(client: &Client, globals: &Globals, args: CreateArgs) -> Result<Exit, CliError> {
    let CreateArgs { name, provider, region, kind, image, dry_run, form } = args;
    let spec = ServerSpec { name, provider, region, kind, image };
    let request = ServerRequest { spec, dry_run };
    if dry_run {
        let plan: ServerPlan = client.post(&["servers"], Some(&request)).await?;
        if form.print(&plan)? {
            return Ok(Exit::Done);
        }
        let mut text = format!("{} at {} would cost {}\n", plan.spec.name, plan.spec.provider, cost(plan.price));
        plan.steps.iter().for_each(|step| text.push_str(&format!("  would {}\n", plain(step))));
        print(&text)?;
        return Ok(Exit::Done);
    }
    let asked: ServerView = client.post(&["servers"], Some(&request)).await?;
    let view = follow(client, globals, asked).await?;
    let is_shown = form.print(&view)?;
    let paint = Paint::stderr(globals.color);
    if view.state != ServerPhase::Ready {
        let reason = view.reason.as_deref().map_or_else(|| format!("it is {}", view.state), plain);
        let message = format!("the server {} is not ready: {reason}", view.name);
        let hint = format!(
            "airplanes server create {} … goes on where it is, airplanes server destroy {} takes away what is there",
            view.name, view.name
        );
        return Err(CliError::Other { message, hint: Some(hint) });
    }
    if !is_shown {
        let address = view.address.as_ref().map(ToString::to_string).unwrap_or_default();
        print(&format!("{} is ready at {address}, for {}\n", view.name, cost(view.price)))?;
    }
    record::record(globals, &view, paint)?;
    Ok(Exit::Done)
}

/// Tells what happens to a server until it is at rest, across restarts of the daemon.
async fn follow(client: &Client, globals: &Globals, asked: ServerView) -> Result<ServerView, CliError> {
    let paint = Paint::stderr(globals.color);
    let (mut view, mut told, mut absence) = (asked, String::new(), Absence::default());
    // A daemon that was started anew counts from the beginning.
    let mut seen = Some(view.changes);
    loop {
        let note = view.note.as_deref().map(|note| format!(": {}", plain(note))).unwrap_or_default();
        let line = format!("{} is {}{}", view.name, view.state, paint.dim(&note));
        if line != told {
            say(&line);
            told = line;
        }
        if view.state.is_at_rest() {
            return Ok(view);
        }
        let query: Vec<(&str, String)> = seen.iter().map(|seen| ("seen", seen.to_string())).collect();
        match client.get::<ServerView>(&["servers", view.name.as_str()], &query).await {
            Ok(now) => {
                absence.over();
                seen = Some(now.changes);
                view = now;
            }
            Err(error @ (CliError::Unreachable { .. } | CliError::Answer { status: 503, .. })) => {
                absence.goes_on(error)?;
                seen = None;
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn list(client: &Client, globals: &Globals, form: Form) -> Result<Exit, CliError> {
    if let Some(accept) = form.accept() {
        print_page(&client.page(&["servers"], &[], accept).await?)?;
        return Ok(Exit::Done);
    }
    let servers = client.get::<ServerList>(&["servers"], &[]).await?.servers;
    if servers.is_empty() {
        say("no server was made here, or all are destroyed");
        return Ok(Exit::Done);
    }
    let (paint, now) = (Paint::stdout(globals.color), jiff::Timestamp::now());
    let row = |server: &ServerView| {
        let word = match server.state {
            ServerPhase::Ready => paint.green("ready"),
            ServerPhase::Failed => paint.red("failed"),
            other => other.to_string(),
        };
        vec![
            server.name.to_string(),
            word,
            server.address.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            format!("{} {}", server.provider, server.server.map(|id| id.to_string()).unwrap_or_default()),
            server.region.to_string(),
            server.size.to_string(),
            cost(server.price),
            ago(now, server.created_at),
        ]
    };
    let head = ["NAME", "STATE", "ADDRESS", "PROVIDER", "REGION", "TYPE", "COST", "MADE"];
    let mut text = table(paint, &head, &servers.iter().map(row).collect::<Vec<_>>());
    for server in servers.iter() {
        if let Some(why) = server.reason.as_ref().or(server.note.as_ref()) {
            text.push_str(&format!("{}: {}\n", server.name, plain(why)));
        }
    }
    print(&text)?;
    Ok(Exit::Done)
}

async fn destroy(client: &Client, globals: &Globals, args: DestroyArgs) -> Result<Exit, CliError> {
    let DestroyArgs { name, yes, dry_run, form } = args;
    let path = ["servers", name.as_str()];
    let view: ServerView = client.get(&path, &[]).await?;
    if view.state == ServerPhase::Destroyed {
        say(&format!("{name} is destroyed already"));
        return Ok(Exit::Done);
    }
    let apps: Vec<&str> = view.apps.iter().map(|app| app.as_str()).collect();
    let what = format!(
        "{name} at {} ({}{}), with all that is on it",
        view.provider,
        view.server.map_or_else(|| "not made yet".to_owned(), |id| format!("server {id}")),
        view.address.as_ref().map(|address| format!(", {address}")).unwrap_or_default()
    );
    let runs = if apps.is_empty() { String::new() } else { format!("; deploy.edn has {} on it", apps.join(", ")) };
    if dry_run {
        if !form.print(&view)? {
            print(&format!("would destroy {what}{runs}\n"))?;
        }
        return Ok(Exit::Done);
    }
    if !yes {
        if !can_ask() {
            let hint = format!("airplanes server destroy {name} --yes");
            return Err(CliError::usage("there is nobody to ask: this is no terminal", hint));
        }
        say(&format!("This destroys {what}{runs}."));
        if !says_yes(&format!("Destroy {name}?"))? {
            return Err(CliError::Refused { message: "nothing was destroyed".to_owned(), hint: None });
        }
    }
    let going: ServerView = client.delete(&path, &[]).await?;
    let gone = follow(client, globals, going).await?;
    form.print(&gone)?;
    if gone.state != ServerPhase::Destroyed {
        let reason = gone.reason.as_deref().map(plain).unwrap_or_default();
        return Err(CliError::other(format!("the server {name} is not destroyed: {reason}")));
    }
    record::forget(globals, &gone)?;
    Ok(Exit::Done)
}

fn cost(price: Option<Price>) -> String {
    price.map_or_else(
        || "what its provider does not say".to_owned(),
        |price| format!("${:.2} a month (${} an hour)", price.monthly, price.hourly),
    )
}
