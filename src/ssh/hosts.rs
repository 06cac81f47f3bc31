//! The pool: one connection a host, made when it is first needed and again when it has died.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::error::{Error, label, unreachable};
use super::run::{Call, Output};
use super::talk::Talk;
use crate::model::Host;

/// Sessions at once on one connection. sshd admits ten (MaxSessions); two are left for people.
pub const SESSIONS: usize = 8;
/// Connects under way at once. sshd sheds from the tenth that has not logged in yet (MaxStartups), and several hosts
/// may be one sshd.
const CONNECTS: usize = 4;
/// Waits before the next try where an sshd shed or refused us.
const BACKOFF: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// A unix socket's path holds 107 bytes; ssh and the crate want up to 60 of them below our folder.
const LONGEST_CONTROL: usize = 44;

/// How hosts are logged in to. One for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The private key; none leaves it to ssh's own defaults and agent.
    pub identity: Option<PathBuf>,
    /// The known_hosts file, the only one of the user's that counts; none means `~/.ssh/known_hosts`.
    pub known_hosts: Option<PathBuf>,
    /// An ssh_config (`ssh -F`); none means the user's own.
    pub config_file: Option<PathBuf>,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// How often a silent connection is asked whether it lives. It is given up after three times that.
    pub alive_interval: Duration,
    /// How long an idle connection stays, also after we were killed.
    pub idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            identity: None,
            known_hosts: None,
            config_file: None,
            connect_timeout: Duration::from_secs(10),
            alive_interval: Duration::from_secs(5),
            idle: Duration::from_secs(60),
        }
    }
}

/// The hosts that are spoken to. Cheap to clone; all clones are one pool, whose connections end with the last.
#[derive(Debug, Clone)]
pub struct Hosts {
    pool: Arc<Pool>,
    /// The conversation in which calls run, where there is one.
    talk: Option<Arc<Talk>>,
}

#[derive(Debug)]
struct Pool {
    settings: Settings,
    connecting: Semaphore,
    lines: Mutex<HashMap<Key, Arc<Line>>>,
    /// Holds the control sockets. Dropped last, after the sessions in it.
    control: Mutex<TempDir>,
}

/// Address, port and user.
pub(super) type Key = (String, u16, String);

fn key(host: &Host) -> Key {
    (host.address.to_string(), host.port, host.user.clone())
}

/// The line to one host.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) sessions: Arc<Semaphore>,
    /// Half of the sessions are for conversations at the most, so that nobody who has one waits for a session for ever.
    pub(super) long: Arc<Semaphore>,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

impl Line {
    /// Drops a connection that has died, unless it has been replaced already.
    pub(super) async fn forget(&self, dead: &Arc<Session>) {
        let mut current = self.session.lock().await;
        if current.as_ref().is_some_and(|session| Arc::ptr_eq(session, dead)) {
            *current = None;
        }
    }
}

