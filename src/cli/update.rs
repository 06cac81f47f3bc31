//! `update`: the bump, in a checkout that lies here, by the rules of the daemon that deploy.edn is for. It asks the
//! remotes as the user's own git would (agent, ~/.ssh), edits the bytes of shas and nothing else, and commits nothing.

use std::collections::{BTreeMap, HashMap};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use similar::{ChangeTag, TextDiff};
use tokio_util::sync::CancellationToken;

use super::DEFAULT_CONFIG;
use super::Globals;
use super::error::CliError;
use super::exit::Exit;
use super::init::usable;
use super::output::{Paint, plain, print, print_page, say};
use super::show::bump_line;
use crate::bumps::{Asking, BumpsError, Due, File, Rules, Stays, Tree};
use crate::config;
use crate::files;
use crate::git::{GitConfig, Mirrors, origin};
use crate::model::{App, RepoId, RepoUrl, Sha, Updates};
use crate::watch::FsSource;

/// `update`.
#[derive(Debug, Clone, Args)]
pub struct UpdateArgs {
    /// The checkout.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Show the diff and write nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn update(globals: &Globals, args: UpdateArgs) -> Result<Exit, CliError> {
    if !args.folder.is_dir() {
        let message = format!("{} is not a folder", args.folder.display());
        return Err(CliError::usage(message, "name the checkout's folder: airplanes update DIR"));
    }
    let remotes = Remotes::new(globals)?;
    let apps = remotes.loaded.as_ref().map(|loaded| &loaded.apps);
    let checkout = Checkout::of(&args.folder)?;
    let in_folder = |error: BumpsError| match error {
        BumpsError::File(words) => CliError::other(format!("{}/{words}", checkout.root.display())),
        error => CliError::other(error.to_string()),
    };
    let living = |repo: &RepoId| {
        let repo = repo.clone();
        apps.into_iter().flat_map(|apps| apps.values()).filter(move |app| app.repo() == repo)
    };
    let stop = CancellationToken::new();
    let url_of = |repo: &RepoId| living(repo).next().map(|app| app.git_url.clone());
    let asking = Asking { git: &remotes.git, url_of: &url_of, stop: &stop };
    let mut done = Due::default();
    let mut before: Vec<File> = Vec::new();
    for updates in checkout.updates(living(&checkout.repo)) {
        let counting = Tree::Folder(&checkout.root).files(&updates).await.map_err(in_folder)?;
        let rules = Rules {
            wants: &HashMap::new(),
            all: true,
            apart: &BTreeMap::new(),
            track: &updates.track,
            held: &|_, _| None,
            own: Some(&checkout.repo),
            lives_on: &|repo| living(repo).map(|app| app.branch.clone()).collect(),
            had: &|_| Default::default(),
            seen: &|_, _, _| None,
        };
        // What an app before has decided of a file is decided.
        let files: Vec<File> = counting.iter().filter(|file| !before.contains(file)).cloned().collect();
        let due = asking.due(&files, &rules).await.map_err(in_folder)?;
        before.extend(files);
        done.bumps.extend(due.bumps);
        done.files.extend(due.files);
        done.kept.extend(due.kept);
        if !done.files.is_empty() {
            checkout.preflight(&asking, &counting, &done.files).await.map_err(in_folder)?;
        }
    }
    if before.is_empty() {
        let message = format!("there is no deps.edn and no bb.edn in {}", args.folder.display());
        return Err(CliError::usage(message, "name the checkout's folder: airplanes update DIR"));
    }
    let due = done;
    let paint = Paint::stderr(globals.color);
    for kept in &due.kept {
        say(&format!("{} {}", paint.dim("left alone:"), plain(&kept.to_string())));
    }
    for file in &due.files {
        let old = before.iter().find(|source| source.path == file.path).map_or("", |source| &source.text);
        let diff = diff(Paint::stdout(globals.color), &file.path, old, &file.text);
        // `git apply` wants the bytes.
        if std::io::stdout().is_terminal() { print(&diff)? } else { print_page(&diff)? }
    }
    for file in due.files.iter().filter(|_| !args.dry_run) {
        let path = checkout.root.join(&file.path);
        replace(&path, &file.text).map_err(|e| CliError::io(&format!("{} can't be written", path.display()), &e))?;
    }
    due.bumps.iter().for_each(|bump| say(&bump_line(bump)));
    let failed = due.kept.iter().any(|kept| matches!(kept.why, Stays::Unreachable(_)));
    say(&match (due.bumps.len(), args.dry_run) {
        (0, _) if failed => "nothing was bumped, and not every repository could be asked".to_owned(),
        (0, _) => "up to date".to_owned(),
        (n, true) => format!("{n} would be bumped; nothing was written"),
        (n, false) => format!("{n} bumped"),
    });
    Ok(if failed { Exit::Error } else { Exit::Done })
}

