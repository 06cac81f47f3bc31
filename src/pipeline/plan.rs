//! The planner's loop: events without a plan get one, oldest first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::looks::Looks;
use super::{Inner, unpoison};
use crate::model::progress::REQUESTS;
use crate::model::{AppName, Branch, Cause, Draft, Event, EventId, EventKind, JobId, Outcome, Push, Sha};
use crate::planner::{self, Context};
use crate::store::{OwnCommit, PlanOutcome, StoreError};

/// How often an event's planning may fail before it waits for the next start.
const TRIES: u32 = 3;

impl Inner {
    pub(super) async fn plan_events(self: Arc<Self>) {
        let mut accepted = self.store.events();
        let mut ticks = self.ticks.subscribe();
        let mut failed = false;
        let mut tries: HashMap<EventId, u32> = HashMap::new();
        let mut looks = Looks::default();
        loop {
            if std::mem::take(&mut failed) {
                // A plan may be on disk though its writing was told to have failed: no job is without a worker.
                for job in self.store.open_jobs() {
                    self.spawn_worker(job.id);
                }
            }
            // They begin once what is asked of one app has its plan too: it joins jobs that have not begun. What spreads
            // may take a while, so that nothing waits for its plan.
            let mut planned: Vec<JobId> = Vec::new();
            for event in self.store.unplanned() {
                if self.ending.is_cancelled() {
                    return;
                }
                if !event.what.is_asked() {
                    planned.drain(..).for_each(|job| self.spawn_worker(job));
                }
                let id = event.id;
                if tries.get(&id).is_some_and(|tries| *tries >= TRIES) {
                    continue;
                }
                match looks.lets(&self, &event) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(error) => {
                        tracing::error!(event = %id, %error, "an event waits for the store");
                        failed = true;
                        continue;
                    }
                }
                // In a task of its own: an event that can't be planned at all keeps no other from it.
                let planning = self.clone();
                match tokio::spawn(async move { planning.plan_event(&event).await }).await {
                    Ok(Ok(outcome)) => {
                        planned.extend(outcome.created);
                        tries.remove(&id);
                        looks.planned(id);
                    }
                    Ok(Err(StoreError::NotWaiting(_))) => {
                        tries.remove(&id);
                        looks.planned(id);
                    }
                    Ok(Err(error @ (StoreError::Unavailable { .. } | StoreError::Closed))) => {
                        tracing::error!(event = %id, %error, "an event waits for the store");
                        failed = true;
                    }
                    Ok(Err(error)) => {
                        *tries.entry(id).or_default() += 1;
                        tracing::error!(event = %id, %error, "an event could not be planned; after {TRIES} tries it waits for the next start");
                        failed = true;
                    }
                    Err(panic) => {
                        *tries.entry(id).or_default() += 1;
                        tracing::error!(event = %id, error = %panic, "an event could not be planned; after {TRIES} tries it waits for the next start");
                        failed = true;
                    }
                }
            }
            planned.drain(..).for_each(|job| self.spawn_worker(job));
            let retry = async {
                if failed {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                seen = accepted.changed() => if seen.is_err() { return },
                _ = ticks.changed() => {}
                () = looks.next() => {}
                () = retry => {}
                () = self.ending.cancelled() => return,
            }
        }
    }

    async fn plan_event(self: &Arc<Self>, event: &Event) -> Result<PlanOutcome, StoreError> {
        // Who depends on what matters for all but what a person asks of one app.
        let spreads = !event.what.is_asked();
        if spreads {
            self.start_reading();
            self.await_reading().await;
        }
        let context = self.context(event).await?;
        let _turn = match spreads {
            true => Some(self.lacking.lock().await),
            false => None,
        };
        let draft: Draft = {
            let graph = unpoison(self.graph.read());
            let mut draft = planner::plan(&graph, event, &context);
            // Of the same moment: nobody is read while the graph is looked at.
            if spreads {
                unpoison(self.unread.lock()).tell(&mut draft);
                shorten(&mut draft.notes);
            }
            draft
        };
        if let EventKind::Push(push) = &event.what {
            self.doubt_residents(push, context.default_branch.as_ref());
        }
        let apps = draft.apps.len();
        let (unread, given_up) = (draft.unread.clone(), draft.given_up.clone());
        let outcome = self.store.plan(event.id, draft).await?;
        unpoison(self.unread.lock()).noted(&unread, &given_up);
        let delivery = event.delivery.map(tracing::field::display);
        tracing::info!(event = %event.id, delivery, apps, created = outcome.created.len(), joined = outcome.joined.len(), "planned");
        self.tick();
        Ok(outcome)
    }

