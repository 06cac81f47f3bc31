//! The log in systemd's journal: each event with its fields, so that `journalctl AIRPLANES_JOB=…` finds what concerns a
//! job.
//!
//! A person who reads `journalctl -u airplanes` sees messages alone, so a message carries its fields in words as well:
//! "a step failed" without the error would help nobody. Must never lose an event for having many fields.

use std::fmt::Write as _;
use std::io;

use nix::sys::stat::fstat;
use tracing::field::{Field, Value, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// What the journal's fields begin with.
const PREFIX: &str = "AIRPLANES";
/// How many of an event's fields are fields in the journal too; no event has as many.
const FIELDS: usize = 32;

/// Whether standard error goes to the journal, as systemd says in JOURNAL_STREAM.
pub fn is_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
}

/// Writes events to the journal.
pub struct Journal(tracing_journald::Layer);

impl Journal {
    /// Opens the journal's socket.
    pub fn open() -> io::Result<Self> {
        Ok(Self(tracing_journald::layer()?.with_field_prefix(Some(PREFIX.to_owned()))))
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Journal {
    fn on_new_span(&self, attrs: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attrs, id, context);
    }
    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let fields = event.metadata().fields();
        let Some(message) = fields.field("message") else { return self.0.on_event(event, context) };
        let mut said = Said::default();
        event.record(&mut said);
        let line = said.line();
        // The same event, with another message.
        let mut row: [(&Field, Option<&dyn Value>); FIELDS] = [(&message, None); FIELDS];
        row[0] = (&message, Some(&line));
        for (place, (field, text)) in row.iter_mut().skip(1).zip(&said.others) {
            *place = (field, Some(text));
        }
        self.0.on_event(&Event::new(event.metadata(), &fields.value_set(&row)), context);
    }
}

/// An event's values as text.
#[derive(Default)]
struct Said {
    message: String,
    others: Vec<(Field, String)>,
}

impl Said {
    /// The message and, after it, the other fields.
    fn line(&self) -> String {
        let mut line = self.message.clone();
        for (field, text) in &self.others {
            // Into a String, writing can't fail.
            let _ = write!(line, " {}={text}", field.name());
        }
        line
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.others.push((field.clone(), value.to_owned())),
        }
    }
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
