//! `apps` and `plan`.

use clap::Args;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::hold::held_lines;
use super::output::{Paint, plain, print, print_page, say, table, within};
use super::repos::last_seen;
use super::{Form, Globals};
use crate::model::api::{AppView, EnvironmentView, PlanQuery, PlanView};
use crate::model::inbox::AppList;
use crate::model::{AppName, Branch, Sha, Trigger};

/// `apps`.
#[derive(Debug, Clone, Args)]
pub struct AppsArgs {
    /// Only this one.
    #[arg(value_name = "APP")]
    app: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// A repository's url or identity (`github.com/acme/snow`), a library, or an app's name; with `@SHA` (the first digits do) or
    /// `@TAG` for one commit.
    #[arg(value_name = "REPO[@SHA|@TAG]")]
    repo: String,
    /// The branch; the repository's default branch if it is left out.
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn apps(client: &Client, globals: &Globals, args: AppsArgs) -> Result<Exit, CliError> {
    let name = args.app.map(AppName::new).transpose()?;
    let path: Vec<&str> = ["apps"].into_iter().chain(name.iter().flat_map(|n| n.as_str().split('/'))).collect();
    if let Some(accept) = args.form.accept() {
        print_page(&client.page(&path, &[], accept).await?)?;
        return Ok(Exit::Done);
    }
    let apps: Vec<AppView> = match &name {
        Some(_) => vec![client.get(&path, &[]).await?],
        None => client.get::<AppList>(&path, &[]).await?.apps,
    };
    if apps.is_empty() {
        say("no apps: deploy.edn is empty");
        return Ok(Exit::Done);
    }
    let (paint, now) = (Paint::stdout(globals.color), jiff::Timestamp::now());
    let row = |app: &AppView| {
        let hosts: Vec<&str> = app.hosts.iter().map(|h| h.as_str()).collect();
        let deps: Vec<&str> = app.depends_on.iter().map(|d| d.as_str()).collect();
        let trigger = match app.trigger {
            Trigger::PushAny => "push-any",
            Trigger::Push => "push",
            Trigger::Manual => "manual",
        };
        let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        vec![
            app.name.to_string(),
            paint.state(app.last_state.as_deref().unwrap_or("-")),
            app.last_job.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            trigger.to_owned(),
            last_seen(app.last_seen, now),
            if app.environments.is_empty() { dash(hosts.join(" ")) } else { environments(&app.environments) },
            dash(deps.join(" ")),
        ]
    };
    let head = ["APP", "LAST", "JOB", "TRIGGER", "LAST SEEN", "HOSTS", "DEPENDS ON"];
    let mut out = table(paint, &head, &apps.iter().map(row).collect::<Vec<_>>());
    out.push_str(&held_lines(paint, apps.iter().flat_map(|app| &app.holds)));
    print(&out)?;
    Ok(Exit::Done)
}

pub(super) async fn plan(client: &Client, globals: &Globals, args: PlanArgs) -> Result<Exit, CliError> {
    let (repo, sha) = with_rev(&args.repo);
    let (repo, sha) = (repo.to_owned(), sha.map(str::to_owned));
    let query = PlanQuery { repo, branch: args.branch.map(Branch::new).transpose()?, sha };
    let plan: PlanView = client.post(&["plans"], Some(&query)).await?;
    if args.form.print(&plan)? {
        return Ok(Exit::Done);
    }
    let paint = Paint::stdout(globals.color);
    let mut out = format!("a push to {} would run\n", paint.bold(plan.repo.as_str()));
    let row = |app: &crate::model::api::PlannedView| {
        let after: Vec<&str> = app.after.iter().map(AppName::as_str).collect();
        let hosts: Vec<&str> = app.hosts.iter().map(|h| h.as_str()).collect();
        let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        vec![
            app.wave.to_string(),
            app.app.to_string(),
            dash(after.join(" ")),
            within(&app.environments, dash(hosts.join(" "))),
            plain(&app.why),
        ]
    };
    if plan.apps.is_empty() {
        out.push_str("  nothing\n");
    } else {
        let rows: Vec<_> = plan.apps.iter().map(row).collect();
        out.push_str(&table(paint, &["WAVE", "APP", "AFTER", "HOSTS", "WHY"], &rows));
    }
    for app in &plan.apps {
        for bump in &app.bumps {
            let (from, to) = (short(&bump.from), short(&bump.to));
            out.push_str(&format!(
                "{}: {}:{} {} {from} -> {to}\n",
                app.app,
                plain(&bump.file),
                bump.line,
                plain(&bump.lib)
            ));
        }
        for kept in &app.kept {
            let why = format!("{} stays: {}", plain(&kept.lib), plain(&kept.why));
            out.push_str(&format!("{}: {}:{} {}\n", app.app, plain(&kept.file), kept.line, paint.dim(&why)));
        }
        for words in &app.refused {
            out.push_str(&format!(
                "{}: {}\n",
                app.app,
                paint.red(&format!("tools.deps would refuse: {}", plain(words)))
            ));
        }
        if let Some(job) = app.joins {
            out.push_str(&format!("{}: job {job} has not started and would take it on\n", app.app));
        }
    }
    for note in &plan.notes {
        out.push_str(&format!("{} {}\n", paint.dim("note:"), plain(note)));
    }
    print(&out)?;
    Ok(Exit::Done)
}

/// `staging: web-1 web-2 at 3f2a91c04d; production (by promote): web-3`.
fn environments(environments: &[EnvironmentView]) -> String {
    let words = |there: &EnvironmentView| {
        let hosts: Vec<&str> = there.hosts.iter().map(|host| host.as_str()).collect();
        let manual = if there.promote == "manual" { " (by promote)" } else { "" };
        let live = there.live.map(|sha| format!(" at {}", sha.short())).unwrap_or_default();
        format!("{}{manual}: {}{live}", there.name, hosts.join(" "))
    };
    environments.iter().map(words).collect::<Vec<_>>().join("; ")
}

/// What was named, and the commit of it that stands behind an `@`. A url may have an `@` of its own.
pub(super) fn with_rev(text: &str) -> (&str, Option<&str>) {
    let at = text.rsplit_once('@').filter(|(_, rev)| !rev.is_empty() && !rev.contains(['/', ':']));
    at.map_or((text, None), |(what, rev)| (what, Some(rev)))
}

/// A full sha's first digits; anything else as it is.
fn short(text: &str) -> String {
    text.parse::<Sha>().map_or_else(|_| plain(text), |sha| sha.short())
}
