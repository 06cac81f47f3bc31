//! `hold`: what stays where it is because someone says so, and until when.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::client::Client;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, ago, plain, print, print_page, say, table};
use super::{Form, Globals};
use crate::model::AppName;
use crate::model::hold::{Held, Hold, HoldList, HoldRequest, Released};

/// `hold`.
#[derive(Debug, Clone, Args)]
pub struct HoldArgs {
    /// The app; without one the holds are listed.
    #[arg(value_name = "APP")]
    app: Option<String>,
    /// Only this library of it, by its name or its repository: the app runs, and leaves the library where it is.
    #[arg(value_name = "LIB", requires = "app")]
    lib: Option<String>,
    /// Why, for whoever wonders in a month.
    #[arg(long, value_name = "TEXT", requires = "app")]
    reason: Option<String>,
    /// When it ends by itself: `2d`, `90m`, or a time like 2026-12-24T18:00:00Z.
    #[arg(long, value_name = "WHEN", requires = "app")]
    until: Option<String>,
    /// It ends by itself once the branch (or the tags) that the app follows in the library's repository have this commit;
    /// without a library, once the branch that the app is built from has it. The first digits do for a commit that is
    /// pushed; one that is not pushed yet has to be given in full.
    #[arg(long, value_name = "SHA", requires = "app")]
    until_descendant_of: Option<String>,
    /// Let go of it. The app runs once, to make up for what was kept back.
    #[arg(long, requires = "app", conflicts_with_all = ["reason", "until", "until_descendant_of"])]
    release: bool,
    #[command(flatten)]
    form: Form,
}

pub(super) async fn hold(client: &Client, globals: &Globals, args: HoldArgs) -> Result<Exit, CliError> {
    let Some(app) = args.app.map(AppName::new).transpose()? else {
        return list(client, globals, args.form).await;
    };
    let path: Vec<&str> = ["apps"].into_iter().chain(app.as_str().split('/')).chain(["hold"]).collect();
    let dim = |text: &str| say(&Paint::stderr(globals.color).dim(text));
    if args.release {
        let query: Vec<(&str, String)> = args.lib.map(|lib| ("lib", lib)).into_iter().collect();
        let released: Released = client.delete(&path, &query).await?;
        if args.form.print(&released)? {
            return Ok(Exit::Done);
        }
        print(&format!("released: {}\n", plain(&released.hold.to_string())))?;
        if let Some(beneath) = &released.hold.beneath {
            dim(&format!("the hold beneath it is in force again: {}", plain(&beneath.to_string())));
        }
        if released.event.is_some() {
            dim(&format!("{app} runs once, to make up for it: airplanes jobs --app {app}"));
        }
        return Ok(Exit::Done);
    }
    let Some(reason) = args.reason else {
        let hint = format!("airplanes hold {app} --reason \"the new checkout loses carts\" --until 2d");
        return Err(CliError::usage("a hold needs a --reason, for whoever wonders in a month", hint));
    };
    let request = HoldRequest {
        lib: args.lib,
        reason,
        until: args.until.as_deref().map(|text| time(text, Timestamp::now())).transpose()?,
        until_descendant_of: args.until_descendant_of,
    };
    let set: Held = client.put(&path, &request).await?;
    if args.form.print(&set)? {
        return Ok(Exit::Done);
    }
    let Held { hold, replaces, note } = set;
    print(&format!("{}\n", plain(&hold.to_string())))?;
    if let Some(replaced) = replaces {
        say(&format!("in place of: {}", plain(&replaced.to_string())));
    }
    if let Some(note) = note {
        say(&format!("{} {}", Paint::stderr(globals.color).yellow("note:"), plain(&note)));
    }
    let lib = hold.lib.as_ref().map(|lib| format!(" {lib}")).unwrap_or_default();
    dim(&format!("it ends by: airplanes hold {app}{lib} --release"));
    Ok(Exit::Done)
}

async fn list(client: &Client, globals: &Globals, form: Form) -> Result<Exit, CliError> {
    if let Some(accept) = form.accept() {
        print_page(&client.page(&["holds"], &[], accept).await?)?;
        return Ok(Exit::Done);
    }
    let holds = client.get::<HoldList>(&["holds"], &[]).await?.holds;
    if holds.is_empty() {
        say("nothing is held");
        return Ok(Exit::Done);
    }
    let now = Timestamp::now();
    let row = |hold: &Hold| {
        let until = [
            hold.until.map(|until| until.strftime("%Y-%m-%d %H:%MZ").to_string()),
            hold.until_descendant_of.as_ref().map(|d| format!("{} of {}", d.sha.short(), d.repo)),
        ];
        let until: Vec<String> = until.into_iter().flatten().collect();
        vec![
            hold.app.to_string(),
            hold.lib.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            plain(&hold.by),
            ago(now, hold.at),
            if until.is_empty() { "-".to_owned() } else { until.join(" or ") },
            plain(&hold.reason),
        ]
    };
    let head = ["APP", "LIBRARY", "BY", "SINCE", "UNTIL", "REASON"];
    print(&table(Paint::stdout(globals.color), &head, &holds.iter().map(row).collect::<Vec<_>>()))?;
    Ok(Exit::Done)
}

/// Lines that say what is held, for pages about something else.
pub(super) fn held_lines<'a>(paint: Paint, holds: impl Iterator<Item = &'a Hold>) -> String {
    holds.map(|hold| format!("{} {}\n", paint.yellow("held:"), plain(&hold.to_string()))).collect()
}

/// A time as a person writes it: how long from now, or when.
fn time(text: &str, now: Timestamp) -> Result<Timestamp, CliError> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let from_now = |span: jiff::Span| now.to_zoned(TimeZone::UTC).checked_add(span).ok().map(|at| at.timestamp());
    text.parse::<jiff::Span>().ok().and_then(from_now).ok_or_else(|| {
        CliError::usage(format!("`{text}` is no time"), "write how long (2d, 90m) or when (2026-12-24T18:00:00Z)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_how_long_or_when() {
        let now: Timestamp = "2026-11-22T17:00:00Z".parse().unwrap();
        let read = |text: &str| time(text, now).map(|at| at.to_string()).map_err(|e| e.to_string());
        assert_eq!(read("2d").unwrap(), "2026-11-24T17:00:00Z");
        assert_eq!(read("90m").unwrap(), "2026-11-22T18:30:00Z");
        assert_eq!(read("2026-12-24T18:00:00Z").unwrap(), "2026-12-24T18:00:00Z");
        assert_eq!(read("soon").unwrap_err(), "`soon` is no time");
    }
}
