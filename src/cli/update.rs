//! `update`: the bump, in a checkout that lies here. It asks the remotes as the user's own git would (agent, ~/.ssh),
//! edits the bytes of shas and nothing else, and commits nothing.

use std::collections::{BTreeMap, HashMap};
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
use crate::bumps::{Asking, BumpsError, Rules, Tree, Why};
use crate::config;
use crate::files;
use crate::git::{GitConfig, Mirrors};
use crate::model::Updates;
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
    let in_folder = |error: BumpsError| match error {
        BumpsError::File(words) => CliError::other(format!("{}/{words}", args.folder.display())),
        error => CliError::other(error.to_string()),
    };
    let sources = Tree::Folder(&args.folder).files(&Updates::default()).await.map_err(in_folder)?;
    if sources.is_empty() {
        if !args.folder.is_dir() {
            let message = format!("{} is not a folder", args.folder.display());
            return Err(CliError::usage(message, "name the checkout's folder: airplanes update DIR"));
        }
        let message = format!("there is no deps.edn and no bb.edn in {}", args.folder.display());
        return Err(CliError::usage(message, "name the checkout's folder: airplanes update DIR"));
    }
    let remotes = Remotes::new(globals)?;
    let asking = Asking { git: &remotes.git, url_of: &|_| None, stop: &CancellationToken::new() };
    let rules = Rules {
        wants: &HashMap::new(),
        all: true,
        track: &BTreeMap::new(),
        held: &|_| None,
        own: None,
        lives_on: &|_| Vec::new(),
    };
    let due = asking.due(&sources, &rules).await.map_err(in_folder)?;
    let paint = Paint::stderr(globals.color);
    for kept in &due.kept {
        say(&format!("{} {}", paint.dim("left alone:"), plain(&kept.to_string())));
    }
    for file in &due.files {
        let old = sources.iter().find(|source| source.path == file.path).map_or("", |source| &source.text);
        print(&diff(Paint::stdout(globals.color), &file.path, old, &file.text))?;
    }
    for file in due.files.iter().filter(|_| !args.dry_run) {
        let path = args.folder.join(&file.path);
        replace(&path, &file.text).map_err(|e| CliError::io(&format!("{} can't be written", path.display()), &e))?;
    }
    due.bumps.iter().for_each(|bump| say(&bump_line(bump)));
    let failed = due.kept.iter().any(|kept| matches!(kept.why, Why::Unreachable(_)));
    say(&match (due.bumps.len(), args.dry_run) {
        (0, _) if failed => "nothing was bumped, and not every repository could be asked".to_owned(),
        (0, _) => "up to date".to_owned(),
        (n, true) => format!("{n} would be bumped; nothing was written"),
        (n, false) => format!("{n} bumped"),
    });
    Ok(if failed { Exit::Error } else { Exit::Done })
}

/// Mirrors for as long as the command runs.
struct Remotes {
    git: Mirrors,
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
        Ok(Self { git, _folder: folder })
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
    let mut file = tempfile::NamedTempFile::new_in(files::folder_of(&path))?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
    let (file, part) = file.into_parts();
    files::put(&file, &part, &path)
}
