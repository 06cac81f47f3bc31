//! How answers look: plain tables, relative times, colours only where they are seen.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::ValueEnum;
use jiff::Timestamp;

use super::error::CliError;
use crate::model::EnvName;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether there is a person at a terminal.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks that person, for whom nothing but a yes is one.
pub(super) fn says_yes(question: &str) -> Result<bool, CliError> {
    let mut err = io::stderr().lock();
    // Who can't be shown the question will hardly say yes.
    let _ = write!(err, "{question} Then type yes: ").and_then(|()| err.flush());
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|e| CliError::io("the answer can't be read", &e))?;
    Ok(["yes", "y"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// `web-1 web-2 (staging)`: what is in environments, with their names where there are any.
pub(super) fn within<'a>(environments: impl IntoIterator<Item = &'a EnvName>, text: String) -> String {
    let names: Vec<&str> = environments.into_iter().map(EnvName::as_str).collect();
    if names.is_empty() { text } else { format!("{text} ({})", names.join(", ")) }
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// For what goes to standard output.
    pub fn stdout(color: Color) -> Self {
        Self::new(color, io::stdout().is_terminal())
    }
    /// For what goes to standard error.
    pub fn stderr(color: Color) -> Self {
        Self::new(color, io::stderr().is_terminal())
    }
    fn new(color: Color, terminal: bool) -> Self {
        let wanted = || terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            on: match color {
                Color::Auto => wanted(),
                Color::Always => true,
                Color::Never => false,
            },
        }
    }

    pub fn is_on(self) -> bool {
        self.on
    }
    fn with(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
    pub fn red(self, text: &str) -> String {
        self.with("31", text)
    }
    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }
    pub fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }
    pub fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }
    /// A state of a job, a step, a host or a delivery, in its colour.
    pub fn state(self, state: &str) -> String {
        match state {
            "succeeded" | "unchanged" | "done" | "accepted" | "ok" => self.with("32", state),
            "failed" | "parked" | "unreachable" | "fault" => self.with("31", state),
            "partial" | "rolled-back" | "canceled" => self.with("33", state),
            "running" => self.with("36", state),
            _ => self.with("2", state),
        }
    }
}

/// Rows with a head, columns aligned. Cells may hold colours.
pub(super) fn table(paint: Paint, head: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines = vec![head.iter().map(|cell| paint.dim(cell)).collect::<Vec<_>>()];
    lines.extend(rows.iter().cloned());
    columns(&lines, "")
}

/// Rows without a head, each after `indent`.
pub(super) fn columns(rows: &[Vec<String>], indent: &str) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|c| seen(c)).max().unwrap_or(0);
    let most = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..most).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - seen(cell) + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// How many characters of it are seen: colours are not.
fn seen(text: &str) -> usize {
    let mut count = 0;
    let mut hidden = false;
    for c in text.chars() {
        match c {
            '\x1b' => hidden = true,
            'm' if hidden => hidden = false,
            _ if hidden => {}
            _ => count += 1,
        }
    }
    count
}

/// `3m ago`.
pub(super) fn ago(now: Timestamp, then: Timestamp) -> String {
    match now.duration_since(then).as_secs() {
        ..=0 => "now".to_owned(),
        seconds => format!("{} ago", span(seconds as f64)),
    }
}

/// `12s`, `3m`, `2h`, `5d`; below ten seconds with a tenth.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1}s"),
        s if s < 100.0 => format!("{s:.0}s"),
        s if s < 6000.0 => format!("{:.0}m", s / 60.0),
        s if s < 360_000.0 => format!("{:.0}h", s / 3600.0),
        s => format!("{:.0}d", s / 86400.0),
    }
}

/// How long from one time to the other.
pub(super) fn took(from: Timestamp, to: Timestamp) -> String {
    span(to.duration_since(from).as_secs_f64().max(0.0))
}

/// What came from outside, fit for a terminal: one line, and nothing in it that a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            c => push_shown(&mut out, c),
        }
    }
    out
}

/// A character, or what stands for one that moves the cursor, turns the text around or hides in it: `\u{202e}`.
fn push_shown(out: &mut String, c: char) {
    let is_hidden = matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    if c.is_control() || is_hidden { out.extend(c.escape_unicode()) } else { out.push(c) }
}

/// A text for people as it is written: all that pushers put into names, branches and messages is in it as characters, and
/// only our own colours are obeyed. Who has not passed a value through `plain` is caught here.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = COLOURS.iter().find_map(|code| {
            let end = rest.strip_prefix("\x1b[")?.strip_prefix(code)?.strip_prefix('m')?;
            Some(&rest[..rest.len() - end.len()])
        });
        let taken = match (colour, c) {
            (Some(colour), _) => {
                out.push_str(colour);
                colour.len()
            }
            (None, '\n' | '\t') => {
                out.push(c);
                1
            }
            (None, c) => {
                push_shown(&mut out, c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    out
}

/// The codes of [`Paint`], and its end.
const COLOURS: [&str; 7] = ["0", "1", "2", "31", "32", "33", "36"];

/// Prints for people. A reader that went away (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    print_bytes(shown(text).as_bytes()).map(|_| ())
}

/// Prints for programs, as it is.
pub(super) fn print_page(text: &str) -> Result<(), CliError> {
    print_bytes(text.as_bytes()).map(|_| ())
}

/// Prints, and says whether anyone still reads.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<bool, CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::io("standard output can't be written", &error)),
    }
}

/// A line to standard error; one that can't be written is not worth failing for.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", shown(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_the_colours() {
        let paint = Paint { on: true };
        let rows = vec![vec![paint.red("ab"), "x".into()], vec!["abcd".into(), "y".into()]];
        assert_eq!(columns(&rows, " "), " \x1b[31mab\x1b[0m    x\n abcd  y\n");
    }

    #[test]
    fn what_pushers_write_is_shown_and_never_obeyed() {
        let evil = "a\u{202e}b\x1b[2J\x07\u{9b}1m\r\nc \u{5d0} é 🚀";
        assert_eq!(plain(evil), "a\\u{202e}b\\u{1b}[2J\\u{7}\\u{9b}1m\\u{d} c \u{5d0} é 🚀");
        let paint = Paint { on: true };
        assert_eq!(
            shown(&format!("{}\n\t{evil}\n", paint.red("x"))),
            format!("\x1b[31mx\x1b[0m\n\t{}\n", plain(evil).replace(" c", "\nc"))
        );
    }

    #[test]
    fn spans_are_short() {
        let spans = [0.44, 12.3, 99.0, 150.0, 7200.0, 400_000.0].map(span);
        assert_eq!(spans, ["0.4s", "12s", "99s", "2m", "2h", "5d"]);
    }
}
