//! What an app runs by on its hosts: its unit, the sites of nginx, its credentials and its database. One look says how
//! each stands to what is wanted, one call puts it in place.
//!
//! All of it goes through one program that is root's on the host (`scripts/airplanes-host.sh`): it verifies everything
//! before it replaces anything, and puts back what was there if systemd or nginx won't take the new. Whoever may write a
//! unit can become root there; that is what the program is for, and why it has no other ways in.
//!
//! Idempotent: it compares first, and a run that was killed is ended by the next, since a look says too what it has left to
//! do. What the first install of a job replaces is kept on the host, for the way back.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::error::Error;
use super::ops::{Remote, Subject};
use super::state::Answer;
use crate::config::Templates;
use crate::model::{App, Certificate, Host, JobId, Secret, Service, UnitName};
use crate::render::{RenderError, hosts};
use crate::ssh::Call;

/// The program itself.
pub(super) const PROGRAM: &str = include_str!("scripts/airplanes-host.sh");

/// What an app wants of a host.
pub struct Wanted {
    /// The unit's name: what all of it is filed under.
    pub unit: UnitName,
    files: Vec<(Kind, String)>,
    lines: Vec<Zeroizing<String>>,
}

/// What is put on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The systemd unit.
    Unit,
    /// What nginx serves of the app.
    Site,
    /// What all sites of nginx share.
    Http,
    /// Where nginx sends the requests of an app with two instances.
    Upstream,
    /// A certificate of certbot's.
    Certificate,
    /// The user that the unit runs as.
    User,
    /// The app's database.
    Postgres,
    /// A secret of the unit's.
    Secret,
}

impl Kind {
    /// As the host's answers and `--json` name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Site => "site",
            Self::Http => "http",
            Self::Upstream => "upstream",
            Self::Certificate => "certificate",
            Self::User => "user",
            Self::Postgres => "postgres",
            Self::Secret => "secret",
        }
    }
    const ALL: [Self; 8] = [
        Self::Unit,
        Self::Site,
        Self::Http,
        Self::Upstream,
        Self::Certificate,
        Self::User,
        Self::Postgres,
        Self::Secret,
    ];
}

/// How something on a host stands to what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not there.
    New,
    /// It is as it is to be.
    Same,
    /// It is ours, and another.
    Differs,
    /// Somebody else made it, so it is left alone.
    Foreign,
    /// A secret that is not there, and is not ours to bring now.
    Absent,
}

impl Standing {
    /// As the host's answers and `--json` name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Foreign => "foreign",
            Self::Absent => "absent",
        }
    }
    const ALL: [Self; 5] = [Self::New, Self::Same, Self::Differs, Self::Foreign, Self::Absent];
}

/// One thing on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// How it stands.
    pub standing: Standing,
    /// Its path or name.
    pub name: String,
    /// Its text as it is there, if a look was asked for and it is another.
    pub now: Option<String>,
    /// Its text as it is wanted; never a secret's.
    pub wanted: Option<String>,
}

impl Item {
    /// Whether an install changes it.
    pub fn is_due(&self) -> bool {
        matches!(self.standing, Standing::New | Standing::Differs)
    }
}

/// How all of it stands, or stood before it was put in place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standings {
    /// Each thing.
    pub items: Vec<Item>,
    /// What an install that was cut off has left to do, though the files are as they are to be.
    pub left: Vec<Left>,
    /// Whether the unit was started before what it runs by was put there: it is to be restarted.
    pub stale: bool,
}

/// What is left of an install that was cut off between two of its effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// systemd has not read the unit's file.
    Reload,
    /// The unit does not start with the system.
    Enable,
    /// nginx has not read its files, or does not run.
    Nginx,
    /// A credential that the unit has no more is still there.
    Credentials,
    /// Instances that the app has no more are still there.
    Instances,
}

