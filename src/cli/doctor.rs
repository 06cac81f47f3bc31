//! `doctor`: what works and what does not, line by line, and what mends it.
//!
//! The daemon looks, since its user is who has to be able to. Where none answers, what can be told without one is
//! looked at here.

use std::sync::Arc;

use clap::Args;
use futures_util::StreamExt;

use super::address::Address;
use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, plain, print, say};
use super::{Form, Globals};
use crate::config;
use crate::doctor::{self, Patient};
use crate::model::check::{CheckUp, DoctorLine};
use crate::model::{AppName, Check, Finding};
use crate::watch::FsSource;

/// `doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Only what this app needs.
    #[arg(value_name = "APP")]
    app: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn doctor(globals: &Globals, args: DoctorArgs) -> Result<Exit, CliError> {
    let app = args.app.map(AppName::new).transpose()?;
    let mut page = Page::new(globals, args.form);
    match from_daemon(globals, app.as_ref(), &mut page).await {
        Ok(()) => {}
        // A daemon elsewhere has nothing to do with this machine.
        Err(error) if globals.url.is_some() || !is_no_daemon(&error) => return Err(error),
        Err(error) => {
            page.check(no_daemon(globals, &error))?;
            without_daemon(globals, app, &mut page).await?;
        }
    }
    page.end()
}

fn is_no_daemon(error: &CliError) -> bool {
    matches!(error, CliError::Unreachable { .. } | CliError::Usage { .. } | CliError::Answer { status: 401, .. })
}

/// Why the daemon was not asked, as the first check.
fn no_daemon(globals: &Globals, error: &CliError) -> Check {
    let (group, name) = ("machine", "daemon");
    match error {
        CliError::Answer { .. } => {
            let said = "it answers, but not to this user, who can't read its token; what follows is without it";
            Check::failed(group, name, said, "sudo -u airplanes airplanes doctor")
        }
        CliError::Usage { .. } => {
            let said = format!("{error}; what follows is without it");
            Check::failed(group, name, said, doctor::mend_of(&globals.config))
        }
        _ => {
            let said = format!("{error}; what follows is looked at without it");
            Check::failed(group, name, said, "systemctl restart airplanes; journalctl -u airplanes -n 50")
        }
    }
}

async fn from_daemon(globals: &Globals, app: Option<&AppName>, page: &mut Page) -> Result<(), CliError> {
    let client = Client::new(Address::find(globals)?)?;
    let query: Vec<_> = app.iter().map(|app| ("app", app.to_string())).collect();
    let mut lines = client.lines(&["doctor"], &query).await?;
    while let Some(line) = lines.next().await? {
        match line {
            DoctorLine::Check(check) => page.check(check)?,
            DoctorLine::End { .. } => return Ok(()),
        }
    }
    Err(CliError::other("the daemon ended before all was looked at; run this again when it is back"))
}

/// What the present user can tell.
async fn without_daemon(globals: &Globals, app: Option<AppName>, page: &mut Page) -> Result<(), CliError> {
    let loaded = match config::load(&FsSource, &globals.config) {
        Ok(loaded) => loaded,
        Err(faults) => return page.check(doctor::unreadable(&globals.config, &faults)),
    };
    if let Some(app) = &app
        && !loaded.apps.contains_key(app)
    {
        let names: Vec<&str> = loaded.apps.keys().map(AppName::as_str).collect();
        return Err(CliError::usage(
            format!("there is no app {app} in deploy.edn"),
            format!("it has {}", names.join(", ")),
        ));
    }
    let patient = Patient::without_daemon(&globals.config, loaded).map_err(|e| CliError::other(e.to_string()))?;
    let mut checks = std::pin::pin!(doctor::examine(Arc::new(patient), app));
    while let Some(check) = checks.next().await {
        page.check(check)?;
    }
    Ok(())
}

/// What is printed: lines as they come, or all at the end as data.
pub(super) struct Page {
    form: Form,
    paint: Paint,
    plain: bool,
    group: String,
    checks: Vec<Check>,
}

impl Page {
    pub(super) fn new(globals: &Globals, form: Form) -> Self {
        let paint = Paint::stdout(globals.color);
        Self { form, paint, plain: !is_utf8(), group: String::new(), checks: Vec::new() }
    }

    pub(super) fn check(&mut self, check: Check) -> Result<(), CliError> {
        if self.form.accept().is_none() {
            let mut out = String::new();
            if check.group != self.group {
                out.push_str(&format!("{}\n", self.paint.bold(&plain(&check.group))));
                self.group.clone_from(&check.group);
            }
            let sign = match (check.finding, self.plain) {
                (Finding::Ok, false) => self.paint.green("✔"),
                (Finding::Ok, true) => self.paint.green("ok  "),
                (Finding::Failed, false) => self.paint.red("✘"),
                (Finding::Failed, true) => self.paint.red("FAIL"),
                (Finding::Warning, false) => self.paint.yellow("!"),
                (Finding::Warning, true) => self.paint.yellow("!   "),
                (Finding::Skipped, false) => self.paint.dim("-"),
                (Finding::Skipped, true) => self.paint.dim("-   "),
            };
            out.push_str(&format!("  {sign} {}: {}\n", plain(&check.name), plain(&check.detail)));
            if let Some(mend) = &check.mend {
                let indent = if self.plain { "       " } else { "    " };
                out.push_str(&format!("{indent}{} {}\n", self.paint.cyan("mend:"), plain(mend)));
            }
            print(&out)?;
        }
        self.checks.push(check);
        Ok(())
    }

    /// The sum, and the exit code.
    pub(super) fn end(self) -> Result<Exit, CliError> {
        let count = |finding| self.checks.iter().filter(|check| check.finding == finding).count();
        let (failed, warnings) = (count(Finding::Failed), count(Finding::Warning));
        if !self.form.print(&CheckUp::of(self.checks))? {
            let of = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            let warned = if warnings > 0 { format!(", {}", of(warnings, "warning")) } else { String::new() };
            say(&match failed {
                0 => format!("{}{warned}", self.paint.green("all is well")),
                _ => format!("{}{warned}", self.paint.red(&format!("{} failed", of(failed, "check")))),
            });
        }
        Ok(if failed == 0 { Exit::Done } else { Exit::Error })
    }
}

/// Whether the terminal can show more than ASCII, as its locale says; one that says nothing can.
fn is_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let low = locale.to_ascii_lowercase();
    low.is_empty() || low.contains("utf-8") || low.contains("utf8")
}