/// A folder, and the repository that it is of.
struct Checkout {
    /// The repository's folder, or what was named where that is in no checkout.
    root: PathBuf,
    /// What was named, from there on.
    below: Option<String>,
    /// By its remote; by its folder where it has none.
    repo: RepoId,
}

impl Checkout {
    fn of(folder: &Path) -> Result<Self, CliError> {
        let named = |e| CliError::io(&format!("{} can't be opened", folder.display()), &e);
        let real = folder.canonicalize().map_err(named)?;
        let origin = origin(&real);
        let root = origin.as_ref().map_or(&real, |origin| &origin.root).clone();
        let below = real.strip_prefix(&root).ok().and_then(Path::to_str).filter(|below| !below.is_empty());
        let below = below.map(str::to_owned);
        let remote = origin.and_then(|origin| usable(&origin.url?, &origin.root).ok());
        let repo = match remote {
            Some(url) => url.id(),
            None => RepoUrl::new(format!("file://{}", root.display()))?.id(),
        };
        // As it was written, where that is the repository's own folder.
        let root = if below.is_none() { folder.to_owned() } else { root };
        Ok(Self { root, below, repo })
    }

    /// What is told of the apps in the folder that was named; else the folder's own files count, without rules.
    fn updates<'a>(&self, apps: impl Iterator<Item = &'a App>) -> Vec<Updates> {
        let below = self.below.as_deref().unwrap_or_default();
        let is_there = |app: &&App| {
            let directory = app.updates.directory.as_deref().unwrap_or_default();
            let rest = directory.strip_prefix(below);
            below.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut updates: Vec<Updates> = apps.filter(is_there).map(|app| app.updates.clone()).collect();
        if updates.is_empty() {
            updates.push(Updates { directory: self.below.clone(), ..Updates::default() });
        }
        updates
    }

    /// An error if tools.deps would refuse what the bumps make, as the daemon would. What was so before is told.
    async fn preflight(&self, asking: &Asking<'_>, counting: &[File], new: &[File]) -> Result<(), BumpsError> {
        // Nothing is read by it: what the files say counts.
        let head = Sha::from_bytes([1; 20]);
        let (after, faults) = asking.refused(counting, new, (&self.repo, head)).await?;
        after.unknown.iter().for_each(|words| say(&plain(&format!("not looked at: {words}"))));
        for fault in after.faults.iter().filter(|fault| !faults.contains(fault)) {
            say(&plain(&format!("tools.deps refuses this, as it did before: {fault}")));
        }
        let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
        match words.as_slice() {
            [] => Ok(()),
            words => Err(BumpsError::File(format!(
                "{}\ntools.deps would refuse that, so nothing was written",
                words.join("\n")
            ))),
        }
    }
}

/// Mirrors for as long as the command runs.
struct Remotes {
    git: Mirrors,
    loaded: Option<config::Loaded>,
    _folder: tempfile::TempDir,
}

impl Remotes {
    /// With the keys and tokens of the config file, if there is one that can be read; else with the user's own.
    fn new(globals: &Globals) -> Result<Self, CliError> {
        let paint = Paint::stderr(globals.color);
        let folder = tempfile::tempdir().map_err(|e| CliError::io("no temporary folder could be made", &e))?;
        let loaded = match config::load(&FsSource, &globals.config) {
            Ok(loaded) => Some(loaded),
            Err(_) if globals.config == Path::new(DEFAULT_CONFIG) => None,
            Err(faults) => {
                say(faults.render(paint.is_on()).trim_end());
                let message = format!("{} can't be used", globals.config.display());
                return Err(CliError::usage(message, "mend it, or leave --config out to use your own keys"));
            }
        };
        let config = match &loaded {
            Some(loaded) => GitConfig::of(folder.path(), &loaded.config.git),
            None => GitConfig::new(folder.path()),
        };
        let git = Mirrors::new(config).map_err(|e| CliError::other(e.to_string()))?;
        Ok(Self { git, loaded, _folder: folder })
    }
}

/// A unified diff.
pub(super) fn diff(paint: Paint, name: &str, old: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut out = format!("{}\n{}\n", paint.bold(&format!("--- a/{name}")), paint.bold(&format!("+++ b/{name}")));
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        out.push_str(&paint.cyan(&hunk.header().to_string()));
        out.push('\n');
        for change in hunk.iter_changes() {
            let line = change.value();
            let bare = line.trim_end_matches(['\n', '\r']);
            out.push_str(&match change.tag() {
                ChangeTag::Delete => paint.red(&format!("-{bare}")),
                ChangeTag::Insert => paint.green(&format!("+{bare}")),
                ChangeTag::Equal => format!(" {bare}"),
            });
            out.push_str(&line[bare.len()..]);
            if change.missing_newline() {
                out.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
    out
}

/// Replaces a file whole or not at all: the new text is on disk before it takes the name. A link is followed.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = path.canonicalize()?;
    let mut file = tempfile::NamedTempFile::new_in(files::folder_of(&path))?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
    let (file, part) = file.into_parts();
    files::put(&file, &part, &path)
}
