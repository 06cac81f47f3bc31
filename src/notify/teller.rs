//! The loop that looks, decides, keeps and sends. It is the only writer of what was told.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::conditions::{self, Now, Standing, Words};
use super::decide::{Ended, Group, deepened, judge};
use super::hearing::Hearing;
use super::outbox::{Attempt, Failure, Outbox};
use super::words::{self, Case};
use super::{NotifyError, Shared, way};
use crate::config::Loaded;
use crate::model::{AppName, Entry, EventId, JobState, Notice, Outcome, Outgoing, Step, Topic, Trouble};
use crate::store::{Change, StoreError, Telling};

/// How many ended jobs are looked at at once.
const AT_ONCE: usize = 1000;
/// How many attempts are made at once.
const ATTEMPTS: usize = 16;
/// How much of a log's end is read.
const LOG_END: u64 = 4096;

pub(super) struct Teller {
    shared: Arc<Shared>,
    /// What people were told of and is not over; the store has the same.
    troubles: BTreeMap<Topic, Trouble>,
    outbox: Outbox,
    sending: JoinSet<(String, Attempt)>,
    /// When each mark was first seen: the monotonic clock says how long a failure has been held.
    seen: HashMap<u64, Instant>,
    hearing: Hearing,
    up_since: Instant,
    config: Standing,
    store: Standing,
    /// The notice that told of the store's fault.
    store_told: Option<String>,
    /// The error that was said last.
    stuck: Option<String>,
}

impl Teller {
    pub fn new(shared: Arc<Shared>) -> Result<Self, NotifyError> {
        let store = &shared.setup.store;
        let troubles = store.troubles()?.into_iter().collect();
        let outbox = Outbox::new(shared.patience(), store.outgoing()?);
        Ok(Self {
            shared,
            troubles,
            outbox,
            sending: JoinSet::new(),
            seen: HashMap::new(),
            hearing: Hearing::default(),
            up_since: Instant::now(),
            config: Standing::default(),
            store: Standing::default(),
            store_told: None,
            stuck: None,
        })
    }

    /// Until `stop`. What is on its way then is sent again by the next daemon.
    pub async fn run(mut self, stop: CancellationToken) {
        // First listen, then look: nothing falls between.
        let mut changes = self.shared.setup.store.changes();
        loop {
            let mut next = Instant::now() + self.shared.setup.pace.look;
            match self.look().await {
                Ok(Some(again)) => next = next.min(Instant::now() + again),
                Ok(None) => {}
                Err(error) => self.stuck(&error),
            }
            loop {
                self.dispatch();
                let retry = self.outbox.next().unwrap_or(next);
                tokio::select! {
                    () = stop.cancelled() => return,
                    change = changes.recv() => match change {
                        Ok(Change { record, .. }) if !matches!(record.entry, Entry::Ended { .. }) => {}
                        // Lagging: looking again misses nothing, since marks stay until they are judged.
                        Ok(_) | Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return,
                    },
                    Some(done) = self.sending.join_next() => {
                        self.settle(done);
                        break;
                    }
                    () = sleep_until(next) => break,
                    () = sleep_until(retry) => {}
                }
            }
        }
    }

    /// Said once for each error: it is met again at every look.
    fn stuck(&mut self, error: &StoreError) {
        let words = error.to_string();
        if matches!(error, StoreError::Unavailable { .. } | StoreError::Closed) {
            tracing::debug!(%error, "what to tell waits for the store");
        } else if self.stuck.as_ref() != Some(&words) {
            tracing::error!(%error, "what to tell can't be kept, so nobody is told, which is a bug");
            self.stuck = Some(words);
        }
    }

    /// One look at all there is, and what follows from it. Gives when to look again if nothing else happens.
    async fn look(&mut self) -> Result<Option<Duration>, StoreError> {
        let loaded = self.shared.setup.in_force.load_full();
        let prints: Vec<String> = loaded.config.notify.ways.iter().map(way::print).collect();
        self.outbox.keep_ways(|print| prints.iter().any(|known| known == print));
        self.look_at_the_store(&loaded, &prints);
        self.publish(&loaded);
        if self.shared.setup.store.fault().is_some() {
            return Ok(None);
        }
        let mut plan = Plan::default();
        plan.telling.moved = self.outbox.moved.clone().into_iter().collect();
        let again = self.look_at_jobs(&loaded, &mut plan)?;
        self.look_at_conditions(&loaded, &mut plan)?;
        if prints.is_empty() {
            // What nobody is told is not known: whoever is added later hears of it.
            plan.troubles.clear();
            plan.troubles.extend(self.troubles.keys().map(|topic| (topic.clone(), None)));
            plan.notices.clear();
        }
        self.keep(plan, &prints).await?;
        self.publish(&loaded);
        Ok(again)
    }