impl Left {
    /// As the host's answers and `--json` name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Enable => "enable",
            Self::Nginx => "nginx",
            Self::Credentials => "credentials",
            Self::Instances => "instances",
        }
    }
    /// What is the matter, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Reload => "systemd has not read the unit's file yet",
            Self::Enable => "the unit does not start with the system",
            Self::Nginx => "nginx has not read its files yet, or does not run",
            Self::Credentials => "a credential that the unit has no more is still there",
            Self::Instances => "instances that the app has no more are still there",
        }
    }
    const ALL: [Self; 5] = [Self::Reload, Self::Enable, Self::Nginx, Self::Credentials, Self::Instances];
}

impl Standings {
    /// Whether nothing is to be done.
    pub fn is_settled(&self) -> bool {
        !self.stale && !self.is_due()
    }
    /// Whether an install changes anything.
    pub fn is_due(&self) -> bool {
        !self.left.is_empty() || self.items.iter().any(Item::is_due)
    }
    /// Whether what runs is to be restarted for what is due: it is more than nginx's, or what starts with the system.
    pub fn is_for_the_unit(&self) -> bool {
        let of_nginx = |kind| matches!(kind, Kind::Site | Kind::Http | Kind::Certificate);
        let of_unit = |item: &Item| item.is_due() && !of_nginx(item.kind);
        self.stale || self.left.contains(&Left::Reload) || self.items.iter().any(of_unit)
    }
}

/// What [`Remote::bring_back`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BroughtBack {
    /// The files that were others.
    pub files: Vec<String>,
    /// Whether what runs was started after the job's first install there, so by what was put there.
    pub newer: bool,
}

/// What becomes of files that somebody else made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// They are left alone.
    Keep,
    /// They are replaced; a unit stays beside as `NAME.service.before-airplanes`.
    Replace,
}

impl Wanted {
    /// What `app` wants of `host`; none if it has neither a unit nor a site of ours. Without `secrets` those that are
    /// there are left as they are.
    pub fn of(
        app: &App,
        host: &Host,
        templates: &Templates,
        secrets: Option<&[(String, Secret)]>,
        foreign: Foreign,
    ) -> Result<Option<Self>, RenderError> {
        let unit = hosts::unit(app, host, templates.service.as_deref())?;
        let site = hosts::sites(app, host, templates.site.as_deref(), true)?;
        let (Some(mut wanted), true) = (Self::nothing(app), unit.is_some() || site.is_some()) else { return Ok(None) };
        wanted.line(if foreign == Foreign::Replace { "take replace" } else { "take keep" });
        if let Some(text) = unit {
            wanted.file(Kind::Unit, text);
            wanted.of_service(app, app.service.as_ref(), secrets);
        }
        if let Some(text) = site {
            let before = hosts::sites(app, host, templates.site.as_deref(), false)?.unwrap_or_default();
            wanted.line(&format!("site-before {}", STANDARD.encode(before)));
            wanted.file(Kind::Http, hosts::shared(templates.http.as_deref())?);
            wanted.file(Kind::Site, text);
            for site in &app.nginx {
                if let Some(Certificate::Certbot { email }) = &site.tls {
                    let names: Vec<&str> =
                        std::iter::once(&site.host).chain(&site.aliases).map(|name| name.as_str()).collect();
                    wanted.line(&format!("certbot {} {}", names.join(","), email.as_deref().unwrap_or("-")));
                }
            }
        }
        Ok(Some(wanted))
    }

    /// None of what the app has, under the name that all of it is filed under.
    fn nothing(app: &App) -> Option<Self> {
        let named = app.service.as_ref().map(|service| service.name.clone());
        // An app without a unit that we know of has its sites by its own name.
        let unit = named.or_else(|| UnitName::new(app.name.as_str().replace('/', ".")).ok())?;
        let mut wanted = Self { unit, files: Vec::new(), lines: Vec::new() };
        wanted.line("format 2");
        if let Some(zero) = &app.zero_downtime {
            let [first, second] = zero.ports;
            wanted.line(&format!("ports {first} {second}"));
        }
        Some(wanted)
    }

    /// The same, for a job: what its installs replace can be brought back.
    pub fn for_job(mut self, job: JobId) -> Self {
        self.line(&format!("for {job}"));
        self
    }

