//! `airplanes demo`: everything on this machine, in a temporary folder, with nothing configured.
//!
//! A git server and two hosts, each a real sshd on a loopback address of its own; a library, an app that depends on
//! it by commit, and the daemon in this process. Someone pushes to the library, and one watches what comes of it.
//! What is shown comes from where a user would look: git, the daemon's HTTP, the app itself.
//!
//! It must never touch anything outside its folder, listen on anything but loopback, read the person's own git or ssh
//! configuration, or leave a process or a file behind.

mod command;
mod error;
mod follow;
mod hook;
mod proof;
mod screen;
pub mod sshd;
mod stage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

pub use error::DemoError;
pub use hook::post;

use crate::cli::Color;
use crate::daemon::{Daemon, StartError};
use crate::model::api::JobView;
use command::{git, git_output};
use follow::{Api, Follower};
use proof::Pushed;
use screen::{News, Screen, Tone};
use stage::{BRANCH, Stage, shell_word};

/// How long the whole of a job may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often the daemon is asked.
const LOOK: Duration = Duration::from_millis(50);
/// What the library says after the push.
const NEXT_GREETING: &str = "Good evening!";

/// Shows it. With `once` it ends by itself, without an error only if everything was really seen; else it stays up
/// until SIGINT, SIGTERM or SIGHUP.
pub async fn run(once: bool, color: Color) -> Result<(), DemoError> {
    let mut screen = Screen::new(color);
    let stop = stop_signal()?;
    screen.heading("airplanes demo: a push to a library, and what comes of it");
    screen.passing("a git server, two hosts, two repositories…");
    let stage = Arc::new(blocking(Stage::build).await??);
    let shown = match start(&stage).await {
        Ok(daemon) => {
            let shown = tokio::select! {
                shown = show(&stage, &daemon, &mut screen, once) => shown,
                () = stop => if once { Err(DemoError::Interrupted) } else { Ok(()) },
            };
            screen.passing("ending what was started…");
            let ended = daemon.end().await.map_err(|error| DemoError::Daemon(format!("{error:#}")));
            shown.and(ended)
        }
        Err(error) => Err(error),
    };
    let stage = alone(stage).await;
    let ended = blocking(move || stage.end()).await?;
    shown.and(ended)?;
    screen.says("ended", "everything that was started has ended, and the folder is gone");
    Ok(())
}

/// The stage, once what a signal cut off (a look at git, a push) no longer holds it.
async fn alone(mut stage: Arc<Stage>) -> Stage {
    loop {
        match Arc::try_unwrap(stage) {
            Ok(stage) => return stage,
            Err(held) => stage = held,
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A client for http on this machine: no proxy.
fn client() -> reqwest::Client {
    // Whoever came first has installed one, and any will do: nothing here speaks TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap_or_default()
}

async fn start(stage: &Arc<Stage>) -> Result<Daemon, DemoError> {
    let log = stage.log();
    let file = std::fs::File::create(&log).map_err(DemoError::io(&log))?;
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(file)).finish();
    // If there is one already, the daemon's log goes where that one writes.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let daemon = Daemon::start(&stage.config()).await.map_err(|error| match error {
        StartError::Config(faults) => DemoError::Daemon(faults.render(false)),
        StartError::Other(error) => DemoError::Daemon(format!("{error:#}")),
    })?;
    stage.install_hooks(&format!("http://{}/hooks/github", daemon.address()))?;
    Ok(daemon)
}