    /// Writes a decision, and only then takes it for true.
    async fn keep(&mut self, plan: Plan, prints: &[String]) -> Result<(), StoreError> {
        let Plan { mut telling, troubles, notices } = plan;
        telling.troubles = troubles.clone().into_iter().collect();
        telling.outgoing = notices.into_iter().map(|notice| Outgoing { notice, left: prints.to_vec() }).collect();
        if telling.is_empty() {
            return Ok(());
        }
        let (moved, outgoing) = (telling.moved.clone(), telling.outgoing.clone());
        let places = self.shared.setup.store.tell(telling).await?;
        for (place, row) in moved {
            if self.outbox.moved.get(&place) == Some(&row) {
                self.outbox.moved.remove(&place);
            }
        }
        for (topic, trouble) in troubles {
            match trouble {
                Some(trouble) => self.troubles.insert(topic, trouble),
                None => self.troubles.remove(&topic),
            };
        }
        for (place, outgoing) in places.into_iter().zip(outgoing) {
            self.outbox.stored(place, outgoing);
        }
        Ok(())
    }

    /// A fault of the store can't be kept in it.
    fn look_at_the_store(&mut self, loaded: &Loaded, prints: &[String]) {
        let fault = self.shared.setup.store.fault();
        let stands = self.store.has_stood(fault.is_some(), self.shared.setup.pace.standing, Instant::now());
        let writer = self.shared.writer(loaded);
        let mut notice = match (fault, &self.store_told) {
            (Some(fault), None) if stands => {
                let Words { title, detail, next } = conditions::store_fault(&fault.why);
                let mut notice = writer.notice(conditions::happening(&Topic::Store, true), title, next);
                notice.detail = Some(writer.clean(&detail, 1000, 10));
                notice
            }
            (None, Some(_)) => {
                let (title, next) = conditions::over(&Topic::Store);
                writer.notice(conditions::happening(&Topic::Store, false), title, next)
            }
            _ => return,
        };
        notice.earlier.extend(self.store_told.take());
        if notice.event.is_trouble() {
            self.store_told = Some(notice.id.clone());
        }
        self.outbox.in_memory(Outgoing { notice, left: prints.to_vec() });
    }

    fn look_at_jobs(&mut self, loaded: &Loaded, plan: &mut Plan) -> Result<Option<Duration>, StoreError> {
        let store = self.shared.setup.store.clone();
        // Before the marks: of an event that has no open job now, every end is among them.
        let under_way = store.open_jobs().into_iter().filter(|job| job.ended.is_none());
        let open: HashSet<EventId> =
            under_way.flat_map(|job| job.causes.iter().map(|cause| cause.plan).collect::<Vec<_>>()).collect();
        let marks = store.unjudged(AT_ONCE)?;
        let now = Instant::now();
        self.seen.retain(|mark, _| marks.iter().any(|(known, _)| known == mark));
        let (mut ended, mut jobs) = (Vec::new(), HashMap::new());
        for (mark, id) in marks {
            let job = match store.job(id) {
                Ok(Some(job)) => job,
                Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                gone => {
                    tracing::warn!(job = %id, error = ?gone.err(), "how a job ended can't be read, so nobody is told");
                    plan.telling.judged.push(mark);
                    continue;
                }
            };
            // The mark is read before it is synced, and the job's end is not known yet: it comes in a moment.
            let Some(outcome) = job.outcome() else { continue };
            let age = now.duration_since(*self.seen.entry(mark).or_insert(now));
            let environments = job.app.environments_of(job.hosts.iter().map(|host| &host.name)).into_iter();
            let newest = job.live_causes().chain(&job.causes).map(|cause| cause.plan).max();
            ended.push(Ended {
                mark,
                age,
                job: id,
                topic: Topic::App(job.app.name.clone()),
                outcome,
                narrowed: !job.narrowed.is_empty(),
                cause: words::cause(&job),
                event: newest.unwrap_or(id.event),
                environments: environments.map(|environment| environment.name.to_string()).collect(),
            });
            jobs.insert(id, job);
        }
        let judgement = judge(&ended, &self.troubles, self.shared.holds(), |event| open.contains(&event));
        plan.telling.judged.extend(judgement.judged);
        for group in judgement.groups {
            self.tell_group(loaded, &group, &jobs, plan);
        }
        // An app that is no longer there is in no trouble.
        for topic in self.troubles.keys() {
            if let Topic::App(name) = topic
                && !loaded.apps.contains_key(name)
            {
                plan.troubles.insert(topic.clone(), None);
            }
        }
        Ok(judgement.again)
    }

