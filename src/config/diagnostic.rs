//! Faults in the user's files, shown as a compiler shows them. What is a secret is blacked out before it gets here.

use std::fmt;
use std::path::{Path, PathBuf};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, Severity, SourceCode, ThemeCharacters, ThemeStyles};

use crate::edn::{Position, Span, position};

use super::excerpt::Excerpt;
use super::source::{Text, Texts};

/// One thing that is wrong, or looks wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where; none if there is no text to point into.
    pub span: Option<Span>,
    /// What is wrong.
    pub message: String,
    /// What was expected, written beside the caret.
    pub expected: String,
    /// "Did you mean", or what to do.
    pub help: Option<String>,
    /// An earlier place that explains it.
    pub related: Option<(Span, String)>,
    /// It is only a warning.
    pub warning: bool,
}

impl Fault {
    pub fn new(span: Span, message: impl Into<String>, expected: impl Into<String>) -> Self {
        let (message, expected) = (message.into(), expected.into());
        Self { span: Some(span), message, expected, help: None, related: None, warning: false }
    }
    /// About a whole file.
    pub fn placeless(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { span: None, message, expected: String::new(), help: None, related: None, warning: false }
    }
    pub fn warning(mut self) -> Self {
        self.warning = true;
        self
    }
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    pub fn help_if(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }
}

/// What is wrong with the user's files. `Display` is the plain form, for logs and the API; [`Diagnostics::render`] is
/// for terminals. Neither shows a secret.
#[derive(Clone, Default)]
pub struct Diagnostics {
    texts: Vec<Text>,
    faults: Vec<Fault>,
    files: Vec<PathBuf>,
}

/// One fault without its source line, for the API.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The file; none if it is about no place in a file.
    pub file: Option<PathBuf>,
    /// From 1.
    pub line: Option<usize>,
    /// From 1, in characters.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What was expected, and hints; may be empty.
    pub expected: String,
    /// "Did you mean", or what to do.
    pub help: Option<String>,
}

impl Diagnostics {
    /// `texts` must be blacked out already.
    pub(super) fn new(texts: Texts, faults: Vec<Fault>, files: Vec<PathBuf>) -> Self {
        Self { texts: texts.0, faults, files }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Every file that was read or looked for: a change in any of them may cure this.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The faults one by one.
    pub fn findings(&self) -> impl Iterator<Item = Finding> + '_ {
        self.faults.iter().map(|fault| {
            let place = fault.span.and_then(|span| self.place(span));
            Finding {
                file: place.map(|(path, _)| path.to_owned()),
                line: place.map(|(_, at)| at.line),
                column: place.map(|(_, at)| at.column),
                message: fault.message.clone(),
                expected: fault.expected.clone(),
                help: fault.help.clone(),
            }
        })
    }

    /// All of it as a compiler would write it, one fault after the other.
    pub fn render(&self, colour: bool) -> String {
        let styles = if colour { ThemeStyles::ansi() } else { ThemeStyles::none() };
        let characters = ThemeCharacters {
            underbar: '^',
            error: "error:".into(),
            warning: "warning:".into(),
            ..ThemeCharacters::ascii()
        };
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme { characters, styles })
            .with_wrap_lines(false)
            .with_context_lines(1)
            .with_links(false)
            .tab_width(1);
        let mut out = String::new();
        for fault in &self.faults {
            if !out.is_empty() {
                out.push('\n');
            }
            let source = fault
                .span
                .and_then(|span| self.text(span))
                .map(|text| Excerpt::new(text.path.display().to_string(), text.text.clone()));
            // Writing to a String can't fail, and the spans are of this very text; the message alone is the next best.
            if handler.render_report(&mut out, &Shown { fault, source }).is_err() {
                out.push_str(&fault.message);
            }
        }
        // miette pads what it wraps.
        let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
        lines.join("\n") + if out.is_empty() { "" } else { "\n" }
    }

    fn text(&self, span: Span) -> Option<&Text> {
        self.texts.get(usize::from(span.source.0))
    }

    fn place(&self, span: Span) -> Option<(&Path, Position)> {
        self.text(span).map(|text| (text.path.as_path(), position(&text.text, span.start)))
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Diagnostics {}

/// One fault as miette takes it.
struct Shown<'a> {
    fault: &'a Fault,
    source: Option<Excerpt>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.message)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(if self.fault.warning { Severity::Warning } else { Severity::Error })
    }
    fn help<'h>(&'h self) -> Option<Box<dyn fmt::Display + 'h>> {
        self.fault.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (span, source) = (self.fault.span?, self.source.as_ref()?);
        let label = Some(self.fault.expected.clone()).filter(|label| !label.is_empty());
        let related = self.fault.related.as_ref().filter(|(other, _)| other.source == span.source);
        let related = related
            .map(|(span, label)| LabeledSpan::new_with_span(Some(label.clone()), source.underlined(span.range())));
        Some(Box::new(
            std::iter::once(LabeledSpan::new_primary_with_span(label, source.underlined(span.range()))).chain(related),
        ))
    }
}
