//! `keys`: a deploy key for each repository and one for the hosts, what to paste where, and the git hosts' own keys.
//!
//! A key that is there is shown and never made again. config.edn is edited at the end, and only by adding.

mod wanted;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::error::CliError;
use super::exit::Exit;
use super::host::trust::{self, Place};
use super::init::Edited;
use super::output::{Paint, can_ask, print, say};
use super::{Globals, kept};
use crate::config::{self, Addition, Key, Loaded};
use crate::forge::pages;
use crate::git::GitConfig;
use crate::model::{Forge, RepoId};
use crate::ssh;
use crate::watch::FsSource;

use wanted::{Wanted, wanted};

/// The known_hosts file beside config.edn, where it names none.
pub(super) const KNOWN_HOSTS: &str = "known_hosts";
/// The key for hosts beside config.edn, where it names none.
pub(super) const IDENTITY: &str = "keys/hosts";
/// The folder of the keys.
const KEYS: &str = "keys";

/// `keys`.
#[derive(Debug, Clone, Args)]
pub struct KeysArgs {
    /// Repositories beside those of the configuration: urls, or checkouts, whose dependencies count too.
    #[arg(value_name = "DIR|URL")]
    sources: Vec<String>,
    /// Say what would be made, and make nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A key, as it is told.
#[derive(Debug, Serialize)]
struct KeyView {
    /// The repository; none for the key of the hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<RepoId>,
    /// The private key's file.
    file: PathBuf,
    /// The public key; none if it would have to be made.
    public: Option<String>,
    /// Where it is pasted.
    paste: String,
    /// Whether it may write.
    write: bool,
    /// Whether it was made now.
    made: bool,
}

/// All that was done.
#[derive(Debug, Serialize)]
struct KeysView {
    repositories: Vec<KeyView>,
    hosts: KeyView,
    /// The known_hosts file for git.
    known_hosts: PathBuf,
    /// The git hosts whose published keys were added to it.
    pinned: Vec<String>,
    /// The git hosts and hosts that are still to be trusted: `airplanes host trust`.
    untrusted: Vec<String>,
    /// What was added to config.edn.
    added: Vec<String>,
    /// What a person has to add to it.
    to_add: Vec<String>,
    /// What a person should know.
    remarks: Vec<String>,
}

pub(super) async fn keys(globals: &Globals, args: KeysArgs) -> Result<Exit, CliError> {
    let path = std::path::absolute(&globals.config).map_err(|e| CliError::io("there is no current folder", &e))?;
    let loaded = load(globals, &path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let git = GitConfig::of("/", &loaded.config.git);
    let sorted = wanted(&loaded, &args.sources, globals).await?;
    let mut added: Vec<Entry> = Vec::new();
    let mut repositories = Vec::new();
    let mut used: HashSet<PathBuf> = loaded.config.git.keys.iter().map(|(_, file)| file.clone()).collect();
    for wanted in &sorted.by_ssh {
        let (file, named) = match git.key_for(&wanted.repo) {
            Some((prefix, file)) => (file.to_owned(), prefix.to_owned()),
            None => {
                let taken = |file: &str| {
                    let path = folder.join(file);
                    used.contains(&path) || is_of_another(&path, &wanted.repo)
                };
                let file = file_name(&wanted.repo, taken);
                added.push(Entry::key(&wanted.repo, &file));
                used.insert(folder.join(&file));
                (folder.join(file), wanted.repo.to_string())
            }
        };
        let (public, made) = key(&file, wanted.repo.as_str(), args.dry_run).await?;
        let many = *named != *wanted.repo.as_str();
        let forge = Forge::of_host(pages::host_of(&wanted.repo)).or_else(|| only_forge(&loaded));
        let paste = match many {
            true => format!("an account on {} that may use all of {named}", pages::host_of(&wanted.repo)),
            false => pages::key_page(&wanted.repo, forge, wanted.write),
        };
        let repository = Some(wanted.repo.clone());
        repositories.push(KeyView { repository, file, public, paste, write: wanted.write, made });
    }
    let identity = loaded.config.ssh.identity.clone().unwrap_or_else(|| {
        added.push(Entry { path: &["ssh"], key: "identity".to_owned(), is_text: false, value: IDENTITY.to_owned() });
        folder.join(IDENTITY)
    });
    let (public, made) = key(&identity, "hosts", args.dry_run).await?;
    let mut users: BTreeSet<&str> = loaded.config.hosts.values().map(|host| host.user.as_str()).collect();
    if users.is_empty() {
        users.insert(&loaded.config.ssh.user);
    }
    let homes: Vec<String> = users.iter().map(|user| format!("~{user}/.ssh/authorized_keys")).collect();
    let paste = format!("{} on each host", homes.join(" or "));
    let hosts = KeyView { repository: None, file: identity, public, paste, write: false, made };
    let known_hosts = loaded.config.git.known_hosts.clone().unwrap_or_else(|| {
        added.push(Entry {
            path: &["git"],
            key: "known-hosts".to_owned(),
            is_text: false,
            value: KNOWN_HOSTS.to_owned(),
        });
        folder.join(KNOWN_HOSTS)
    });
    let mut view = KeysView {
        repositories,
        hosts,
        known_hosts,
        pinned: Vec::new(),
        untrusted: Vec::new(),
        added: Vec::new(),
        to_add: Vec::new(),
        remarks: sorted.remarks,
    };
    pin(&mut view, &sorted.by_ssh, &args, globals).await?;
    // Without a file of its own, ssh's own files are asked, and those are not looked into here.
    if let Some(file) = &loaded.config.ssh.known_hosts {
        for host in loaded.config.hosts.values() {
            let place = Place { host: host.address.to_string(), port: host.port, files: vec![file.clone()] };
            if !place.is_known()? {
                view.untrusted.push(host.name.to_string());
            }
        }
    }
    configure(&mut view, &path, &added, &args, globals)?;
    if args.json {
        let text = serde_json::to_string_pretty(&view).map_err(|e| CliError::other(e.to_string()))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&told(&view, &loaded, &args, Paint::stdout(globals.color)))?;
    }
    Ok(Exit::Done)
}

/// The configuration; its faults are told here.
pub(super) fn load(globals: &Globals, path: &Path) -> Result<Loaded, CliError> {
    config::load(&FsSource, path).map_err(|faults| {
        say(faults.render(Paint::stderr(globals.color).is_on()).trim_end());
        let hint = match path.try_exists().unwrap_or(true) {
            true => "mend it; if it can't be read, run this with sudo or as the daemon's user",
            false => "`airplanes init` writes a first one; --config names another",
        };
        CliError::usage(format!("{} can't be used", path.display()), hint)
    })
}

/// The forge of a git host whose name does not tell, if there is only one that calls.
fn only_forge(loaded: &Loaded) -> Option<Forge> {
    let mut forges = loaded.config.webhooks.keys().copied();
    forges.next().filter(|_| forges.next().is_none())
}

/// Something to add to config.edn.
#[derive(Debug)]
pub(super) struct Entry {
    pub path: &'static [&'static str],
    pub key: String,
    /// Whether the key is a string and no keyword.
    pub is_text: bool,
    pub value: String,
}

