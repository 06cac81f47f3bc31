//! `deploy`: a job for an app as its branch stands.

use clap::Args;

use super::Globals;
use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::follow::follow;
use super::output::{Paint, print, say};
use super::show::event_lines;
use crate::model::AppName;
use crate::model::api::Submitted;

/// `deploy`.
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// The app, as deploy.edn names it.
    #[arg(value_name = "APP")]
    app: String,
    /// Tell its steps on standard error until it ends, and end with its exit code.
    #[arg(long, short)]
    watch: bool,
}

pub(super) async fn deploy(client: &Client, globals: &Globals, args: DeployArgs) -> Result<Exit, CliError> {
    let app = AppName::new(args.app)?;
    let path: Vec<&str> = ["apps"].into_iter().chain(app.as_str().split('/')).chain(["deploy"]).collect();
    let submitted: Submitted = client.post(&path, None::<&()>).await?;
    print(&format!("{}\n", submitted.job))?;
    let paint = Paint::stderr(globals.color);
    if submitted.joined {
        say(&paint.dim("it joined a job that was waiting already"));
    }
    if !args.watch {
        say(&paint.dim(&format!("follow it: airplanes logs {} -f", submitted.job)));
        return Ok(Exit::Done);
    }
    let job = follow(client, submitted.job, |event| {
        for line in event_lines(paint, event) {
            say(&line);
        }
    });
    Ok(Exit::of_job(&job.await?))
}
