//! `deploy`: a job for an app as its branch stands.

use std::cell::RefCell;

use clap::Args;

use super::board::{Board, EVERY};
use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::follow::follow;
use super::output::{Paint, plain, print, print_page, say};
use super::rollback::lines;
use super::show::event_lines;
use super::{Form, Globals};
use crate::model::api::{HostView, RolloutView, Submitted};
use crate::model::hold::{Hold, HoldKind, HoldList};
use crate::model::{AppName, JobId, Progress};

/// `deploy`.
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// The app, as deploy.edn names it.
    #[arg(value_name = "APP")]
    app: String,
    /// Tell its steps on standard error until it ends, and end with its exit code.
    #[arg(long, short)]
    watch: bool,
    /// Say how it would be rolled out, batch by batch, and do nothing.
    #[arg(long, conflicts_with = "watch")]
    plan: bool,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn deploy(client: &Client, globals: &Globals, args: DeployArgs) -> Result<Exit, CliError> {
    let app = AppName::new(args.app)?;
    let path = |last| ["apps"].into_iter().chain(app.as_str().split('/')).chain([last]).collect::<Vec<&str>>();
    if args.plan {
        if let Some(accept) = args.form.accept() {
            print_page(&client.page(&path("rollout"), &[], accept).await?)?;
            return Ok(Exit::Done);
        }
        let view: RolloutView = client.get(&path("rollout"), &[]).await?;
        print(&lines(Paint::stdout(globals.color), &view))?;
        return Ok(Exit::Done);
    }
    let path = path("deploy");
    let submitted: Submitted = client.post(&path, None::<&()>).await?;
    told(client, globals, args.form, &submitted, args.watch).await
}

/// Says which job it is that somebody asked for and what that means for others, and follows it if that is wanted.
pub(super) async fn told(
    client: &Client,
    globals: &Globals,
    form: Form,
    submitted: &Submitted,
    is_watched: bool,
) -> Result<Exit, CliError> {
    if !form.print(submitted)? {
        print(&format!("{}\n", submitted.job))?;
    }
    let paint = Paint::stderr(globals.color);
    if submitted.joined {
        say(&paint.dim("it joined a job that was waiting already"));
    }
    for job in &submitted.canceled {
        say(&format!("job {job} is canceled for it: it does not wait for that"));
    }
    for note in &submitted.notes {
        say(&paint.dim(&plain(note)));
    }
    if !is_watched {
        say(&paint.dim(&format!("follow it: airplanes logs {} -f", submitted.job)));
        return Ok(Exit::Done);
    }
    watch(client, globals, submitted.job).await
}

/// Tells a job's steps until it ends.
pub(super) async fn watch(client: &Client, globals: &Globals, id: JobId) -> Result<Exit, CliError> {
    let paint = Paint::stderr(globals.color);
    let board = RefCell::new(Board::new(globals));
    let job = follow(client, id, |event| {
        let mut board = board.borrow_mut();
        for line in event_lines(paint, event) {
            board.say(&line);
        }
        board.see(&event.job);
        board.draw();
    });
    let seconds = async {
        loop {
            tokio::time::sleep(EVERY).await;
            board.borrow_mut().draw();
        }
    };
    let job = tokio::select! {
        job = job => job,
        () = seconds => return Err(CliError::other("the clock stopped")),
    };
    board.borrow_mut().clear();
    let job = job?;
    // Where they ran this commit before too, it is not what was bad.
    let is_back = |host: &&HostView| host.state == Progress::RolledBack;
    let is_another = job.hosts.iter().filter(is_back).any(|host| host.previous_sha != job.sha);
    let is_its = |hold: &Hold| hold.app == job.app && matches!(hold.kind, HoldKind::Rollback { .. });
    // Whether that can be asked changes nothing of how the job ended.
    if Exit::of_job(&job) == Exit::RolledBack
        && is_another
        && client.get::<HoldList>(&["holds"], &[]).await.is_ok_and(|list| list.holds.iter().any(is_its))
    {
        let bad = job.sha.map(|sha| sha.short()).unwrap_or_default();
        say(&paint.dim(&format!("{} is held: no bump comes until a push on top of {bad}; airplanes hold", job.app)));
    }
    Ok(Exit::of_job(&job))
}