impl Hosts {
    /// A pool with no connections yet. Makes a private folder for their sockets.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let control = Mutex::new(control_folder()?);
        let pool = Pool { settings, connecting: Semaphore::new(CONNECTS), lines: Mutex::default(), control };
        Ok(Self { pool: Arc::new(pool), talk: None })
    }

    /// The same pool, for somebody who has much to ask of one host: what runs there runs in one conversation, in one
    /// session, one call after the other. It opens with the first call, and anew where it was lost; where `opening` is
    /// given that runs first, and what its shell holds is held for as long as the conversation lasts. An opening that
    /// fails or refuses is what the call gets for an answer, and the call is not made.
    ///
    /// All clones of what is returned are that one conversation; it ends with the last.
    pub fn in_conversation(&self, host: &Host, opening: Option<Call>) -> Self {
        Self { pool: self.pool.clone(), talk: Some(Arc::new(Talk::new(key(host), opening))) }
    }

    pub(super) fn talk_with(&self, host: &Host) -> Option<&Talk> {
        self.talk.as_deref().filter(|talk| talk.is_with(&key(host)))
    }

    /// Opens the conversation, if it is not; what its opening answered if that was now.
    pub async fn begin(
        &self,
        host: &Host,
        timeout: Duration,
        cancel: &CancellationToken,
        log: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<Option<Output>, Error> {
        match self.talk_with(host) {
            Some(talk) => talk.begin(self, host, timeout, cancel, log).await,
            None => Ok(None),
        }
    }

    /// Ends the conversation, and waits a moment for the host to have seen it: what it held is free then. The next call
    /// opens it anew.
    pub async fn hang_up(&self) {
        if let Some(talk) = &self.talk {
            talk.hang_up().await;
        }
    }

    /// Waits until the conversation is lost, or hung up.
    pub async fn hung_up(&self) {
        if let Some(talk) = &self.talk {
            talk.lost().await;
        }
    }

    /// How the pool logs in.
    pub fn settings(&self) -> &Settings {
        &self.pool.settings
    }

    /// The folder of the sockets by which its connections can be used: whoever reaches it can do on the hosts what we
    /// can. None if there can be none.
    pub fn control_folder(&self) -> Option<PathBuf> {
        self.control().ok()
    }

    /// Connects in advance, so that a later run on the host does not wait for it; a connection that has died since it
    /// was last used is made anew. Nothing happens on the host.
    pub async fn warm(&self, host: &Host, cancel: &CancellationToken) -> Result<(), Error> {
        let line = self.line(host);
        let session = self.session(host, &line, cancel).await?;
        if session.check().await.is_err() {
            line.forget(&session).await;
            drop(session);
            self.session(host, &line, cancel).await?;
        }
        Ok(())
    }

    pub(super) fn line(&self, host: &Host) -> Arc<Line> {
        let mut lines = self.pool.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let (sessions, long) = (Semaphore::new(SESSIONS), Semaphore::new(SESSIONS / 2));
            Arc::new(Line { sessions: sessions.into(), long: long.into(), session: tokio::sync::Mutex::new(None) })
        };
        lines.entry(key(host)).or_insert_with(new).clone()
    }

    /// The host's connection; made now if there is none. It may have died since it was last used.
    pub(super) async fn session(
        &self,
        host: &Host,
        line: &Line,
        cancel: &CancellationToken,
    ) -> Result<Arc<Session>, Error> {
        let connect = async {
            let mut current = line.session.lock().await;
            if let Some(session) = &*current {
                return Ok(session.clone());
            }
            let session = Arc::new(self.connect(host).await?);
            *current = Some(session.clone());
            Ok(session)
        };
        tokio::select! {
            done = connect => done,
            () = cancel.cancelled() => Err(Error::Canceled { host: label(host), what: "connect", ended: true }),
        }
    }

    /// A new connection. Where sshd sheds or refuses, it is tried again a few times, further and further apart.
    async fn connect(&self, host: &Host) -> Result<Session, Error> {
        check(host)?;
        let settings = &self.pool.settings;
        let mut builder = SessionBuilder::default();
        builder
            .user(host.user.clone())
            .port(host.port)
            .known_hosts_check(KnownHosts::Strict)
            .connect_timeout(settings.connect_timeout.max(Duration::from_secs(1)))
            .server_alive_interval(settings.alive_interval.max(Duration::from_secs(1)))
            .control_persist(persist(settings.idle))
            .control_directory(self.control()?);
        if let Some(identity) = &settings.identity {
            builder.keyfile(identity);
        }
        if let Some(known_hosts) = &settings.known_hosts {
            builder.user_known_hosts_file(option_value(known_hosts));
        }
        if let Some(config_file) = &settings.config_file {
            builder.config_file(config_file);
        }
        let mut waits = BACKOFF.iter();
        loop {
            let error = match self.connect_once(host, &builder).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            use super::Cause::{Dropped, Refused};
            let again = match &error {
                Error::Unreachable { cause: Dropped, .. } => waits.next(),
                // A port that refuses may be a sshd that restarts, but is more often a host that is down.
                Error::Unreachable { cause: Refused, .. } => waits.next().filter(|_| waits.len() >= 2),
                _ => None,
            };
            let Some(wait) = again else { return Err(error) };
            tracing::debug!(host = %host.name, %error, "connecting again");
            tokio::time::sleep(*wait).await;
        }
    }

    async fn connect_once(&self, host: &Host, builder: &SessionBuilder) -> Result<Session, Error> {
        let settings = &self.pool.settings;
        // It is never closed.
        let _turn = self.pool.connecting.acquire().await;
        let known_hosts = match &settings.known_hosts {
            Some(path) => path.display().to_string(),
            None => "~/.ssh/known_hosts".to_owned(),
        };
        let identity = match &settings.identity {
            Some(path) => path.display().to_string(),
            None => "the keys of ssh's own configuration".to_owned(),
        };
        // ssh's time-out ends with the key exchange; a login that hangs after it is ours to end.
        let limit = 2 * settings.connect_timeout + Duration::from_secs(5);
        match tokio::time::timeout(limit, builder.connect_mux(host.address.as_str())).await {
            Err(_) => Err(unreachable(host, "login timed out", &known_hosts, &identity)),
            Ok(Ok(session)) => Ok(session),
            Ok(Err(openssh::Error::Connect(error))) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::NoClient(error))
            }
            Ok(Err(openssh::Error::Connect(error))) => {
                Err(unreachable(host, &error.to_string(), &known_hosts, &identity))
            }
            Ok(Err(openssh::Error::Master(source))) => Err(Error::Control { path: self.control()?, source }),
            Ok(Err(error)) => Err(unreachable(host, &error.to_string(), &known_hosts, &identity)),
        }
    }

    /// The sockets' folder, made anew if a sweeper of temporary files has taken it.
    fn control(&self) -> Result<PathBuf, Error> {
        let mut control = self.pool.control.lock().unwrap_or_else(PoisonError::into_inner);
        if !control.path().is_dir() {
            *control = control_folder()?;
        }
        Ok(control.path().to_owned())
    }
}