impl Entry {
    fn key(repo: &RepoId, file: &str) -> Self {
        Self { path: &["git", "keys"], key: repo.to_string(), is_text: true, value: file.to_owned() }
    }
    pub fn addition(&self) -> Addition<'_> {
        let key = if self.is_text { Key::Text(&self.key) } else { Key::Keyword(&self.key) };
        Addition { path: self.path, key, value: &self.value }
    }
}

/// A repository's key beside config.edn: `keys/github.com-acme-shop`, with a number if that is `taken`.
pub(super) fn file_name(repo: &RepoId, taken: impl Fn(&str) -> bool) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = repo.as_str().trim_start_matches('/').chars().map(plain).take(150).collect();
    let mut file = format!("{KEYS}/{name}");
    for number in 2.. {
        if !taken(&file) {
            break;
        }
        file = format!("{KEYS}/{name}-{number}");
    }
    file
}

/// The comment of a key that we make, by which it is known again.
fn comment(of: &str) -> String {
    let plain: String = of.chars().map(|c| if c.is_control() || c.is_whitespace() { '-' } else { c }).collect();
    format!("airplanes {plain}")
}

/// Whether a key stands there that was made for something else.
fn is_of_another(file: &Path, repo: &RepoId) -> bool {
    let public = std::fs::read_to_string(public_of(file)).unwrap_or_default();
    file.exists() && !public.trim_end().ends_with(&comment(repo.as_str()))
}