    /// What an app's `:migrate` wants of the host, as a unit of its own beside the app's: its user, database and secrets, and
    /// the unit itself, which runs `command` in `folder`; none where the app's unit is not ours.
    pub fn for_migration(
        app: &App,
        host: &Host,
        templates: &Templates,
        secrets: &[(String, Secret)],
        (folder, command): (&str, &str),
    ) -> Result<Option<Self>, RenderError> {
        let unit = hosts::migration(app, host, templates.service.as_deref(), folder, command)?;
        let (Some(mut wanted), Some((unit, once))) = (Self::nothing(app), unit) else { return Ok(None) };
        wanted.line(&format!("run {} {}", STANDARD.encode(unit), STANDARD.encode(once)));
        wanted.of_service(app, app.service.as_ref(), Some(secrets));
        Ok(Some(wanted))
    }

    /// A look at a job's `:migrate`, whose log is known up to `from`; `begin` begins it, once it is there and has not begun.
    pub(super) fn look_at_migration(app: &App, job: JobId, begin: bool, from: u64) -> Option<Self> {
        let mut wanted = Self::nothing(app)?.for_job(job);
        wanted.line(&format!("from {from}"));
        if begin {
            wanted.line("begin");
        }
        Some(wanted)
    }

    fn of_service(&mut self, app: &App, service: Option<&Service>, secrets: Option<&[(String, Secret)]>) {
        if let Some(user) = service.and_then(|service| service.user.as_deref()) {
            self.line(&format!("user {user}"));
        }
        if let Some(postgres) = &app.postgres {
            self.line(&format!("postgres {} {}", postgres.database, postgres.role));
        }
        for name in service.into_iter().flat_map(|service| &service.secrets) {
            match secrets.and_then(|secrets| secrets.iter().find(|(known, _)| known == name.as_str())) {
                Some((_, secret)) => {
                    let text = Zeroizing::new(STANDARD.encode(secret.expose()));
                    self.lines.push(Zeroizing::new(format!("secret {name} {}", *text)));
                }
                None => self.line(&format!("needs {name}")),
            }
        }
    }

    fn line(&mut self, text: &str) {
        self.lines.push(Zeroizing::new(text.to_owned()));
    }
    fn file(&mut self, kind: Kind, text: String) {
        self.line(&format!("{} {}", kind.as_str(), STANDARD.encode(&text)));
        self.files.push((kind, text));
    }
    /// As the program reads it.
    pub(super) fn input(&self) -> Zeroizing<Vec<u8>> {
        let mut all = Zeroizing::new(Vec::new());
        for line in &self.lines {
            all.extend_from_slice(line.as_bytes());
            all.push(b'\n');
        }
        all.extend_from_slice(b"end\n");
        all
    }
}

impl Remote<'_> {
    /// How what is wanted stands on the host. Changes nothing.
    pub async fn look_at(&mut self, wanted: &Wanted) -> Result<Standings, Error> {
        self.program("look", wanted).await
    }

    /// Puts it in place, and says how it stood before. The unit is enabled, not started nor restarted; nginx takes its
    /// sites in. Refused, nothing was replaced or it was put back; what says so is an [`Error::Install`].
    pub async fn install(&mut self, wanted: &Wanted) -> Result<Standings, Error> {
        self.program("install", wanted).await
    }

    /// Puts back what the installs of a job have replaced there; what they found no older one of stays. Nothing is
    /// restarted.
    pub async fn bring_back(&mut self, app: &App, job: JobId) -> Result<BroughtBack, Error> {
        let Some(wanted) = Wanted::nothing(app).map(|wanted| wanted.for_job(job)) else {
            return Ok(BroughtBack::default());
        };
        let call = call("bring back what it ran by", "back", wanted.unit.as_str());
        let answer = self.give(&call, Subject::path(""), wanted.input()).await?;
        Ok(BroughtBack { files: answer.list("back"), newer: answer.get("newer").is_some() })
    }

    /// Makes the working directory where only root may: below /srv, /opt and /var/www. One that is there is left.
    pub async fn make_folder(&mut self, path: &str) -> Result<(), Error> {
        self.give(&call("make the folder", "folder", path), Subject::path(path), Zeroizing::default()).await.map(drop)
    }

    async fn program(&mut self, verb: &'static str, wanted: &Wanted) -> Result<Standings, Error> {
        let call = call(verb, verb, wanted.unit.as_str());
        let answer = self.give(&call, Subject::path(""), wanted.input()).await?;
        Ok(standings(&answer, wanted))
    }

    /// The answer of a script that reads `input`, which may be secret: it stands in no command line and in no file.
    pub(super) async fn give(
        &mut self,
        call: &Call,
        subject: Subject<'_>,
        input: Zeroizing<Vec<u8>>,
    ) -> Result<Answer, Error> {
        let failed = |source| Error::File { path: "a pipe".into(), source };
        let (reader, mut writer) = std::io::pipe().map_err(failed)?;
        // Ends with the script: whoever no longer reads breaks the pipe.
        tokio::task::spawn_blocking(move || writer.write_all(&input));
        let input = tokio::fs::File::from_std(std::fs::File::from(std::os::fd::OwnedFd::from(reader)));
        let output = self.hosts.send(self.host, call, input, self.timeout, self.cancel, self.log).await?;
        self.read(call, subject, output)
    }
}