    fn tell_group(
        &self,
        loaded: &Loaded,
        group: &Group,
        jobs: &HashMap<crate::model::JobId, Arc<JobState>>,
        plan: &mut Plan,
    ) {
        let writer = self.shared.writer(loaded);
        let store = &self.shared.setup.store;
        let troubles = plan.troubles_over(&self.troubles);
        let case = |job: &Arc<JobState>| Case {
            job: job.clone(),
            cause: words::cause(job),
            log: if group.failed { self.log_end(job) } else { None },
        };
        let mut cases: Vec<Case> = group.jobs.iter().filter_map(|(_, id, _)| jobs.get(id)).map(case).collect();
        cases.sort_by(|one, other| one.job.app.name.cmp(&other.job.app.name));
        let event = store.event(group.event).ok().flatten().map(|row| row.event);
        let held_back = if group.failed { self.held_back(group.event) } else { Vec::new() };
        let what = event.as_ref().map(|event| &event.what);
        let notice = writer.of_jobs(group, &cases, what, held_back, &troubles);
        for (topic, _, cause) in &group.jobs {
            let trouble =
                group.failed.then(|| deepened(troubles.get(topic), writer.now, cause, Some(group.event), &notice.id));
            plan.troubles.insert(topic.clone(), trouble);
        }
        plan.notices.push(notice);
    }

    /// Apps of an event's plan that were skipped.
    fn held_back(&self, event: EventId) -> Vec<AppName> {
        let store = &self.shared.setup.store;
        let rows = store.plan_of(event).ok().flatten().map(|(_, rows)| rows).unwrap_or_default();
        let skipped = |job| matches!(store.job(job), Ok(Some(job)) if job.outcome() == Some(Outcome::Skipped));
        rows.into_iter().filter(|row| skipped(row.job)).map(|row| row.app).collect()
    }

