//! `:window` of an app or of an environment in deploy.edn: when a rollout that nobody asked for may begin.

use jiff::tz::TimeZone;

use super::diagnostic::Fault;
use super::section::{Context, Section};
use crate::edn::{Node, Value};
use crate::model::window::{DAY, Day, Window};

/// The window under `:window`, if there is one.
pub(super) fn window(section: &mut Section<'_>, context: &mut Context) -> Option<Window> {
    let mut window = section.section("window", context)?;
    let days = match window.node("days") {
        Some(node) => days(node, context),
        None => Day::ALL.to_vec(),
    };
    let hours = match window.node("hours") {
        Some(node) => hours(node, context),
        None => Some((0, DAY)),
    };
    let tz = window.line("tz", context);
    if window.node("days").is_none() && window.node("hours").is_none() {
        let head = crate::edn::Span { end: (window.span.start + 1).min(window.span.end), ..window.span };
        let message = "`:window` says neither days nor hours";
        let label = "expected {:days [:mon :tue] :hours \"09:00-16:30\" :tz \"Europe/Zurich\"}";
        context.fault(Fault::new(head, message, label));
    }
    if let Some(tz) = &tz
        && TimeZone::get(&tz.value).is_err()
    {
        let message = format!("the time zone \"{}\" is not known on this machine", tz.value.escape_debug());
        let label = "expected a name like \"Europe/Zurich\"";
        let help = "`timedatectl list-timezones` has all names; where it has few, install tzdata";
        context.fault(Fault::new(tz.span, message, label).help(help));
    }
    window.finish(context);
    let ((from, to), tz) = (hours?, tz.map_or_else(|| "UTC".to_owned(), |tz| tz.value));
    (!days.is_empty()).then_some(Window { days, from, to, tz })
}

fn days(node: &Node, context: &mut Context) -> Vec<Day> {
    let (Value::Vector(nodes) | Value::List(nodes) | Value::Set(nodes)) = &node.value else {
        let label = format!("expected a vector like [:mon :tue], found {}", node.value.kind().words());
        context.fault(Fault::new(node.span, "`:days` has the wrong kind of value", label));
        return Vec::new();
    };
    if nodes.is_empty() {
        context.fault(Fault::new(node.span, "`:days` names no day", "expected one or more, like [:mon :tue]"));
    }
    let mut days: Vec<Day> = nodes.iter().filter_map(|node| Some(context.value::<Day>(node, ":days")?.value)).collect();
    days.sort();
    days.dedup();
    days
}

/// `"09:00-16:30"` in minutes of the day.
fn hours(node: &Node, context: &mut Context) -> Option<(u16, u16)> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let digits = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
        let at = digits(hour)? * 60 + digits(minute).filter(|minute| *minute < 60)?;
        (at <= DAY).then_some(at)
    };
    let hours = node.as_str().and_then(|text| text.split_once('-'));
    let hours = hours.and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
    let hours = hours.filter(|(from, to)| from != to && *from < DAY);
    if hours.is_none() {
        let label = "expected hours of a day like \"09:00-16:30\", or over midnight \"22:00-04:00\"";
        context.fault(Fault::new(node.span, "`:hours` can't be used", label));
    }
    hours
}
