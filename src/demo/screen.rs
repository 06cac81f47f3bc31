//! What a person sees: lines as things happen, with the seconds since it began; colours and a line that moves only on
//! a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use crate::cli::Color;

/// How a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
}

/// One line of what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    pub what: String,
    pub text: String,
    pub tone: Tone,
}

impl News {
    pub fn new(what: impl Into<String>, text: impl Into<String>, tone: Tone) -> Self {
        Self { what: what.into(), text: text.into(), tone }
    }
}

/// Standard output. That nobody reads it any more is no reason to stop: what was started has to be ended first.
pub(super) struct Screen {
    terminal: bool,
    color: bool,
    since: Instant,
    /// Whether the last line is one that is to be written over.
    passing: bool,
}

impl Screen {
    pub fn new(color: Color) -> Self {
        let terminal = io::stdout().is_terminal();
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        Self { terminal, color, since: Instant::now(), passing: false }
    }

    /// Whether git is to colour its diffs.
    pub fn git_color(&self) -> &'static str {
        if self.color { "--color=always" } else { "--color=never" }
    }

    /// A heading, after an empty line.
    pub fn heading(&mut self, text: &str) {
        let text = self.paint("1", text);
        self.line(&format!("\n{text}"));
    }
    /// A line of what happens, with the seconds since all began.
    pub fn news(&mut self, news: &News) {
        let seconds = self.seconds();
        let text = match news.tone {
            Tone::Plain => news.text.clone(),
            Tone::Good => self.paint("32", &news.text),
            Tone::Bad => self.paint("31", &news.text),
        };
        let what = self.paint("36", &format!("{:<14}", news.what));
        self.line(&format!("{seconds} {what} {text}"));
    }
    /// As [`Self::news`], of something plain.
    pub fn says(&mut self, what: &str, text: impl Into<String>) {
        self.news(&News::new(what, text, Tone::Plain));
    }
    /// Text of others, set in.
    pub fn quote(&mut self, text: &str) {
        for line in text.lines() {
            self.line(&format!("    {line}"));
        }
    }
    /// A command that a person could type.
    pub fn command(&mut self, text: &str) {
        let text = self.paint("1", text);
        self.line(&format!("    {text}"));
    }
    /// Plain words.
    pub fn words(&mut self, text: &str) {
        self.line(text);
    }
    /// What is going on just now; the next line writes over it. Nothing where there is no terminal.
    pub fn passing(&mut self, text: &str) {
        if self.terminal {
            let line = format!("{} {}", self.seconds(), self.paint("2", text));
            let mut out = io::stdout().lock();
            let _ = write!(out, "\r\x1b[K{line}");
            let _ = out.flush();
            self.passing = true;
        }
    }

    fn line(&mut self, text: &str) {
        let mut out = io::stdout().lock();
        let start = if std::mem::take(&mut self.passing) { "\r\x1b[K" } else { "" };
        let _ = writeln!(out, "{start}{text}");
        let _ = out.flush();
    }

    fn seconds(&self) -> String {
        self.paint("2", &format!("{:>5.1} s ", self.since.elapsed().as_secs_f32()))
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