    async fn context(&self, event: &Event) -> Result<Context, StoreError> {
        let held = self.held_apps();
        let EventKind::Push(push) = &event.what else { return Ok(Context { held, ..Context::default() }) };
        let default_branch = self.default_branch(push).await;
        let own_plan = match self.made_by_us(push).await? {
            Some(own) => self.apps_beside(own)?,
            None => None,
        };
        let settled = match event.again {
            Some(earlier) => self.settled(earlier)?,
            None => BTreeMap::new(),
        };
        let untouched = self.untouched(push, default_branch.as_ref()).await?;
        Ok(Context { default_branch, own_plan, held, settled, untouched })
    }

    /// The apps of the plans that made a commit of ours.
    pub(super) fn apps_beside(&self, own: OwnCommit) -> Result<Option<BTreeSet<AppName>>, StoreError> {
        match own.past {
            Some(past) => Ok(Some(past.apps.into_iter().collect())),
            None => self.store.job(own.job)?.map(|job| self.apps_of_plans(job.live_causes())).transpose(),
        }
    }

    /// The commit that a push brought, if it is one of ours: not if a person brought it, who has merged it after its
    /// job had ended without that, or has put the branch back to it.
    async fn made_by_us(&self, push: &Push) -> Result<Option<OwnCommit>, StoreError> {
        let is_offer = push.branch.as_str().starts_with(REQUESTS);
        if !is_offer && (self.is_by_people(&push.after)? || self.is_put_back(push).await) {
            return Ok(None);
        }
        self.store.own_commit(&push.after)
    }

    /// Whether a push took a branch back to a commit that it had before, as far as is known: we never do.
    async fn is_put_back(&self, push: &Push) -> bool {
        let Some(before) = push.before.filter(|before| *before != push.after) else { return false };
        let rooms = self.rooms.load_full();
        for repo in push.repos() {
            if let Ok(true) = rooms.git.is_ancestor(&repo, push.after, before).await {
                return true;
            }
        }
        false
    }

    /// Whether a commit of a branch is there by people: made by them, or by a job that ended without publishing it, so
    /// that they took what it had offered.
    pub(super) fn is_by_people(&self, commit: &Sha) -> Result<bool, StoreError> {
        let Some(own) = self.store.own_commit(commit)? else { return Ok(true) };
        let job = self.store.job(own.job)?;
        Ok(job.is_some_and(|job| job.ended.is_some() && job.published.is_none()))
    }

    fn apps_of_plans<'a>(&self, causes: impl Iterator<Item = &'a Cause>) -> Result<BTreeSet<AppName>, StoreError> {
        let mut apps = BTreeSet::new();
        for cause in causes {
            if let Some((_, rows)) = self.store.plan_of(cause.plan)? {
                apps.extend(rows.into_iter().map(|row| row.app));
            }
        }
        Ok(apps)
    }

    /// The apps whose job for an earlier event of the same push ended well, and the branch and commit it left them at.
    fn settled(&self, earlier: EventId) -> Result<BTreeMap<AppName, (Option<Branch>, Sha)>, StoreError> {
        let mut settled = BTreeMap::new();
        let mut next = Some(earlier);
        while let Some(id) = next {
            for row in self.store.plan_of(id)?.map(|(_, rows)| rows).unwrap_or_default() {
                let Some(job) = self.store.job(row.job)? else { continue };
                if let (true, Some(sha)) = (job.outcome().is_some_and(Outcome::is_well), job.commit()) {
                    let branch = job.base.as_ref().map(|(branch, _)| branch.clone());
                    settled.entry(row.app).or_insert((branch, sha));
                }
            }
            next = self.store.event(id)?.and_then(|row| row.event.again);
        }
        Ok(settled)
    }
}

/// So many notes are kept of a plan, and so much of each: a row stays small.
const NOTES: (usize, usize) = (20, 400);

fn shorten(notes: &mut Vec<String>) {
    let more = notes.len().saturating_sub(NOTES.0);
    notes.truncate(NOTES.0);
    for note in notes.iter_mut().filter(|note| note.len() > NOTES.1) {
        let end = (0..=NOTES.1).rev().find(|i| note.is_char_boundary(*i)).unwrap_or(0);
        note.truncate(end);
        note.push('…');
    }
    if more > 0 {
        notes.push(format!("and {more} more; the daemon's log has them"));
    }
}
