//! What stands for longer than anyone means it to: holds that were forgotten, repositories that can't be listed, branches
//! that are followed and gone. Only a daemon that runs knows.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Patient;
use crate::model::hold::Hold;
use crate::model::repo::RepoView;
use crate::model::{AppName, Check};

/// How long a hold may be before it is asked whether anyone still means it.
const LONG: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The holds that are old, of one app or of all.
pub(super) async fn holds(patient: Arc<Patient>, only: Option<AppName>) -> Vec<Check> {
    let Some(alive) = &patient.alive else { return Vec::new() };
    let (holds, now) = (alive.pipeline.holds(), Timestamp::now());
    holds.iter().filter(|hold| only.as_ref().is_none_or(|app| hold.app == *app)).filter_map(|h| old(h, now)).collect()
}

fn old(hold: &Hold, now: Timestamp) -> Option<Check> {
    let stands = now.duration_since(hold.at);
    let lib = hold.lib.as_ref().map(|lib| format!(" {lib}")).unwrap_or_default();
    let said = format!("for {} days: {hold}", stands.as_hours() / 24);
    let mend = format!("if nobody means it any more: airplanes hold {}{lib} --release", hold.app);
    (stands > LONG).then(|| Check::warning("holds", format!("{}{lib}", hold.app), said, mend))
}

/// The repositories that could not be listed the last time, and branches that apps follow and that are gone.
pub(super) async fn unlisted(patient: Arc<Patient>, only: Option<AppName>) -> Vec<Check> {
    let Some(alive) = &patient.alive else { return Vec::new() };
    let views = match alive.reconcile.views(|_| true).await {
        Ok(views) => views,
        Err(error) => {
            let mend = "airplanes status   (says what is wrong with the store)";
            return vec![Check::failed("git", "listings", error.to_string(), mend)];
        }
    };
    let concerns =
        |view: &RepoView| only.as_ref().is_none_or(|app| view.apps.contains(app) || view.dependents.contains(app));
    views.into_iter().filter(concerns).flat_map(checks).collect()
}

fn checks(view: RepoView) -> Vec<Check> {
    let group = format!("git {}", view.repo);
    let error = view.error.map(|fault| {
        let said = format!("not listed since {}: {}", fault.since.strftime("%Y-%m-%d %H:%MZ"), fault.why);
        Check::warning(&group, "listing", said, "airplanes sync   (asks again, and says what comes of it)")
    });
    let gone = view.gone.iter().map(|branch| {
        let said = format!("an app follows its branch {branch}, which is not there (any more)");
        let mend = "correct :branch or :track in deploy.edn, or a sha that was on it: airplanes graph   (says which)";
        Check::warning(&group, "branch", said, mend)
    });
    error.into_iter().chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventId, JobId, Sha};

    #[test]
    fn a_hold_is_asked_after_when_it_is_older_than_thirty_days() {
        let at: Timestamp = "2026-10-01T12:00:00Z".parse().unwrap();
        let job = JobId { event: EventId(1), index: 0 };
        let bad = Sha::from_bytes([7; 20]);
        let hold = Hold::of_rollback("shop".parse().unwrap(), bad, job, "web-1 was not well", at);
        assert_eq!(old(&hold, "2026-10-31T11:00:00Z".parse().unwrap()), None);
        let check = old(&hold, "2026-11-02T12:00:00Z".parse().unwrap()).unwrap();
        assert!(check.detail.contains("for 32 days: shop is held by a rollback"), "{check:?}");
        assert!(check.mend.unwrap().contains("airplanes hold shop --release"));
    }
}