/// What ssh would take for an option, or a shell for more than a name, is refused whatever the config let through.
fn check(host: &Host) -> Result<(), Error> {
    let bad = |why| Err(Error::BadHost { host: label(host), why });
    if host.address.as_str().starts_with('-') || host.user.starts_with('-') {
        return bad("its address or user begins with `-`");
    }
    if host.user.is_empty()
        || host.user.chars().any(|c| c.is_whitespace() || c.is_control() || "'`\";&<>|(){}\\".contains(c))
    {
        return bad("its user is empty or holds characters that no user name has");
    }
    Ok(())
}

fn persist(idle: Duration) -> ControlPersist {
    match NonZeroUsize::new(idle.as_secs().try_into().unwrap_or(usize::MAX)) {
        Some(seconds) => ControlPersist::IdleFor(seconds),
        None => ControlPersist::ClosedAfterInitialConnection,
    }
}

/// A path as the value of an ssh option: such values are split at white space, and `%` begins a token.
fn option_value(path: &Path) -> PathBuf {
    match path.to_str() {
        Some(text) if text.contains([' ', '%']) => format!("\"{}\"", text.replace('%', "%%")).into(),
        _ => path.to_owned(),
    }
}

/// A new private folder (0700) where paths are short: the service's own, the user's, or the temporary one.
fn control_folder() -> Result<TempDir, Error> {
    let of = |name| std::env::var_os(name).map(PathBuf::from);
    let candidates = [of("RUNTIME_DIRECTORY"), of("XDG_RUNTIME_DIR"), Some(std::env::temp_dir())];
    let fits = |path: &PathBuf| path.is_absolute() && path.is_dir() && path.as_os_str().len() + 18 <= LONGEST_CONTROL;
    let make = |path: &Path| -> io::Result<TempDir> {
        sweep(path);
        let folder = tempfile::Builder::new().prefix("airplanes-").tempdir_in(path)?;
        std::fs::write(folder.path().join(OWNER), std::process::id().to_string())?;
        Ok(folder)
    };
    let made = candidates.into_iter().flatten().filter(fits).find_map(|path| make(&path).ok());
    match made {
        Some(folder) => Ok(folder),
        None => make(Path::new("/tmp")).map_err(|source| Error::Control { path: "/tmp".into(), source }),
    }
}

/// The file in a control folder that says whose it is.
const OWNER: &str = "airplanes.pid";

/// Removes the control folders of daemons that were killed: those that name a process which is no more. One that can't
/// be removed is somebody else's, or left for the next time.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("airplanes-") {
            continue;
        }
        let owner = std::fs::read_to_string(entry.path().join(OWNER)).ok().and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
