//! This machine's clock against others': a forge's, by the `Date` of its answer. (Hosts' clocks are asked with their
//! login.) Signed webhooks and logs suffer from a clock that is wrong.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Patient;
use crate::model::Check;

/// From where a clock counts as wrong.
pub(super) const APART: SignedDuration = SignedDuration::from_secs(30);
/// Forges whose pages are public: asked for the time where an app's repository is there.
const PUBLIC: [&str; 4] = ["github.com", "gitlab.com", "bitbucket.org", "codeberg.org"];
const MEND: &str = "timedatectl set-ntp true";

/// The check.
pub(super) async fn check(patient: Arc<Patient>) -> Vec<Check> {
    let (group, name) = ("machine", "clock");
    let hosts = patient.loaded.apps.values().map(|app| app.git_url.parts().host.to_ascii_lowercase());
    let forges = PUBLIC.into_iter().filter(|forge| hosts.clone().any(|host| host == *forge));
    let urls = forges.map(|forge| format!("https://{forge}/")).chain(patient.loaded.config.url.clone());
    for url in urls {
        let before = Timestamp::now();
        let Ok(answer) = patient.http.head(&url).send().await else { continue };
        let date = answer.headers().get("date").and_then(|value| value.to_str().ok());
        let Some(theirs) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else { continue };
        let ours = before + (Timestamp::now().duration_since(before) / 2);
        return vec![judge(group, name, ours, theirs.timestamp(), &url)];
    }
    vec![Check::skipped(group, name, "nobody to compare it with answers from here; the hosts' clocks are below")]
}

/// Our clock against one that told whole seconds.
pub(super) fn judge(group: &str, name: &str, ours: Timestamp, theirs: Timestamp, whose: &str) -> Check {
    let apart = ours.duration_since(theirs);
    let seconds = apart.as_secs().abs();
    if apart.abs() > APART {
        let way = if apart.is_positive() { "ahead of" } else { "behind" };
        return Check::warning(group, name, format!("this machine's clock is {seconds} s {way} that of {whose}"), MEND);
    }
    Check::ok(group, name, format!("within {} s of {whose}", seconds.max(1)))
}