pub(super) fn call(what: &'static str, verb: &str, argument: &str) -> Call {
    super::calls::program(what, PROGRAM, verb, argument)
}

fn standings(answer: &Answer, wanted: &Wanted) -> Standings {
    let mut items = Vec::new();
    for kind in Kind::ALL {
        let now = answer.get(&format!("now-{}", kind.as_str())).and_then(|text| STANDARD.decode(text).ok());
        let now = now.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = wanted.files.iter().find(|(other, _)| *other == kind).map(|(_, text)| text.clone());
        for line in answer.all(kind.as_str()) {
            let (standing, name) = line.split_once(' ').unwrap_or((line, ""));
            // What a newer program may say is nothing that we would do.
            let Some(standing) = Standing::ALL.into_iter().find(|s| s.as_str() == standing) else { continue };
            items.push(Item { kind, standing, name: name.to_owned(), now: now.clone(), wanted: text.clone() });
        }
    }
    let left = answer.all("due").filter_map(|word| Left::ALL.into_iter().find(|left| left.as_str() == word)).collect();
    Standings { items, left, stale: answer.get("stale").is_some() }
}

/// Why the program did not do it, in words for a person; none if that is no word of its.
pub(super) fn words(kind: &str, host: &str, what: &str, said: &str) -> Option<String> {
    let setup = format!("`airplanes host setup {host}`");
    Some(match kind {
        "no-program" => {
            format!("{host} lacks the program by which units and sites are installed; {setup} puts it there")
        }
        "program-sudo" => {
            format!("sudo on {host} does not let us call /usr/local/sbin/airplanes-host ({said}); {setup} sees to it")
        }
        "foreign-unit" => format!("{what} on {host} was not made by airplanes"),
        "old" => format!("airplanes-host on {host} is of another version; {setup} brings this one's"),
        "garbled" => format!("airplanes-host on {host} did not get all that it needs; try again"),
        "verify" if what == "unit" => {
            format!("systemd on {host} won't have the unit, so nothing was replaced: {said}")
        }
        "verify" => format!("nginx on {host} won't have the site, so nothing was replaced: {said}"),
        "reload" => format!("{what} on {host} did not take the new files in, and has the old ones back: {said}"),
        "no-nginx" => format!("{host} has no nginx; `airplanes host setup {host} --install nginx`"),
        "no-postgres" => format!("{host} has no PostgreSQL; `airplanes host setup {host} --install postgresql`"),
        "no-certbot" => format!("{host} has no certbot; `airplanes host setup {host} --install certbot`"),
        "role" => format!(
            "PostgreSQL on {host} has a role {what} that airplanes did not make, and its password is left alone; with --replace \
             `airplanes host install` takes it over and gives it another, or give :postgres a :role of its own"
        ),
        "postgres" => format!("PostgreSQL on {host} did not do it: {said}"),
        "certbot" => format!("certbot on {host} got no certificate, and the site waits for one: {said}"),
        "folder" => {
            format!("the working directory can't be made on {host}: {said}; make it there, for our user to write")
        }
        "name" => format!("{host}: {said}"),
        _ => return None,
    })
}