    /// The end of the failed build's log: its error says no more than its exit code.
    fn log_end(&self, job: &JobState) -> Option<String> {
        let cause = words::cause(job);
        if !matches!(Step::try_from(cause.clone()), Ok(Step::Build(_))) {
            return None;
        }
        let path = self.shared.setup.pipeline.log_path(job.id, &cause, None)?;
        let read = || {
            let mut file = std::fs::File::open(path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_END)))?;
            let mut bytes = Vec::new();
            file.take(LOG_END).read_to_end(&mut bytes)?;
            std::io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().ok()
    }

    fn look_at_conditions(&mut self, loaded: &Loaded, plan: &mut Plan) -> Result<(), StoreError> {
        let setup = &self.shared.setup;
        let (clock, now) = (Timestamp::now(), Instant::now());
        let mut found: Vec<(Topic, Now)> = Vec::new();
        let was_low = self.troubles.contains_key(&Topic::Disk);
        found.extend(setup.pipeline.disk().ok().map(|disk| (Topic::Disk, conditions::disk(&disk, was_low))));
        let fault = setup.config_fault.load_full();
        let stands = self.config.has_stood(fault.is_some(), setup.pace.standing, now);
        match fault {
            Some(fault) if stands => found.push((Topic::Config, Now::Trouble(conditions::refused_edit(&fault)))),
            Some(_) => {}
            None => found.push((Topic::Config, Now::Well)),
        }
        match conditions::listen(&setup.store, &mut self.hearing, clock) {
            // A delivery that can't be read says nothing about how its forge is, and holds up nothing else.
            Ok(()) | Err(StoreError::Row { .. }) => {}
            Err(error) => return Err(error),
        }
        if now.duration_since(self.up_since) >= setup.pace.hearing {
            let silences = conditions::silences(&loaded.config, &self.hearing, clock, setup.pace.silence);
            found.extend(silences.into_iter().map(|(forge, now)| (Topic::Webhooks(forge), now)));
        }
        let parked = conditions::parked(&setup.store);
        for topic in self.troubles.keys() {
            match topic {
                Topic::Job(_) if !parked.contains_key(topic) => found.push((topic.clone(), Now::Well)),
                // A forge that is no longer configured is not missed.
                Topic::Webhooks(forge) if !loaded.config.webhooks.contains_key(forge) => {
                    plan.troubles.insert(topic.clone(), None);
                }
                _ => {}
            }
        }
        found.extend(parked.into_iter().map(|(topic, words)| (topic, Now::Trouble(words))));
        for (topic, now) in found {
            self.turn(loaded, topic, now, plan);
        }
        Ok(())
    }

    /// A condition that is other than what was told.
    fn turn(&self, loaded: &Loaded, topic: Topic, now: Now, plan: &mut Plan) {
        let writer = self.shared.writer(loaded);
        let known = self.troubles.get(&topic);
        let notice = match (now, known) {
            (Now::Trouble(Words { title, detail, next }), None) => {
                let mut notice = writer.notice(conditions::happening(&topic, true), title, next);
                notice.detail = Some(writer.clean(&detail, 3000, 40));
                plan.troubles.insert(topic, Some(deepened(None, writer.now, "told", None, &notice.id)));
                notice
            }
            (Now::Well, Some(known)) => {
                let (title, next) = conditions::over(&topic);
                let mut notice = writer.notice(conditions::happening(&topic, false), title, next);
                notice.earlier.clone_from(&known.notices);
                plan.troubles.insert(topic, None);
                notice
            }
            _ => return,
        };
        plan.notices.push(notice);
    }

    /// Begins what can be begun: one attempt a way.
    fn dispatch(&mut self) {
        let loaded = self.shared.setup.in_force.load_full();
        let notify = &loaded.config.notify;
        for one in &notify.ways {
            if self.sending.len() >= ATTEMPTS {
                return;
            }
            let print = way::print(one);
            let Some((place, outgoing)) = self.outbox.take(&print, Instant::now()) else { continue };
            let (one, smtp, means) = (one.clone(), notify.smtp.clone(), self.shared.means.clone());
            self.sending.spawn(async move {
                let sent = way::send(&one, smtp.as_ref(), &outgoing.notice, &means).await;
                let result = sent.map_err(|error| Failure {
                    refused: error.is_refusal(),
                    retry_after: error.retry_after(),
                    why: error.to_string(),
                });
                (way::name(&one), Attempt { print, place, result })
            });
        }
    }

    fn settle(&mut self, done: Result<(String, Attempt), tokio::task::JoinError>) {
        match done {
            Ok((way, attempt)) => self.outbox.settle(&way, attempt, Instant::now(), Timestamp::now()),
            // The way stays busy until the next start: a bug that holds up no other.
            Err(error) => tracing::error!(%error, "telling panicked, which is a bug; that way is left alone"),
        }
    }

    /// For `/status`.
    fn publish(&self, loaded: &Loaded) {
        let ways = loaded.config.notify.ways.iter();
        let views = ways.map(|one| self.outbox.view(way::name(one), &way::print(one))).collect();
        self.shared.ways.store(Arc::new(views));
    }
}

/// What is to be kept of one look, all or nothing.
#[derive(Default)]
struct Plan {
    telling: Telling,
    troubles: BTreeMap<Topic, Option<Trouble>>,
    notices: Vec<Notice>,
}

impl Plan {
    /// The troubles as they will be.
    fn troubles_over(&self, known: &BTreeMap<Topic, Trouble>) -> BTreeMap<Topic, Trouble> {
        let mut troubles = known.clone();
        for (topic, trouble) in &self.troubles {
            match trouble {
                Some(trouble) => troubles.insert(topic.clone(), trouble.clone()),
                None => troubles.remove(topic),
            };
        }
        troubles
    }
}
