//! One host's turn: looked at, brought to the commit, restarted, and asked whether it is well.
//!
//! Idempotent: it is looked at before anything is done, what it ran is journaled before its tree moves, and its unit's
//! InvocationID after that and before the restart, so that a resumed restart happens only if it has not. A turn is not
//! canceled half-way, not even by a crash in between. Its end is an answer of its own: what went wrong here for one host
//! is no other's end, unless the store fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::super::{StepError, Work};
use super::{installs, switch};
use crate::host::install::{BroughtBack, Standings, Wanted};
use crate::host::instances::{Goal, instance_of};
use crate::host::lock::{Holder, alone};
use crate::host::{Check, Error, HostState, MarkerState, Remote, Restart};
use crate::model::{App, Entry, FileSum, Host, HostResult, Progress, Sha, Step, UnitName};
use crate::pipeline::log::HostLog;
use crate::ssh::Hosts;

/// How long one operation on a host may take; a first clone is the longest.
pub(super) const OPERATION: Duration = Duration::from_secs(600);
/// How long an app without `:health` may take to be active, and how long it has to stay so.
const ACTIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1));
/// So many hosts are looked at at once.
pub(super) const AT_ONCE: usize = 32;
/// How often an operation that lost its connection is tried.
const TRIES: u32 = 3;
/// No try begins later than this after the first that failed: who hears nothing at all has waited long enough.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How many of a dead unit's last lines are kept.
const LAST_LINES: u32 = 20;

/// An operation, again while its connection is lost: each looks before it acts. A macro, since a closure that lends
/// its argument to a future can't be sent between threads yet.
macro_rules! again {
    ($turn:expr, |$remote:ident| $operation:expr) => {{
        let (turn, never) = ($turn, CancellationToken::new());
        let mut tries = 0;
        let mut lost: Option<tokio::time::Instant> = None;
        loop {
            let mut said = |bytes: &[u8]| turn.log.bytes(bytes);
            let mut remote =
                Remote { hosts: &turn.hosts, host: turn.host, timeout: OPERATION, cancel: &never, log: &mut said };
            let $remote = &mut remote;
            tries += 1;
            match $operation.await {
                Err(error)
                    if error.is_retryable()
                        && tries < turn.tries()
                        && lost.get_or_insert_with(tokio::time::Instant::now).elapsed() < PATIENCE =>
                {
                    turn.log.line(&format!("{error}; trying again"));
                    tokio::time::sleep(Duration::from_secs(u64::from(tries))).await;
                }
                result => break result,
            }
        }
    }};
}
pub(super) use again;

/// Why a turn did not come to its end.
pub(super) enum Cut {
    Step(StepError),
    Host(Error),
}
impl From<Error> for Cut {
    fn from(error: Error) -> Self {
        Cut::Host(error)
    }
}
impl From<StepError> for Cut {
    fn from(error: StepError) -> Self {
        Cut::Step(error)
    }
}
impl From<crate::store::StoreError> for Cut {
    fn from(error: crate::store::StoreError) -> Self {
        Cut::Step(error.into())
    }
}

/// A host and the commit that it is brought to.
pub(super) struct Turn<'a> {
    pub work: &'a Work,
    pub app: &'a App,
    pub host: &'a Host,
    pub to: Sha,
    /// Which file of it, where hosts are sent one.
    pub sum: Option<FileSum>,
    pub folder: String,
    pub restart: Option<Restart>,
    pub log: &'a HostLog,
    /// One conversation with the host, which has the folder's lock: no other daemon, and no person who wants to be alone
    /// there, comes in between. One that was lost has it again before anything else is asked.
    pub hosts: Hosts,
    /// Whether its files are the commit's, or on the way there, while an instance from before has the requests.
    unswitched: AtomicBool,
}

/// What the app runs by on a host and is not there as it is to be.
struct Due {
    wanted: Wanted,
    /// Whether the unit is to be restarted for it.
    is_for_the_unit: bool,
}