fn public_of(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

/// A private key's public one, and whether it was made now. None in a dry run, if it would have to be made.
async fn key(file: &Path, of: &str, dry_run: bool) -> Result<(Option<String>, bool), CliError> {
    let unreadable = |error| CliError::io(&format!("{} can't be read", file.display()), &error);
    let there = file.try_exists().map_err(unreadable)?;
    if there && let Ok(public) = std::fs::read_to_string(public_of(file)) {
        return Ok((Some(public.trim().to_owned()), false));
    }
    if dry_run && !there {
        return Ok((None, false));
    }
    let failed = |error: ssh::ToolError| CliError::other(error.to_string());
    let own = tempfile::tempdir().map_err(|e| CliError::io("no temporary folder could be made", &e))?;
    let copy = own.path().join("key");
    if there {
        // ssh-keygen reads a private key only from a file that is the user's own.
        let bytes = std::fs::read(file).map_err(unreadable)?;
        kept::create(&copy, &bytes)?;
        let public = ssh::public_key(&copy).await.map_err(|error| {
            CliError::other(format!("{} is there, and is no key that can be used: {error}", file.display()))
        })?;
        return Ok((Some(public), false));
    }
    kept::make_folder(file.parent().unwrap_or(Path::new("/")))?;
    ssh::make_key(&copy, &comment(of)).await.map_err(failed)?;
    let read = |path: &Path| std::fs::read(path).map_err(|e| CliError::io("the new key can't be read", &e));
    let (private, public) = (read(&copy)?, read(&public_of(&copy))?);
    // The private one first: a public one without it would be pasted in vain, as one that lies there alone would be.
    if !kept::create(file, &private)? {
        let message = format!("{} was made by somebody else just now", file.display());
        return Err(CliError::Other { message, hint: Some("run this again: it is shown then".to_owned()) });
    }
    kept::replace(&public_of(file), &public)?;
    Ok((Some(String::from_utf8_lossy(&public).trim().to_owned()), true))
}

/// Trusts the git hosts: those that publish their keys by these, others as `host trust` does, if a person can be asked.
async fn pin(view: &mut KeysView, by_ssh: &[Wanted], args: &KeysArgs, globals: &Globals) -> Result<(), CliError> {
    let mut places: Vec<(String, u16)> = by_ssh.iter().map(Wanted::ssh_host).collect();
    places.sort();
    places.dedup();
    for (host, port) in places {
        let place = Place { host, port, files: vec![view.known_hosts.clone()] };
        if place.is_known()? {
            continue;
        }
        if place.published().is_empty() {
            let trusted = !args.dry_run && !args.json && can_ask() && trust::ask(&place, globals).await?;
            if !trusted {
                view.untrusted.push(place.argument());
            }
            continue;
        }
        if !args.dry_run {
            place.record(&place.published())?;
        }
        view.pinned.push(place.host.clone());
    }
    Ok(())
}

/// Adds the entries to config.edn, if that can be done without touching what a person wrote.
fn configure(
    view: &mut KeysView,
    path: &Path,
    entries: &[Entry],
    args: &KeysArgs,
    globals: &Globals,
) -> Result<(), CliError> {
    let (added, to_add) = match args.dry_run {
        true => (entries.iter().map(|entry| entry.addition().in_words()).collect(), Vec::new()),
        false => add_entries(path, entries, globals)?,
    };
    (view.added, view.to_add) = (added, to_add);
    Ok(())
}

/// The entries that were added to config.edn, and those that a person has to add.
pub(super) fn add_entries(
    path: &Path,
    entries: &[Entry],
    globals: &Globals,
) -> Result<(Vec<String>, Vec<String>), CliError> {
    add_to_config(path, &entries.iter().map(Entry::addition).collect::<Vec<_>>(), globals)
}

/// The same for whatever is to be added.
pub(super) fn add_to_config(
    path: &Path,
    additions: &[Addition<'_>],
    globals: &Globals,
) -> Result<(Vec<String>, Vec<String>), CliError> {
    let (mut added, mut to_add) = (Vec::new(), Vec::new());
    if additions.is_empty() {
        return Ok((added, to_add));
    }
    let unreadable = |e| CliError::io(&format!("{} can't be read", path.display()), &e);
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let (text, each) = config::add(&text, additions);
    for (addition, done) in additions.iter().zip(each) {
        match done {
            Ok(()) => added.push(addition.in_words()),
            Err(why) => to_add.push(format!("{}    (not added, since {why})", addition.in_words())),
        }
    }
    if let Err(faults) = config::load(&Edited { path, text: &text }, path) {
        say(faults.render(Paint::stderr(globals.color).is_on()).trim_end());
        to_add.extend(added.drain(..).map(|words| format!("{words}    (not added: the file would have faults)")));
        return Ok((added, to_add));
    }
    if !added.is_empty() {
        kept::replace(path, text.as_bytes())?;
    }
    Ok((added, to_add))
}

/// It all in words.
fn told(view: &KeysView, loaded: &Loaded, args: &KeysArgs, paint: Paint) -> String {
    let would = args.dry_run;
    let mut text = String::new();
    let mut line = |words: String| text.push_str(&format!("{words}\n"));
    for key in &view.repositories {
        let Some(repo) = &key.repository else { continue };
        line(format!("{}  {}", paint.bold(repo.as_str()), state(key, would)));
        line(format!("  {}", key.paste));
        line(format!("  {}\n", key.public.as_deref().unwrap_or("(the public key is shown here once it is made)")));
    }
    if view.repositories.is_empty() {
        line("no repository is spoken to over ssh, so none needs a key\n".to_owned());
    }
    let names: Vec<&str> = loaded.config.hosts.keys().map(|name| name.as_str()).collect();
    let names = if names.is_empty() { "hosts".to_owned() } else { format!("hosts: {}", names.join(", ")) };
    line(format!("{}  {}", paint.bold(&names), state(&view.hosts, would)));
    line(format!("  a line of {}", view.hosts.paste));
    match &view.hosts.public {
        Some(public) => line(format!("  restrict {public}\n")),
        None => line("  (shown here once it is made)\n".to_owned()),
    }
    let known = view.known_hosts.display();
    if !view.pinned.is_empty() {
        let did = if would { "would be added" } else { "added" };
        line(format!("{did} to {known}: the published host keys of {}", view.pinned.join(", ")));
    }
    for entry in &view.added {
        line(format!("{} to config.edn: {entry}", if would { "would be added" } else { "added" }));
    }
    for entry in &view.to_add {
        line(format!("{} {entry}", paint.red("add to config.edn yourself:")));
    }
    for host in &view.untrusted {
        line(format!("{} airplanes host trust {host}", paint.red("still to do:")));
    }
    for remark in &view.remarks {
        line(format!("{} {remark}", paint.cyan("note:")));
    }
    text
}

fn state(key: &KeyView, would: bool) -> String {
    let file = key.file.display();
    match (key.made, key.public.is_some(), would) {
        (true, ..) => format!("new key {file}"),
        (_, false, true) => format!("would get the key {file}"),
        _ => format!("has the key {file}"),
    }
}
