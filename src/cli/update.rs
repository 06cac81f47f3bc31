//! `update`: the bump, in a checkout that lies here. It asks the remotes as the user's own git would (agent, ~/.ssh),
//! edits the bytes of shas and nothing else, and commits nothing.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use similar::{ChangeTag, TextDiff};
use tokio_util::sync::CancellationToken;

use super::DEFAULT_CONFIG;
use super::Globals;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, plain, print, say};
use super::show::bump_line;
use crate::config;
use crate::deps::{self, Coord};
use crate::edn::position;
use crate::git::{GitConfig, GitError, Heads, Mirrors};
use crate::model::{Bump, RepoId, RepoUrl, Sha};
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
    let mut sources = Vec::new();
    for name in deps::FILES {
        let path = args.folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => sources.push((name, path, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(CliError::io(&format!("{} can't be read", path.display()), &error)),
        }
    }
    if sources.is_empty() {
        if !args.folder.is_dir() {
            let message = format!("{} is not a folder", args.folder.display());
            return Err(CliError::usage(message, "name the checkout's folder: airplanes update DIR"));
        }
        let message = format!("there is no deps.edn and no bb.edn in {}", args.folder.display());
        return Err(CliError::usage(message, "name the checkout's folder: airplanes update DIR"));
    }
    let mut remotes = Remotes::new(globals)?;
    let mut edits = Vec::new();
    for (name, path, text) in sources {
        let (edited, bumps) = remotes.edit(name, &path, &text).await?;
        if edited != text {
            print(&diff(Paint::stdout(globals.color), name, &text, &edited))?;
            edits.push((path, edited, bumps));
        }
    }
    let bumps: usize = edits.iter().map(|(_, _, bumps)| bumps.len()).sum();
    for (path, edited, bumps) in &edits {
        if !args.dry_run {
            replace(path, edited).map_err(|e| CliError::io(&format!("{} can't be written", path.display()), &e))?;
        }
        bumps.iter().for_each(|bump| say(&bump_line(bump)));
    }
    say(&match (bumps, args.dry_run) {
        (0, _) if remotes.failed => "nothing was bumped, and not every repository could be asked".to_owned(),
        (0, _) => "up to date".to_owned(),
        (n, true) => format!("{n} would be bumped; nothing was written"),
        (n, false) => format!("{n} bumped"),
    });
    Ok(if remotes.failed { Exit::Error } else { Exit::Done })
}

/// What the remotes say, each asked once. Their histories are kept for as long as the command runs.
struct Remotes {
    git: Mirrors,
    stop: CancellationToken,
    heads: HashMap<RepoId, Option<Heads>>,
    paint: Paint,
    /// Whether one of them could not be asked.
    failed: bool,
    _folder: tempfile::TempDir,
}

impl Remotes {
    /// With the keys and tokens of the config file, if there is one that can be read; else with the user's own.
    fn new(globals: &Globals) -> Result<Self, CliError> {
        let paint = Paint::stderr(globals.color);
        let folder = tempfile::tempdir().map_err(|e| CliError::io("no temporary folder could be made", &e))?;
        let config = match config::load(&FsSource, &globals.config) {
            Ok(loaded) => GitConfig::of(folder.path(), &loaded.config.git),
            Err(_) if globals.config == Path::new(DEFAULT_CONFIG) => GitConfig::new(folder.path()),
            Err(faults) => {
                say(faults.render(paint.is_on()).trim_end());
                let message = format!("{} can't be used", globals.config.display());
                return Err(CliError::usage(message, "mend it, or leave --config out to use your own keys"));
            }
        };
        let git = Mirrors::new(config).map_err(|e| CliError::other(e.to_string()))?;
        let stop = CancellationToken::new();
        Ok(Self { git, stop, heads: HashMap::new(), paint, failed: false, _folder: folder })
    }

    /// The text with its coordinates at their branches' heads, and what moved.
    async fn edit(&mut self, name: &str, path: &Path, text: &str) -> Result<(String, Vec<Bump>), CliError> {
        let at = |error: &crate::edn::Error| {
            let place = position(text, error.span.start);
            CliError::other(format!("{}:{}:{}: {error}", path.display(), place.line, place.column))
        };
        let scanned = deps::scan(text).map_err(|e| at(&e))?;
        let mut moves: HashMap<(RepoId, Sha), Sha> = HashMap::new();
        for (_, coord) in scanned.live() {
            match self.target(coord).await {
                Ok(Some((repo, from, to))) => drop(moves.insert((repo, from), to)),
                Ok(None) => {}
                Err(why) => {
                    let lib = coord.lib_text.as_deref().unwrap_or("a coordinate");
                    say(&format!("{} {} in {name}: {}", self.paint.dim("left alone:"), plain(lib), plain(&why)));
                }
            }
        }
        let update = deps::plan_update(text, name, |coord| {
            let key = (coord.repo()?, coord.full_sha()?);
            let sha = *moves.get(&key).filter(|_| coord.tag().is_none())?;
            Some(deps::Target { sha, tag: None, unique: 0 })
        });
        let update = update.map_err(|e| CliError::other(format!("{}: {e}", path.display())))?;
        let edited = update.edit.apply(text).map_err(|e| CliError::other(format!("{}: {e}", path.display())))?;
        Ok((edited, update.bumps))
    }

    /// Where a coordinate should move: its repository, from and to. None if it is there; an error says why not.
    async fn target(&mut self, coord: &Coord<'_>) -> Result<Option<(RepoId, Sha, Sha)>, String> {
        if let Some(problem) = coord.problem() {
            return Err(problem.to_string());
        }
        if !coord.is_movable() {
            return Err("it is pinned".to_owned());
        }
        if let Some(tag) = coord.tag() {
            return Err(format!("it is at the tag {tag}"));
        }
        let (Some(url), Some(from)) = (coord.repo_url(), coord.full_sha()) else { return Ok(None) };
        let repo = url.id();
        let Some(heads) = self.heads_of(&repo, &url).await? else { return Ok(None) };
        let branch = heads.head_branch.ok_or("its repository has no default branch")?;
        let to = *heads.branches.get(&branch).ok_or("its repository's default branch has no commits")?;
        if to == from {
            return Ok(None);
        }
        self.git.fetch(&url, &self.stop).await.map_err(|e| self.fail(&e))?;
        if self.git.is_ancestor(&repo, from, to).await.map_err(|e| self.fail(&e))? {
            return Ok(Some((repo, from, to)));
        }
        let with = self.git.branches_with(&repo, from).await.map_err(|e| self.fail(&e))?;
        let with: Vec<&str> = with.iter().map(|branch| branch.as_str()).collect();
        Err(match with.as_slice() {
            [] => format!("{} is on no branch of {repo}: was its history rewritten?", from.short()),
            with => format!("{} is not on {branch} but on {}", from.short(), with.join(", ")),
        })
    }

    /// None if it could not be asked before, which was told then.
    async fn heads_of(&mut self, repo: &RepoId, url: &RepoUrl) -> Result<Option<Heads>, String> {
        if let Some(heads) = self.heads.get(repo) {
            return Ok(heads.clone());
        }
        let asked = self.git.heads(url, &self.stop).await.map_err(|e| self.fail(&e));
        self.heads.insert(repo.clone(), asked.as_ref().ok().cloned());
        asked.map(Some)
    }

    fn fail(&mut self, error: &GitError) -> String {
        self.failed = true;
        error.to_string()
    }
}

/// A unified diff.
fn diff(paint: Paint, name: &str, old: &str, new: &str) -> String {
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
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|e| e.error)?;
    Ok(())
}