/// Brings a host to the job's commit.
pub(super) async fn forward(work: &Work, host: &Host, to: Sha) -> Result<HostResult, StepError> {
    let log = open_log(work, host).await?;
    let mut turn = Turn::new(work, host, to, &log)?;
    let mut seen = None;
    if let Some((hosts, asked)) = work.asked.take(&host.name) {
        (turn.hosts, seen) = (hosts, Some(asked));
    }
    let was_begun = turn.state().is_some_and(|state| state.touched);
    let result = match turn.locked(turn.forward(seen)).await {
        Ok(result) => result,
        Err(Cut::Step(error)) => return Err(error),
        Err(Cut::Host(error)) => {
            let text = work.masked(&error.to_string());
            log.line(&text);
            let now = turn.state();
            if !error.is_unreachable() {
                if error.left_it_alone() && !was_begun && !turn.is_unswitched() {
                    HostResult::Refused { error: text, locked: matches!(error, Error::Locked { .. }) }
                } else {
                    let (said, lines) = turn.last_lines().await;
                    match turn.put_back().await? {
                        Some(Ok(back)) => HostResult::PutBack { error: text + &said + &back + &lines },
                        Some(Err(back)) => HostResult::Failed { error: text + &said + &back + &lines },
                        None => HostResult::Failed { error: text + &said + &lines },
                    }
                }
            } else if now.as_ref().is_some_and(|h| h.restarting.is_some()) {
                HostResult::Failed { error: format!("{text}; it was being restarted, and how it is now is not known") }
            } else if now.is_some_and(|h| h.state == Progress::Running) {
                let so_far = "it was lost in its turn: its folder may have moved already, and nothing was restarted";
                HostResult::Unreachable { error: format!("{text}; {so_far}") }
            } else {
                HostResult::Unreachable { error: text }
            }
        }
    };
    close_log(work, host, log).await;
    Ok(result)
}

pub(super) async fn open_log(work: &Work, host: &Host) -> Result<HostLog, StepError> {
    let attempt = work.job.step(&Step::Rollout).map_or(1, |s| s.attempt);
    Ok(work.inner.logs.host(work.job.id, &host.name, attempt, work.masker()).await?)
}

pub(super) async fn close_log(work: &Work, host: &Host, log: HostLog) {
    if let Err(error) = log.close().await {
        tracing::warn!(job = %work.job.id, host = %host.name, %error, "the host's log is not whole");
    }
}

impl<'a> Turn<'a> {
    pub fn new(work: &'a Work, host: &'a Host, to: Sha, log: &'a HostLog) -> Result<Self, StepError> {
        let app = &work.job.app;
        let folder = app.folder_on(host);
        let folder =
            folder.ok_or_else(|| StepError::failed(format!("{} has hosts and no :working-directory", app.name)))?;
        let hosts = alone(&work.rooms().hosts, host, &folder, &holder(work));
        let (restart, unswitched) = (Restart::of(app), AtomicBool::new(false));
        Ok(Self { work, app, host, to, sum: work.job.sum.clone(), folder, restart, log, hosts, unswitched })
    }

    /// Whether its files are the commit's, or on the way there, while an instance from before has the requests.
    pub fn is_unswitched(&self) -> bool {
        self.unswitched.load(Ordering::Relaxed)
    }

    pub fn set_unswitched(&self, unswitched: bool) {
        self.unswitched.store(unswitched, Ordering::Relaxed);
    }

    /// How often an operation is tried: nobody waits twice for a host that preflight has waited for in vain.
    pub fn tries(&self) -> u32 {
        if self.work.away.contains(&self.host.name) { 1 } else { TRIES }
    }

    /// What the journal says of the host now. Other hosts' turns go on at the same time, so that the worker's own copy
    /// is of before.
    pub fn state(&self) -> Option<crate::model::HostState> {
        let job = self.work.inner.store.job(self.work.job.id).ok().flatten()?;
        job.host(&self.host.name).cloned()
    }

    pub fn unit(&self) -> Option<&UnitName> {
        self.restart.as_ref().and_then(Restart::unit)
    }

    pub async fn append(&self, entry: Entry) -> Result<(), StepError> {
        self.work.inner.store.append(self.work.job.id, vec![entry]).await?;
        Ok(())
    }

    pub async fn observe(&self) -> Result<HostState, Error> {
        again!(self, |remote| remote.observe(&self.folder, self.unit()))
    }

