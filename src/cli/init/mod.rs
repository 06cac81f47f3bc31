//! `init`: the first config.edn and deploy.edn, from the checkouts that it is pointed at, and the webhooks' secret.
//!
//! It writes what is missing and nothing else. The pair that it makes passes `check` before a byte of it is written.

mod pair;
mod project;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, plain, print, say};
use super::{Globals, kept};
use crate::config::{self, Source};
use crate::forge::pages;
use crate::model::{Forge, RepoId};
use crate::render::{self, ConfigFile, DeployFile};
use crate::watch::FsSource;

pub(in crate::cli) use project::{Project, find, usable};

/// The webhooks' secret, beside config.edn. The unit makes a credential of each file in that folder.
const SECRET_FILE: &str = "secrets/webhook";
/// What the unit calls it.
const SECRET_CREDENTIAL: &str = "secret_webhook";

/// `init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// Checkouts, folders with checkouts in them, or urls of repositories.
    #[arg(value_name = "DIR|URL")]
    sources: Vec<String>,
    /// Where the files go; default: the folder of --config.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A forge that will call, where the repositories do not tell: github, gitlab, gitea, bitbucket. Can be repeated.
    #[arg(long = "forge", value_name = "FORGE", value_parser = forge)]
    forges: Vec<Forge>,
    /// Print what would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

fn forge(text: &str) -> Result<Forge, String> {
    Forge::ALL.into_iter().find(|forge| forge.as_str() == text).ok_or_else(|| {
        let known: Vec<&str> = Forge::ALL.iter().map(|forge| forge.as_str()).collect();
        format!("it is one of {}", known.join(", "))
    })
}

/// A file of the pair.
struct Planned {
    path: PathBuf,
    text: String,
    /// What is there now.
    there: Option<Vec<u8>>,
}

impl Planned {
    fn new(path: PathBuf, text: String) -> Result<Self, CliError> {
        let there = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(CliError::io(&format!("{} can't be read", path.display()), &error)),
        };
        Ok(Self { path, text, there })
    }
    fn is_as_planned(&self) -> bool {
        self.there.as_deref() == Some(self.text.as_bytes())
    }
}

pub(super) async fn init(globals: &Globals, args: InitArgs) -> Result<Exit, CliError> {
    let config_path = match &args.dir {
        Some(dir) => dir.join("config.edn"),
        None => globals.config.clone(),
    };
    let config_path = std::path::absolute(&config_path).map_err(|e| CliError::io("there is no current folder", &e))?;
    let folder = config_path.parent().unwrap_or(Path::new("/")).to_owned();
    let found = find(&args.sources).await;
    let paint = Paint::stderr(globals.color);
    for line in &found.passed_over {
        say(&format!("{} {}", paint.red("passed over:"), plain(line)));
    }
    if found.projects.is_empty() && !args.sources.is_empty() {
        let hint = "name a checkout, a folder of checkouts, or a repository's url; or nothing, for a bare pair";
        return Err(CliError::usage("there is nothing to take in", hint));
    }
    let url = globals.url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
    let setting = pair::Setting { folder: &folder, url, forges: &args.forges };
    let (config, deploy) = pair::pair(&found.projects, &setting);
    let texts = render::config_edn(&config).and_then(|text| Ok((text, render::deploy_edn(&deploy)?)));
    let (config_text, deploy_text) = texts.map_err(|error| CliError::other(error.to_string()))?;
    prove(&config_path, &config_text, &deploy_text, globals)?;
    let secret = folder.join(SECRET_FILE);
    let files =
        [Planned::new(folder.join("deploy.edn"), deploy_text)?, Planned::new(config_path.clone(), config_text)?];
    if args.dry_run {
        return show(&files, &secret, paint);
    }
    let made = write(&files, &secret, paint)?;
    for line in summary(&deploy) {
        say(&line);
    }
    if let Some(text) = made {
        print(&format!("{}\n", hooks(&config, &found.projects, &text, &secret, paint)))?;
    }
    next(globals, &args, &config_path, paint);
    Ok(Exit::Done)
}

/// The pair as it would be, without being there.
struct Proposed<'a> {
    files: HashMap<&'a Path, &'a str>,
}

impl Source for Proposed<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path.ends_with(SECRET_FILE) {
            return Ok(b"to be made".to_vec());
        }
        self.files.get(path).map(|text| text.as_bytes().to_vec()).ok_or(io::ErrorKind::NotFound.into())
    }
    fn env(&self, _name: &str) -> Option<String> {
        None
    }
}

/// That the pair passes `check`. Where it does not, nothing is written.
fn prove(path: &Path, config: &str, deploy: &str, globals: &Globals) -> Result<(), CliError> {
    let beside = path.with_file_name("deploy.edn");
    let proposed = Proposed { files: HashMap::from([(path, config), (beside.as_path(), deploy)]) };
    let Err(faults) = config::load(&proposed, path) else { return Ok(()) };
    say(faults.render(Paint::stderr(globals.color).is_on()).trim_end());
    let url = globals.url.as_deref().unwrap_or_default();
    if !url.is_empty() && !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(CliError::usage(format!("`{url}` is no url"), "give --url like https://deploy.example.com"));
    }
    Err(CliError::other("the files would not pass `airplanes check`, so nothing was written"))
}

fn show(files: &[Planned], secret: &Path, paint: Paint) -> Result<Exit, CliError> {
    if !secret.exists() {
        say(&format!("would make {}, a new secret for webhooks", secret.display()));
    }
    for file in files {
        let what = match (&file.there, file.is_as_planned()) {
            (None, _) => "would write",
            (_, true) => "is there already, just so:",
            (_, false) => "is there already and would be left as it is; this would be written if it were not:",
        };
        say(&format!("{} {}", paint.bold(what), file.path.display()));
        print(&format!("{}\n", file.text))?;
    }
    Ok(Exit::Done)
}

