//! `:builds` of config.edn: what builds may take of the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnostic::Fault;
use super::section::{Context, Section};
use super::settings::time;
use super::source::Source;
use super::values::Size;
use crate::edn::de::Spanned;
use crate::edn::{Node, Value};

/// What builds may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Builds {
    /// How many run at once; by default what the machine's cores and memory are enough for.
    pub concurrency: Option<usize>,
    /// How much memory one may take, in bytes; by default its share of the machine's.
    pub memory: Option<u64>,
    /// How many processors one may keep busy; by default all.
    pub cpus: Option<f64>,
    /// Folders and files that builds may write, beside their clone and home.
    pub write: Vec<Spanned<PathBuf>>,
    /// How long one may print nothing; 10 minutes.
    pub silence: Duration,
    /// How long one may take where its app says nothing; 60 minutes.
    pub timeout: Duration,
}

/// So many builds at once are a slip of the pen.
const MOST_AT_ONCE: usize = 1000;
/// The least memory with which anything can be built at all; less is a slip of the unit.
const LEAST_MEMORY: u64 = 16_000_000;

pub(super) fn read(section: Option<Section<'_>>, context: &mut Context) -> Builds {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let (silence, timeout) = (minutes(10), minutes(60));
    let mut builds = Builds { concurrency: None, memory: None, cpus: None, write: Vec::new(), silence, timeout };
    let Some(mut section) = section else { return builds };
    if let Some(number) = section.read::<usize>("concurrency", context) {
        if number.value == 0 {
            let label = "expected 1 or more";
            context.fault(Fault::new(number.span, "with `:concurrency 0` nothing would ever be built", label));
        }
        if number.value > MOST_AT_ONCE {
            let label = format!("expected {MOST_AT_ONCE} or less");
            context.fault(Fault::new(number.span, "no machine builds so many at once", label));
        }
        builds.concurrency = Some(number.value);
    }
    if let Some(size) = section.read::<Size>("memory", context) {
        if size.value.0 < LEAST_MEMORY {
            let label = "expected \"16MB\" or more";
            context.fault(Fault::new(size.span, "nothing can be built with so little `:memory`", label));
        }
        builds.memory = Some(size.value.0);
    }
    if let Some(number) = section.node("cpus") {
        builds.cpus = cpus(number, context);
    }
    if let Some(node) = section.node("write") {
        builds.write = paths(node, context);
    }
    if let Some(node) = section.node("silence") {
        builds.silence = time(node, ":silence", context).unwrap_or(builds.silence);
    }
    if let Some(node) = section.node("timeout") {
        builds.timeout = time(node, ":timeout", context).unwrap_or(builds.timeout);
    }
    section.finish(context);
    builds
}

/// A number of processors, halves too.
fn cpus(node: &Node, context: &mut Context) -> Option<f64> {
    let number = context.value::<f64>(node, ":cpus")?;
    if !(0.1..=4096.0).contains(&number.value) {
        context.fault(Fault::new(number.span, "`:cpus` is no number of processors", "expected 0.1 or more"));
        return None;
    }
    Some(number.value)
}

/// A fault for each folder of `:write` in which one of `places` lies, the daemon's own, whatever links lead there: what
/// is opened to builds is open with all below it.
pub(super) fn too_wide(write: &[Spanned<PathBuf>], places: &[PathBuf], source: &dyn Source) -> Vec<Fault> {
    let real = |path: &Path| source.real(path);
    let fault = |path: &Spanned<PathBuf>| {
        let folder = real(path);
        let own = places.iter().find(|place| place.starts_with(&folder) || real(place).starts_with(&folder))?;
        let message =
            format!("with {} in `:write`, builds could read and write the daemon's own files", path.display());
        let label = format!("{} is in there", own.display());
        Some(Fault::new(path.span, message, label).help("name only folders with nothing of the daemon's in them"))
    };
    write.iter().filter_map(fault).collect()
}

/// A vector of paths.
fn paths(node: &Node, context: &mut Context) -> Vec<Spanned<PathBuf>> {
    let Value::Vector(nodes) = &node.value else {
        let label = format!("expected a vector like [\"/srv/releases\"], found {}", node.value.kind().words());
        context.fault(Fault::new(node.span, "`:write` has the wrong kind of value", label));
        return Vec::new();
    };
    let path = |node| {
        let text = context.value::<String>(node, ":write")?;
        Some(Spanned::new(text.span, context.path(text)))
    };
    nodes.iter().filter_map(path).collect()
}