    /// How what the app runs by stands there.
    pub async fn look_at(&self, wanted: &Wanted) -> Result<Standings, Error> {
        again!(self, |remote| remote.look_at(wanted))
    }

    /// What is to be done alone there; the lock is free afterwards.
    pub async fn locked<T>(&self, alone: impl Future<Output = Result<T, Cut>>) -> Result<T, Cut> {
        let result = alone.await;
        self.hosts.hang_up().await;
        result
    }

    /// `asked` is what was seen of the host a moment ago, with the lock that is held.
    async fn forward(&self, asked: Option<HostState>) -> Result<HostResult, Cut> {
        let seen = match asked {
            Some(seen) => seen,
            None => {
                self.log.line(&format!("looking at {}", self.folder));
                self.observe().await?
            }
        };
        let resumed = self.state().is_some_and(|h| h.state == Progress::Running);
        let (previous, sum) = self.ran(&seen)?;
        self.append(Entry::HostStarted { host: self.host.name.clone(), previous, sum }).await?;
        let restarting = self.state().and_then(|h| h.restarting);
        let due = self.install_due(&seen).await?;
        if due.as_ref().is_none_or(|due| !due.is_for_the_unit)
            && seen.is_live_at(&self.to)
            && seen.has_file(self.sum.as_ref())
            && is_well(self.work, &self.hosts, self.host, self.to, &CancellationToken::new()).await
        {
            self.log.line("it is live and well at the commit already");
            if let Some(due) = &due {
                self.install(&due.wanted).await?;
            }
            let changed = due.is_some() || resumed && restarting.is_some();
            return Ok(HostResult::Done { changed });
        }
        if installs::wanted(self.work, self.host)?.is_some() {
            self.make_folder(&seen).await;
        }
        self.lock_what_is_new(&seen).await;
        if self.state().is_some_and(|state| state.prepared != Some(true)) {
            // It was away when the others were prepared.
            self.prepare().await?;
        }
        let moved = self.bring(seen.head).await;
        let refused = matches!(&moved, Err(Cut::Host(error)) if error.left_it_alone());
        let is_unswitched = match self.instances() {
            // What a daemon before has done is asked of the host.
            Some((zero, unit)) if resumed && moved.is_ok() => self.look(zero, unit).await?.is_unswitched(self.to),
            instances => instances.is_some() && !refused && !resumed,
        };
        self.set_unswitched(is_unswitched);
        let moved = moved?;
        self.lock_what_is_new(&seen).await;
        if let Some(due) = &due {
            self.install(&due.wanted).await?;
        }
        if let Some((zero, unit)) = self.instances() {
            let goal = if due.is_some_and(|due| due.is_for_the_unit) { Goal::Anew } else { Goal::Runs(self.to) };
            return self.switch(zero, unit, goal).await.map(|()| HostResult::Done { changed: true });
        }
        if self.restart.is_some() {
            let before = match restarting {
                // A tree that had to be moved again was not whole when the unit last started.
                Some(invocation) if !moved => invocation,
                _ => self.journal_restart(&seen).await?,
            };
            self.restart(before.as_deref()).await?;
        }
        self.verify().await?;
        Ok(HostResult::Done { changed: true })
    }

    /// A folder that was not there could not be locked: what is asked next is asked in a conversation that has its lock.
    async fn lock_what_is_new(&self, seen: &HostState) {
        if !seen.exists {
            self.hosts.hang_up().await;
        }
    }

    /// The app's folder, if it is not there: where our user may make it, what follows does.
    pub async fn make_folder(&self, seen: &HostState) {
        if !seen.exists
            && self.host.user != "root"
            && let Err(error) = again!(self, |remote| remote.make_folder(&self.folder))
        {
            self.log.line(&error.to_string());
        }
    }