async fn show(stage: &Arc<Stage>, daemon: &Daemon, screen: &mut Screen, once: bool) -> Result<(), DemoError> {
    let token = daemon.state().join("operator-token");
    let token = std::fs::read_to_string(&token).map_err(DemoError::io(&token))?.trim().to_owned();
    let api = Api { client: client(), url: format!("http://{}", daemon.address()), token, log: stage.log() };

    screen.says("folder", format!("{}: everything is in it, and it goes at the end", stage.root().display()));
    screen.says("git server", format!("{} (sshd): a library `greeting`, an app `hello`", stage.git_address()));
    let hosts: Vec<String> = stage.hosts.iter().map(|host| format!("{} {}", host.name, host.address)).collect();
    screen.says("hosts", format!("{} (sshd each), and hello runs on both", hosts.join(", ")));
    screen.says("daemon", format!("{}, on config.edn and deploy.edn in that folder", api.url));
    for (name, url, answer) in proof::answers(stage, &api).await {
        answered(screen, name, &url, &answer);
    }

    screen.heading("Somebody pushes to the library");
    let mut follower = Follower::default();
    follower.news(&api.jobs().await?);
    let pushed = push(stage, screen).await?;

    let until = Instant::now() + PATIENCE;
    let job = loop {
        let jobs = follow(&api, &mut follower, screen).await?;
        if let Some(job) = jobs.into_iter().find(|job| job.has_ended() && answers_to(job, &pushed)) {
            break job;
        }
        if Instant::now() > until {
            let seconds = PATIENCE.as_secs();
            return Err(DemoError::Unseen(vec![format!("no job of hello ended within {seconds} s")]));
        }
        tokio::time::sleep(LOOK).await;
    };

    result(stage, &api, screen, &job).await?;
    let mut missing = {
        let (stage, job) = (stage.clone(), job.clone());
        let pushed = pushed.clone();
        blocking(move || proof::missing_in_git(&stage, &job, &pushed)).await??
    };
    missing.extend(proof::missing_in_answers(&proof::answers(stage, &api).await, &pushed));
    missing.extend(proof::missing_in_build(&api, &job).await?);
    if !missing.is_empty() {
        return Err(DemoError::Unseen(missing));
    }
    screen.words("");
    screen.news(&News::new("checked", "one commit, one sha changed, both hosts live on it", Tone::Good));
    if once {
        return Ok(());
    }

    go_on(stage, &api, screen, &job);
    let mut last = job.id;
    loop {
        let jobs = follow(&api, &mut follower, screen).await?;
        for job in jobs.into_iter().filter(|job| job.id > last && job.has_ended()).collect::<Vec<_>>() {
            last = job.id;
            result(stage, &api, screen, &job).await?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells what is new, and what is going on.
async fn follow(api: &Api, follower: &mut Follower, screen: &mut Screen) -> Result<Vec<JobView>, DemoError> {
    let jobs = api.jobs().await?;
    for news in follower.news(&jobs) {
        screen.news(&news);
    }
    if let Some(job) = jobs.iter().find(|job| !job.has_ended()) {
        screen.passing(&format!("{}…", follow::now(job)));
    }
    Ok(jobs)
}

fn answers_to(job: &JobView, pushed: &Pushed) -> bool {
    let mut targets = job.causes.iter().flat_map(|cause| &cause.targets);
    targets.any(|target| target.after.to_string() == pushed.after)
}

/// What a job came to: the diff, the commit, and the app on each host.
async fn result(stage: &Arc<Stage>, api: &Api, screen: &mut Screen, job: &JobView) -> Result<(), DemoError> {
    if let (Some(before), Some(after)) = (job.previous_sha, job.sha.filter(|sha| Some(*sha) != job.previous_sha)) {
        let (stage, color) = (stage.clone(), screen.git_color());
        let seen = blocking(move || proof::seen(&stage, before, after, color)).await??;
        screen.heading("What airplanes changed in hello's deps.edn");
        screen.quote(&seen.diff);
        screen.heading("The commit that it pushed");
        screen.quote(&seen.commit);
    }
    screen.heading("What hello answers now");
    for (name, url, answer) in proof::answers(stage, api).await {
        answered(screen, name, &url, &answer);
    }
    Ok(())
}

fn answered(screen: &mut Screen, name: &str, url: &str, answer: &Result<String, String>) {
    match answer {
        Ok(answer) => screen.says(name, format!("GET {url} -> {answer}")),
        Err(why) => screen.news(&News::new(name, format!("GET {url} -> {why}"), Tone::Bad)),
    }
}

/// Changes the library and pushes it, as its author would.
async fn push(stage: &Arc<Stage>, screen: &mut Screen) -> Result<Pushed, DemoError> {
    screen.command(&push_line(stage, NEXT_GREETING));
    let stage = stage.clone();
    let (pushed, said) = blocking(move || {
        let checkout = stage.checkout();
        let before = git(&checkout, &["rev-parse", "HEAD"])?.trim().to_owned();
        let file = checkout.join("resources/greeting.txt");
        std::fs::write(&file, format!("{NEXT_GREETING}\n")).map_err(DemoError::io(&file))?;
        git(&checkout, &["commit", "--quiet", "-am", NEXT_GREETING])?;
        let (_, said) = git_output(&checkout, &["push", "origin", BRANCH])?;
        let after = git(&checkout, &["rev-parse", "HEAD"])?.trim().to_owned();
        Ok::<_, DemoError>((Pushed { before, after, greeting: NEXT_GREETING.to_owned() }, said))
    })
    .await??;
    let remote: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("remote: ")).map(str::trim).collect();
    for line in &remote {
        screen.says("webhook", *line);
    }
    if !remote.iter().any(|line| line.contains(" 202 ")) {
        return Err(DemoError::Unseen(vec![format!("the webhook was not accepted: {}", said.trim())]));
    }
    Ok(pushed)
}

/// What a person types to push to the library.
fn push_line(stage: &Stage, greeting: &str) -> String {
    let folder = shell_word(&stage.checkout().display().to_string());
    let greeting = shell_word(greeting);
    format!("(cd {folder} && echo {greeting} >resources/greeting.txt && git commit -qam {greeting} && git push -q)")
}

fn go_on(stage: &Stage, api: &Api, screen: &mut Screen, job: &JobView) {
    let airplanes = std::env::current_exe().map(|path| path.display().to_string());
    let airplanes = shell_word(&airplanes.unwrap_or_else(|_| "airplanes".to_owned()));
    let config = shell_word(&stage.config().display().to_string());
    screen.heading("It is all yours now, in another terminal. Push again:");
    screen.command(&push_line(stage, "Good night!"));
    screen.words("\nAsk the daemon:");
    screen.command(&format!("export AIRPLANES_CONFIG={config}"));
    screen.command(&format!("{airplanes} jobs"));
    screen.command(&format!("{airplanes} job {}", job.id));
    screen.command(&format!("{airplanes} logs {} build/resolve", job.id));
    screen.command(&format!("{airplanes} plan {}", stage.greeting));
    screen.command(&format!("{airplanes} deploy hello --watch"));
    screen.words("\nOr with curl:");
    screen.command(&format!("TOKEN=$(cat {}/state/operator-token)", stage.root().display()));
    screen.command(&format!("curl {}/status", api.url));
    screen.command(&format!("curl -H \"Authorization: Bearer $TOKEN\" {}/jobs/{}", api.url, job.id));
    for host in &stage.hosts {
        screen.command(&format!("curl {}", stage.app_url(host)));
    }
    screen.words("\nCtrl-C ends everything and removes the folder. Pushes are shown here as they come.");
}

/// Done when the process is asked to end.
fn stop_signal() -> Result<impl Future<Output = ()>, DemoError> {
    let listen = |kind| signal(kind).map_err(|why| DemoError::Own { what: "signals", why: why.to_string() });
    let mut int = listen(SignalKind::interrupt())?;
    let mut term = listen(SignalKind::terminate())?;
    let mut hup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, DemoError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|why| DemoError::Own { what: "own code", why: why.to_string() })
}
