//! `:rollout` of an app in deploy.edn: in which batches its hosts get a commit, and what is done when one fails.

use super::diagnostic::Fault;
use super::section::{Context, Section};
use super::settings::time;
use super::ship::{commands, ship};
use crate::edn::{Node, Value};
use crate::model::rollout::{Batch, OnFailure, Rollout, Unreachable};

/// How many batches may be named, and how many hosts may be worked on at once.
const MOST: (usize, u32) = (50, 100);

/// The section, with its defaults, and what hosts are sent, beside it: who writes a `:rollout` wants hosts that failed to go back.
/// Without one, one host after the other.
pub(super) fn rollout(section: &mut Section<'_>, context: &mut Context) -> Rollout {
    let ship = ship(section, context);
    let (prepare, migrate, reversible) = commands(section, context);
    let whole = Rollout { ship, prepare, migrate, reversible, ..Rollout::default() };
    of_environment(&whole, section, context)
}

/// The section of an environment; the app's, `whole`, where it has none.
pub(super) fn of_environment(whole: &Rollout, section: &mut Section<'_>, context: &mut Context) -> Rollout {
    let Some(mut rollout) = section.section("rollout", context) else { return whole.clone() };
    let bare = Rollout { on_failure: OnFailure::Rollback, ..Rollout::default() };
    let batches = rollout.node("batches").map(|node| batches(node, context)).filter(|batches| !batches.is_empty());
    let max_failures = rollout.read::<u32>("max-failures", context);
    let pause = rollout.node("pause").and_then(|node| time(node, ":pause", context));
    let on_failure = match rollout.node("on-failure") {
        // Its name before it did anything.
        Some(Node { value: Value::Keyword(word), .. }) if word == "stop" => Some(OnFailure::Halt),
        Some(node) => context.value::<OnFailure>(node, ":on-failure").map(|what| what.value),
        None => None,
    };
    let unreachable = rollout.read::<Unreachable>("unreachable", context);
    let parallel = rollout.read::<u32>("parallel", context);
    if let Some(parallel) = parallel.as_ref().filter(|parallel| !(1..=MOST.1).contains(&parallel.value)) {
        let label = format!("expected a number from 1 to {}", MOST.1);
        context.fault(Fault::new(parallel.span, "`:parallel` can't be used", label));
    }
    rollout.finish(context);
    Rollout {
        batches: batches.unwrap_or(bare.batches),
        max_failures: max_failures.map_or(bare.max_failures, |most| most.value),
        pause: pause.unwrap_or(bare.pause),
        on_failure: on_failure.unwrap_or(bare.on_failure),
        unreachable: unreachable.map_or(bare.unreachable, |what| what.value),
        parallel: parallel.map_or(bare.parallel, |parallel| parallel.value.max(1)),
        ship: whole.ship.clone(),
        prepare: whole.prepare.clone(),
        migrate: whole.migrate.clone(),
        reversible: whole.reversible,
    }
}

fn batches(node: &Node, context: &mut Context) -> Vec<Batch> {
    let (Value::Vector(nodes) | Value::List(nodes)) = &node.value else {
        let label = format!("expected a vector like [1 \"25%\" \"100%\"], found {}", node.value.kind().words());
        context.fault(Fault::new(node.span, "`:batches` has the wrong kind of value", label));
        return Vec::new();
    };
    if nodes.is_empty() || nodes.len() > MOST.0 {
        let label = format!("expected one batch or more, and {} at most: the last is repeated", MOST.0);
        context.fault(Fault::new(node.span, "`:batches` can't be used", label));
    }
    let mut batches = Vec::new();
    for node in nodes {
        let batch = match &node.value {
            Value::Int(count) => u32::try_from(*count).ok().filter(|count| *count > 0).map(Batch::Hosts),
            Value::Str(text) => text
                .strip_suffix('%')
                .and_then(|number| number.parse::<u8>().ok())
                .filter(|share| (1..=100).contains(share))
                .map(Batch::Percent),
            _ => None,
        };
        match batch {
            Some(batch) => batches.push(batch),
            None => {
                let label = "expected a number of hosts or a share like \"50%\"";
                context.fault(Fault::new(node.span, "this is no batch", label));
            }
        }
    }
    batches
}