/// Writes what is missing. Gives the secret if it is new.
fn write(files: &[Planned], secret: &Path, paint: Paint) -> Result<Option<String>, CliError> {
    let folders = files.iter().map(|file| file.path.as_path()).chain([secret]).filter_map(Path::parent);
    folders.into_iter().try_for_each(kept::make_folder)?;
    let wrote = |path: &Path| say(&format!("{} {}", paint.green("wrote"), path.display()));
    let text = new_secret()?;
    // A configuration of before may have its secret elsewhere; one more would be pasted in vain.
    let config = files.iter().find(|file| file.path.file_name() != Some("deploy.edn".as_ref()));
    let there = config.and_then(|file| file.there.as_deref()).map(String::from_utf8_lossy);
    let wanted = there.is_none_or(|text| text.contains(SECRET_FILE) || text.contains(SECRET_CREDENTIAL));
    let made = wanted && kept::create(secret, format!("{text}\n").as_bytes())?;
    match made {
        true => wrote(secret),
        false if wanted => {
            say(&format!("{} is there already: the secret stays, and is not shown again", secret.display()));
        }
        false => {}
    }
    for file in files {
        let there = file.path.display();
        if file.there.is_none() && kept::create(&file.path, file.text.as_bytes())? {
            wrote(&file.path);
        } else if file.is_as_planned() {
            say(&format!("{there} is there already, just as it would be written"));
        } else {
            say(&format!("{there} is there already and stays as it is; --dry-run prints what would be written"));
        }
    }
    Ok(made.then_some(text))
}

/// 32 random bytes in hex.
fn new_secret() -> Result<String, CliError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| CliError::other(format!("there is no randomness to be had: {e}")))?;
    Ok(crate::model::hex(bytes))
}

fn summary(deploy: &DeployFile) -> Vec<String> {
    let entry = |app: &render::AppEntry| {
        let build = app.build.as_ref().map_or("no build known".to_owned(), |build| format!("build: {}", build.command));
        let kind = if app.is_library { "library" } else { "app" };
        format!("  {kind} {}  {}{build}", app.name, if app.update { "updated, " } else { "" })
    };
    let library = |library: &render::LibraryNote| format!("  library {}  needs no entry", library.repo);
    deploy.apps.iter().map(entry).chain(deploy.libraries.iter().map(library)).collect()
}

/// The secret, once, and where it is pasted.
fn hooks(config: &ConfigFile, projects: &[Project], secret: &str, file: &Path, paint: Paint) -> String {
    let base = config.url.as_deref().unwrap_or("https://YOURS");
    let mut text = format!(
        "\nThe webhooks' secret, shown this once (it is in {}):\n\n  {}\n\n",
        file.display(),
        paint.bold(secret)
    );
    text.push_str("It goes into a webhook of each repository:\n");
    for forge in Forge::ALL.into_iter().filter(|forge| config.forges.contains(&forge.as_str())) {
        text.push_str(&format!("\n  {base}/hooks/{}: {}\n", forge.as_str(), pages::hook_choices(forge)));
        let only = config.forges.len() == 1;
        let is_its = |repo: &RepoId| Forge::of_host(pages::host_of(repo)).map_or(only, |of| of == forge);
        let mine = projects.iter().map(|project| &project.repo).filter(|repo| is_its(repo));
        for repo in mine {
            text.push_str(&format!("    {}\n", pages::hook_page(repo, forge)));
        }
    }
    let is_untold = |repo: &&RepoId| config.forges.len() > 1 && Forge::of_host(pages::host_of(repo)).is_none();
    let untold: Vec<&str> = projects.iter().map(|p| &p.repo).filter(is_untold).map(RepoId::as_str).collect();
    if !untold.is_empty() {
        text.push_str(&format!(
            "\n  Whichever of these urls fits the git host of {}; what is not used may be taken out of :webhooks.\n",
            untold.join(", ")
        ));
    }
    text
}

fn next(globals: &Globals, args: &InitArgs, path: &Path, paint: Paint) {
    let with = if path == Path::new(super::DEFAULT_CONFIG) {
        String::new()
    } else {
        format!(" --config {}", shell_word(&path.display().to_string()))
    };
    say(&paint.bold("next:"));
    if args.sources.is_empty() && crate::deps::FILES.iter().any(|name| Path::new(name).is_file()) {
        say("  this folder has a deps.edn; `airplanes init . --dry-run` shows what would be taken from it");
    }
    // It may be one of before, which says all that already.
    let there = config::load(&FsSource, path).ok().map(|loaded| loaded.config);
    let url = there.as_ref().is_some_and(|config| config.url.is_some());
    let hosts = there.as_ref().is_some_and(|config| !config.hosts.is_empty());
    let wanted = match (url || globals.url.is_some(), hosts) {
        (false, false) => "say where forges reach the daemon, :url, and name your :hosts",
        (false, true) => "say where forges reach the daemon, :url",
        (true, false) => "name your :hosts",
        (true, true) => "",
    };
    if !wanted.is_empty() {
        say(&format!("  in {}, {wanted}", path.display()));
    }
    say(&format!("  airplanes check{with}"));
    say(&format!("  airplanes keys{with}               a deploy key for each repository, and what to paste where"));
    say(&format!("  airplanes host trust HOST{with}    for each host"));
}

/// A path as a person can paste it into a shell.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The configuration as it is on the disk, but for one file.
pub(in crate::cli) struct Edited<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Source for Edited<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == self.path { Ok(self.text.as_bytes().to_vec()) } else { FsSource.read(path) }
    }
    fn env(&self, name: &str) -> Option<String> {
        FsSource.env(name)
    }
}
