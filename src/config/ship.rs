//! `:ship`, `:artifact` and `:keep-releases` of an app in deploy.edn: what its hosts get of a commit, and where from; and
//! `:prepare` and `:migrate`, which run there before anything is restarted.

use serde::Deserialize;

use super::diagnostic::Fault;
use super::section::{Context, Section};
use super::updates::relative;
use crate::edn::Value;
use crate::edn::de::Spanned;
use crate::model::rollout::{Artifact, Ship};

/// How many releases stay without a word, and how many may.
const KEEP: (u32, u32) = (5, 100);

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Pull,
    Push,
}

/// Whether an app is brought anywhere.
pub(super) fn has_hosts(section: &Section<'_>) -> bool {
    ["hosts", "ip", "environments"].into_iter().any(|key| section.has(key))
}

/// The keys, with their defaults.
pub(super) fn ship(section: &mut Section<'_>, context: &mut Context) -> Ship {
    let word = section.read::<Word>("ship", context);
    let artifact = section.line("artifact", context);
    let keep = section.read::<u32>("keep-releases", context);
    let Some(artifact) = artifact else {
        if let Some(keep) = keep.filter(|_| section.node("artifact").is_none()) {
            let message = format!("{} has no releases, so its `:keep-releases` does nothing", section.what);
            let help = "give it `:artifact \"target/app.jar\"`";
            context.fault(Fault::new(keep.span, message, "never used").help(help).warning());
        }
        return match word {
            Some(Spanned { value: Word::Push, .. }) => Ship::Push,
            _ => Ship::Pull,
        };
    };
    if let Some(word) = word {
        let fault = Fault::new(word.span, "both `:ship` and `:artifact` say what hosts get", "expected one of them");
        context.fault(fault.related(artifact.span, "the file is named here"));
    }
    if section.node("build").is_none() {
        let message = format!("nothing makes the `:artifact` of {}", section.what);
        let fault = Fault::new(artifact.span, message, "a file that its build makes");
        context.fault(fault.help("give it a `:build`; `:ship :push` is for hosts that get the repository itself"));
    }
    if !has_hosts(section) {
        let message = format!("{} has no hosts, so its `:artifact` does nothing", section.what);
        let fault = Fault::new(artifact.span, message, "never used");
        context.fault(fault.help("give it `:hosts [:name]`").warning());
    }
    let label = match relative(&artifact.value) {
        Ok(()) if artifact.value.contains(['*', '?']) => Some("expected one file, without wildcards"),
        Ok(()) => None,
        Err(label) => Some(label),
    };
    if let Some(label) = label {
        context.fault(Fault::new(artifact.span, "`:artifact` can't be used", label));
    }
    if let Some(keep) = keep.as_ref().filter(|keep| !(1..=KEEP.1).contains(&keep.value)) {
        let label = format!("expected a number from 1 to {}", KEEP.1);
        context.fault(Fault::new(keep.span, "`:keep-releases` can't be used", label));
    }
    Ship::Artifact(Artifact { path: artifact.value, keep: keep.map_or(KEEP.0, |keep| keep.value) })
}

/// `:prepare`, `:migrate` and whether that is `:reversible?`.
pub(super) fn commands(section: &mut Section<'_>, context: &mut Context) -> (Option<String>, Option<String>, bool) {
    let prepare = command("prepare", section, context);
    let migrate = command("migrate", section, context);
    let reversible = section.read::<bool>("reversible?", context);
    if !has_hosts(section) {
        for (key, command) in [("prepare", &prepare), ("migrate", &migrate)] {
            let Some(command) = command else { continue };
            let message = format!("{} has no hosts, so its `:{key}` does nothing", section.what);
            let fault = Fault::new(command.span, message, "never used");
            context.fault(fault.help("give it `:hosts [:name]`").warning());
        }
    }
    if let Some(reversible) = reversible.as_ref().filter(|it| it.value && section.node("migrate").is_none()) {
        let message = format!("{} has no `:migrate`, so its `:reversible?` does nothing", section.what);
        context
            .fault(Fault::new(reversible.span, message, "never used").help("give it `:migrate \"command\"`").warning());
    }
    let line = |command: Option<Spanned<String>>| command.map(|command| command.value);
    (line(prepare), line(migrate), reversible.is_some_and(|reversible| reversible.value))
}

/// A line for the host's shell, or a command and its arguments, which that shell then takes as they are.
fn command(key: &'static str, section: &mut Section<'_>, context: &mut Context) -> Option<Spanned<String>> {
    let node = section.node(key)?;
    if !matches!(node.value, Value::Vector(_) | Value::List(_)) {
        return section.line(key, context);
    }
    let words = section.read::<Vec<String>>(key, context)?;
    let is_odd = |word: &String| word.contains(['\n', '\r', '\0']);
    if words.value.is_empty() || words.value.iter().any(is_odd) {
        let label = "expected a command and its arguments, each of one line";
        context.fault(Fault::new(words.span, format!("`:{key}` can't be used"), label));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let quoted = words.value.iter().map(|word| match !word.is_empty() && word.chars().all(is_plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    });
    Some(Spanned::new(words.span, quoted.collect::<Vec<_>>().join(" ")))
}