    /// What the app runs by there, if anything of it is missing, another, or newer than what runs.
    async fn install_due(&self, seen: &HostState) -> Result<Option<Due>, Cut> {
        let Some(wanted) = installs::wanted(self.work, self.host)? else { return Ok(None) };
        match self.look_at(&wanted).await {
            Ok(standings) => {
                installs::tell(self.log, &standings);
                let is_for_the_unit = standings.is_for_the_unit();
                Ok((!standings.is_settled()).then_some(Due { wanted, is_for_the_unit }))
            }
            // A host that was not set up, with a unit that somebody else made: that one stays.
            Err(Error::NoProgram { said }) if seen.unit.as_ref().is_some_and(|unit| !unit.is_missing()) => {
                self.log.line(&format!("{said}; the unit that is there stays as it is"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Puts it there. The host keeps what that replaces, for this job's way back.
    async fn install(&self, wanted: &Wanted) -> Result<(), Cut> {
        if !self.state().is_some_and(|state| state.installed) {
            self.append(Entry::HostInstalling { host: self.host.name.clone() }).await?;
        }
        again!(self, |remote| remote.install(wanted))?;
        Ok(())
    }

    /// Puts back what this job has replaced of it.
    pub async fn bring_back(&self) -> Result<BroughtBack, Error> {
        again!(self, |remote| remote.bring_back(self.app, self.work.job.id))
    }

    /// What the host goes back to if need be: what is there, or, where that was left in the middle of a move that nobody
    /// saw the end of, what last did well.
    fn ran(&self, seen: &HostState) -> Result<(Option<Sha>, Option<FileSum>), Cut> {
        let is_moving = seen.marker.as_ref().is_some_and(|marker| marker.state == MarkerState::Moving);
        let store = &self.work.inner.store;
        if let Some(good) = store.last_good_on(self.app, &self.host.name)?.filter(|_| is_moving) {
            let sum = store.job(good.brought_by())?.and_then(|job| job.sum.clone());
            if (good.sha, &sum) != (self.to, &self.sum) {
                return Ok((Some(good.sha), sum));
            }
        }
        Ok((seen.head, seen.sum.clone()))
    }

    /// Journals that the app is about to be restarted, with the unit as it is now.
    pub async fn journal_restart(&self, seen: &HostState) -> Result<Option<String>, Cut> {
        // Seen only now: one that came up by itself before the tree moved runs what was there then.
        let unit = match self.unit() {
            Some(unit) => again!(self, |remote| remote.unit(unit))?,
            None => seen.unit.clone(),
        };
        let invocation = unit.and_then(|unit| unit.invocation_id);
        let entry = Entry::HostRestarting { host: self.host.name.clone(), invocation: invocation.clone() };
        self.append(entry).await?;
        Ok(invocation)
    }

    /// Restarts the app, unless its unit is no longer what it was before.
    pub async fn restart(&self, before: Option<&str>) -> Result<(), Cut> {
        let Some(restart) = &self.restart else { return Ok(()) };
        self.log.line(&match restart {
            Restart::Unit(unit) => format!("$ systemctl restart {unit}"),
            Restart::Command(command) => format!("$ {command}"),
        });
        again!(self, |remote| remote.restart(&self.folder, restart, before))?;
        Ok(())
    }

    /// Waits until it is well, and has been for long enough.
    pub async fn verify(&self) -> Result<(), Cut> {
        let health = self.app.health_on(self.host);
        let check = check(self.app, self.host, &self.folder, health.as_deref(), &self.to, self.unit());
        // It looks again and again by itself.
        let (never, mut said) = (CancellationToken::new(), |bytes: &[u8]| self.log.bytes(bytes));
        let mut remote =
            Remote { hosts: &self.hosts, host: self.host, timeout: OPERATION, cancel: &never, log: &mut said };
        remote.verify(&check).await?;
        self.log.line(&format!("live at {}", self.to));
        Ok(())
    }

    /// Where requests go, and the last journal lines of a unit that failed: the end of the host's error.
    pub async fn last_lines(&self) -> (String, String) {
        let (said, unit) = match self.instances() {
            Some((zero, unit)) => self.of_instances(zero, unit).await,
            None => (String::new(), self.unit().cloned()),
        };
        let Some(unit) = &unit else { return (said, String::new()) };
        let lines = match again!(self, |remote| remote.last_journal_lines(unit, LAST_LINES)) {
            Ok(lines) if !lines.is_empty() => {
                let text = self.work.masked(&lines.join("\n"));
                self.log.line(&text);
                format!(". The last lines of {unit}:\n{text}")
            }
            _ => String::new(),
        };
        (said, lines)
    }
}

/// Who holds the lock, for whoever is refused meanwhile.
pub(super) fn holder(work: &Work) -> Holder {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Holder {
        id: work.inner.identity.clone(),
        who: format!("airplanes on {}", machine.trim()),
        since: jiff::Timestamp::now(),
        why: format!("job {} of {}", work.job.id, work.job.app.name),
    }
}

pub(super) fn check<'a>(
    app: &App,
    host: &Host,
    folder: &'a str,
    health: Option<&'a str>,
    sha: &'a Sha,
    unit: Option<&'a UnitName>,
) -> Check<'a> {
    let asked = app.health_of(&host.name);
    let (timeout, stable) = match asked {
        Some(health) => (health.timeout, health.stable),
        None => ACTIVE,
    };
    let stable = if unit.is_none() && asked.is_none() { Duration::ZERO } else { stable };
    Check { working_directory: folder, sha, unit, health, timeout, stable }
}

/// Whether what is live there answers now. Changes nothing but, at the most, a marker that says `live` already. Not to
/// be canceled where a host's turn has begun: what was not seen to be well is restarted.
async fn is_well(work: &Work, hosts: &Hosts, host: &Host, commit: Sha, cancel: &CancellationToken) -> bool {
    let app = &work.job.app;
    let Some(folder) = app.folder_on(host) else { return false };
    let mut quiet = |_: &[u8]| ();
    let mut remote = Remote { hosts, host, timeout: OPERATION, cancel, log: &mut quiet };
    let (unit, health) = match switch::instances(app) {
        Some((zero, unit)) => {
            let seen = remote.instances(&folder, unit, zero).await;
            let Some(port) = seen.ok().and_then(|seen| seen.settled()) else { return false };
            (Some(instance_of(unit, port)), app.health_at(host, Some(port)))
        }
        None => (Restart::of(app).as_ref().and_then(Restart::unit).cloned(), app.health_on(host)),
    };
    let check = Check {
        timeout: Duration::from_secs(3),
        stable: Duration::ZERO,
        ..check(app, host, &folder, health.as_deref(), &commit, unit.as_ref())
    };
    remote.verify(&check).await.is_ok()
}

/// Whether every host that the job is for is live and well at the commit, with one file of it: nothing is to be done. Gives
/// how one of them is. The first is asked alone, since it mostly says no, and then all others at once.
pub(in crate::pipeline::steps) async fn live_everywhere(work: &Work, commit: Sha) -> Option<HostState> {
    let hosts = super::hosts(&work.job);
    let Some((first, others)) = hosts.split_first() else { return Some(HostState::default()) };
    let first = live(work, first, commit).await?;
    let (mut others, mut looks) = (others.iter(), FuturesUnordered::new());
    loop {
        while looks.len() < AT_ONCE
            && let Some(host) = others.next()
        {
            looks.push(live(work, host, commit));
        }
        match looks.next().await {
            Some(Some(seen)) if seen.has_file(first.sum.as_ref()) => {}
            Some(_) => return None,
            None => return Some(first),
        }
    }
}

/// A host that is live and well at the commit.
async fn live(work: &Work, host: &Host, commit: Sha) -> Option<HostState> {
    let app = &work.job.app;
    let restart = Restart::of(app);
    let unit = restart.as_ref().and_then(Restart::unit);
    let folder = app.folder_on(host)?;
    let hosts = work.rooms().hosts.in_conversation(host, None);
    let mut quiet = |_: &[u8]| ();
    let mut remote = Remote { hosts: &hosts, host, timeout: OPERATION, cancel: &work.stop, log: &mut quiet };
    let seen = remote.observe(&folder, unit).await.ok().filter(|seen| seen.is_live_at(&commit))?;
    if let Some(wanted) = &installs::wanted(work, host).ok()? {
        match remote.look_at(wanted).await {
            Ok(standings) if standings.is_settled() => {}
            // Its unit is not ours to keep then; its turn says so.
            Err(Error::NoProgram { .. }) => {}
            _ => return None,
        }
    }
    is_well(work, &hosts, host, commit, &work.stop).await.then_some(seen)
}
