//! What builds need: their tools in the PATH that they get, and their git dependencies, fetched as their own git would:
//! with the mirrors and the configuration of a build, by the runner that runs builds, in a folder like a job's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use super::{CHECK, DEPENDENCIES, FETCH, Patient, too_slow, web};
use crate::bumps::{Asking, File, Preflight, Tree, Wanted};
use crate::deps;
use crate::git::{GitConfig, GitError, Right};
use crate::model::{App, Branch, BuildStep, Check, EventId, JobId, Lib, RepoUrl, Sha, Track};
use crate::pipeline::TRIALS;
use crate::process::{LogFile, Masker};
use crate::runner::{Build, BuildOutcome};

/// For each line of `tools`: the name, and where it is if it is there. Then whether the home can be written.
const LOOK: &str = r#"while IFS= read -r tool; do printf '%s %s\n' "$tool" "$(command -v "$tool")"; done <tools >found
if [ -w "$HOME" ]; then echo "home $HOME"; fi >home"#;
/// For each line `URL REV` of `wanted`: what tools.gitlibs does, a mirror clone and a look for the commit. `N.ok` or
/// git's words in `N.said`.
const CLONE: &str = r#"n=0
while read -r url rev; do
  n=$((n + 1))
  { git clone --quiet --mirror -- "$url" "$n.git" && git --git-dir "$n.git" rev-parse --quiet --verify "$rev^{commit}"; } \
    >"$n.said" 2>&1 && : >"$n.ok"
  rm -rf "$n.git"
done <wanted"#;

/// An app's build.
pub(super) fn of_app(patient: &Arc<Patient>, app: &App, index: usize) -> BoxFuture<'static, Vec<Check>> {
    let (patient, app) = (patient.clone(), app.clone());
    Box::pin(async move {
        if app.build.is_empty() && !app.update {
            return Vec::new();
        }
        let group = format!("app {}", app.name);
        match tokio::time::timeout(DEPENDENCIES, look(&patient, &group, &app, index)).await {
            Ok(checks) => checks,
            Err(_) => vec![too_slow(group, "build", DEPENDENCIES)],
        }
    })
}

async fn look(patient: &Arc<Patient>, group: &str, app: &App, index: usize) -> Vec<Check> {
    let folder = tempfile::Builder::new().prefix(TRIALS).tempdir_in(&patient.work);
    let folder = match folder {
        Ok(folder) => folder,
        Err(error) => {
            let said = format!("{} can't be written: {error}", patient.work.display());
            return vec![Check::failed(group, "build", said, format!("ls -ld {}", patient.work.display()))];
        }
    };
    let trial = Trial { patient, app, job: job(index), folder: folder.path() };
    let (mut checks, closure) = dependencies(patient, group, app).await;
    let needs_git = closure.as_ref().is_some_and(|(closure, _)| !closure.wanted.is_empty());
    if !app.build.is_empty() {
        checks.extend(trial.tools(group, needs_git).await);
        if let Some((closure, head)) = closure.filter(|_| needs_git) {
            checks.push(trial.fetch(group, &closure, head).await);
        }
    }
    checks
}

/// The app's git dependencies, in mirrors, and the commit that names them; with a check for each library. No closure
/// where the app's own repository can't be read, which its own checks tell.
async fn dependencies(patient: &Arc<Patient>, group: &str, app: &App) -> (Vec<Check>, Option<(Preflight, Sha)>) {
    let (git, stop, name) = (&patient.git, &patient.stop, "dependencies");
    if git.ask(&app.git_url, Right::Read, stop).await.is_err() {
        return (vec![Check::skipped(group, name, "not known: the app's repository can't be read")], None);
    }
    // It answers, so a first fetch may take its time.
    let patiently = git.reconfigured(GitConfig { deadline: FETCH, ..git.config().clone() });
    let fetched = match patiently.fetch(&app.git_url, stop).await {
        Ok(fetched) => fetched,
        Err(GitError::TimedOut { .. }) => return (vec![late(group, name, &app.git_url, FETCH)], None),
        Err(error) => {
            let mend = super::repositories::mend(patient, &error, &format!(":git-url of {}", app.name));
            return (vec![Check::failed(group, name, error.to_string(), mend)], None);
        }
    };
    let branch = app.branch.as_ref().or(fetched.heads.head_branch.as_ref());
    let Some(head) = branch.and_then(|branch| fetched.heads.branches.get(branch)).copied() else {
        return (vec![Check::skipped(group, name, "not known: the app's branch is not there")], None);
    };
    let mut checks = Vec::new();
    let tree = Tree::Commit { git, repo: &app.repo(), sha: head };
    let mend = |file: &str| format!("correct {file} of {} and push it", app.git_url);
    let counting = tree.files(&app.updates).await.unwrap_or_else(|error| {
        checks.push(Check::failed(group, name, error.to_string(), mend("the file")));
        Vec::new()
    });
    for file in &counting {
        let path = &file.path;
        if let Err(error) = deps::scan(&file.text) {
            let place = crate::edn::position(&file.text, error.span.start);
            let said = format!("{path}:{}:{} at {}: {error}", place.line, place.column, head.short());
            checks.push(Check::failed(group, name, said, mend(path)));
        }
    }
    checks.extend(tracked(patient, group, app, &counting).await);
    let asking = Asking { git, url_of: &|repo| patient.url_of(repo), stop };
    let closure = match asking.preflight(&counting, (&app.repo(), head)).await {
        Ok(closure) => closure,
        Err(error) => return (vec![Check::skipped(group, name, error.to_string())], None),
    };
    for wanted in &closure.wanted {
        let repo = wanted.url.id();
        // An app's own repository has its checks.
        if patient.url_of(&repo).is_some() || !patient.first_to_ask(&repo) {
            continue;
        }
        checks.extend(library(patient, &wanted.url).await);
    }
    // One that answers has only much to give.
    let given_up = closure.left.iter().filter(|(_, error)| matches!(error, GitError::TimedOut { .. }));
    let answers = given_up.map(async |(url, _)| git.ask(url, Right::Read, stop).await.ok().map(|_| url));
    checks.extend(join_all(answers).await.into_iter().flatten().map(|url| late(group, name, url, CHECK)));
    (checks, Some((closure, head)))
}

/// What `:track` of the app names: libraries that its files have, and branches that are there.
async fn tracked(patient: &Patient, group: &str, app: &App, files: &[File]) -> Vec<Check> {
    let mut urls: BTreeMap<Lib, RepoUrl> = BTreeMap::new();
    for scanned in files.iter().filter_map(|file| deps::scan(&file.text).ok()) {
        let coords = scanned.live().filter_map(|(_, coord)| Some((coord.lib.clone()?, coord.repo_url()?)));
        urls.extend(coords);
    }
    let check = async |(lib, track): (&Lib, &Track)| {
        let Some(url) = urls.get(lib) else {
            let known: Vec<&str> = urls.keys().map(Lib::as_str).take(10).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let said =
                format!(":track names {lib}, which no deps file of {} has from git; they have {known}", app.name);
            return Some(Check::warning(
                group,
                "track",
                said,
                format!("correct or delete it in :track of {}", app.name),
            ));
        };
        let Track::Branch(branch) = track else { return None };
        let url = patient.url_of(&url.id()).unwrap_or_else(|| url.clone());
        // That it can't be asked is told of the library.
        let heads = patient.git.ask(&url, Right::Read, &patient.stop).await.ok()?;
        if heads.branches.contains_key(branch) {
            return None;
        }
        let names: Vec<&str> = heads.branches.keys().take(10).map(Branch::as_str).collect();
        let said =
            format!("{} has no branch {branch}, which :track names for {lib}; it has {}", url.id(), names.join(", "));
        Some(Check::failed(
            group,
            "track",
            said,
            format!("correct or delete it in :track of {} in deploy.edn", app.name),
        ))
    };
    join_all(app.updates.track.iter().map(check)).await.into_iter().flatten().collect()
}

/// A library that is no app's repository: it has to be readable, and its pushes to be heard of.
async fn library(patient: &Patient, url: &RepoUrl) -> Vec<Check> {
    let group = format!("git {}", url.id());
    let read = match patient.git.ask(url, Right::Read, &patient.stop).await {
        Ok(heads) => Check::ok(&group, "fetch", format!("{url} can be read, {} branches", heads.branches.len())),
        Err(error) => {
            let mend = super::repositories::mend(patient, &error, "its url in deps.edn");
            Check::failed(&group, "fetch", error.to_string(), mend)
        }
    };
    let seen = web::seen(patient, url).await;
    [Some(read), seen].into_iter().flatten().collect()
}

fn late(group: &str, name: &str, url: &RepoUrl, limit: Duration) -> Check {
    let said = format!("{url} answers, but its first fetch takes longer than {} s", limit.as_secs());
    Check::warning(group, name, said, "run this again: what was fetched by a job or by this is kept")
}

/// A build's surroundings, to try things in.
struct Trial<'a> {
    patient: &'a Patient,
    app: &'a App,
    job: JobId,
    folder: &'a Path,
}

impl Trial<'_> {
    /// Runs a script of ours as a build of the app, in the trial's folder. What it writes to its log is dropped.
    async fn run(&self, script: &str, sha: Sha, mirrors: &[PathBuf]) -> Result<(), String> {
        let (dir, tmp) = (self.folder.join("clone"), self.folder.join("tmp"));
        std::fs::create_dir_all(&tmp).map_err(|error| format!("{} can't be made: {error}", tmp.display()))?;
        let step = BuildStep { name: None, run: script.to_owned() };
        let git_config = self.folder.join("gitconfig");
        let reads = [mirrors, std::slice::from_ref(&git_config)].concat();
        let build = Build {
            job: self.job,
            app: &self.app.name,
            sha,
            step: &step,
            dir: &dir,
            directory: None,
            tmp: &tmp,
            reads: &reads,
            git_config: git_config.exists().then_some(git_config.as_path()),
            total: FETCH,
            silence: FETCH,
        };
        let log = LogFile::open(self.folder.join("log"), Masker::new(&self.patient.secrets)).await;
        let mut log = log.map_err(|error| error.to_string())?;
        match self.patient.runner.run(build, &mut log, &self.patient.stop).await {
            Ok(BuildOutcome::Done) => Ok(()),
            Ok(other) => {
                let text = std::fs::read_to_string(log.path()).unwrap_or_default();
                Err(format!("{other}: {}", text.lines().last().unwrap_or_default()))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn put(&self, file: &str, lines: &str) -> Result<(), String> {
        let dir = self.folder.join("clone");
        let put = || std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(dir.join(file), lines));
        put().map_err(|error| format!("{} can't be written: {error}", dir.display()))
    }
    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.join("clone").join(file)).ok()
    }

    /// Whether the first words of the build's commands are there, and what these need in turn.
    async fn tools(&self, group: &str, needs_git: bool) -> Vec<Check> {
        let mut tools: Vec<String> = self.app.build.iter().flat_map(|step| first_words(&step.run)).collect();
        let clojure = tools.iter().any(|tool| matches!(tool.as_str(), "clojure" | "clj" | "lein" | "mvn" | "boot"));
        tools.extend(clojure.then(|| "java".to_owned()));
        tools.extend((needs_git || clojure).then(|| "git".to_owned()));
        let mut once = std::collections::BTreeSet::new();
        tools.retain(|tool| once.insert(tool.clone()));
        let ran = match self.put("tools", &(tools.join("\n") + "\n")) {
            Ok(()) => self.run(LOOK, Sha::from_bytes([0; 20]), &[]).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ran {
            return vec![Check::failed(group, "tools", error, "journalctl -u airplanes -n 50")];
        }
        let found = self.read("found").unwrap_or_default();
        let missing: Vec<&str> = found
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, at)| at.is_empty())
            .map(|(tool, _)| tool)
            .collect();
        let mut checks = Vec::new();
        if missing.is_empty() && !tools.is_empty() {
            let shown: Vec<&str> = found.lines().filter_map(|line| line.split(' ').next()).collect();
            checks.push(Check::ok(group, "tools", format!("{} are there for builds", shown.join(", "))));
        } else if tools.is_empty() {
            checks.push(Check::skipped(group, "tools", "what the build's commands need can't be told from their text"));
        }
        for tool in missing {
            let said = format!("the build needs {tool}, which is not in the PATH that builds get");
            checks.push(Check::failed(group, "tools", said, install(tool)));
        }
        if self.read("home").unwrap_or_default().is_empty() {
            let said = format!(
                "{}'s home can't be written by a build, so ~/.m2 and ~/.gitlibs can't be kept",
                self.patient.user
            );
            checks.push(Check::warning(
                group,
                "home",
                said,
                "give the daemon's user a home of its own, or set HOME in its unit",
            ));
        }
        checks
    }

    /// Fetches the dependencies as the build's own git will.
    async fn fetch(&self, group: &str, closure: &Preflight, head: Sha) -> Check {
        let name = "dependencies";
        // Nobody answers there: the build's git would wait for it too.
        let silent = |wanted: &Wanted| {
            closure.left.iter().any(|(url, error)| {
                url.id() == wanted.url.id() && matches!(error, GitError::TimedOut { .. } | GitError::Network { .. })
            })
        };
        let (deaf, asked): (Vec<&Wanted>, Vec<&Wanted>) = closure.wanted.iter().partition(|wanted| silent(wanted));
        let lines: String = asked.iter().map(|wanted| format!("{} {}\n", wanted.url, wanted.rev)).collect();
        let ready = self.put("wanted", &lines).and_then(|()| {
            std::fs::write(self.folder.join("gitconfig"), closure.git_config(&self.patient.git))
                .map_err(|error| error.to_string())
        });
        let ran = match ready {
            Ok(()) if asked.is_empty() => Ok(()),
            Ok(()) => self.run(CLONE, head, &closure.mirrors(&self.patient.git)).await,
            Err(error) => Err(error),
        };
        let mut faults: Vec<String> = Vec::new();
        for (n, wanted) in asked.iter().enumerate() {
            if self.read(&format!("{}.ok", n + 1)).is_some() {
                continue;
            }
            let said = self.read(&format!("{}.said", n + 1)).unwrap_or_default();
            let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let said = match (lines.as_slice(), &ran) {
                ([], Err(error)) => error.clone(),
                ([], Ok(())) => format!("it has no {}", wanted.rev),
                (lines, _) => lines[lines.len().saturating_sub(3)..].join(" | "),
            };
            faults.push(format!("{}: {said}", wanted.url));
        }
        for wanted in deaf {
            let why = closure.left.iter().find(|(url, _)| url.id() == wanted.url.id());
            faults.push(why.map_or_else(|| wanted.url.to_string(), |(_, error)| error.to_string()));
        }
        if faults.is_empty() {
            let (count, head) = (closure.wanted.len(), head.short());
            let said = format!("{count} git dependencies at {head} can be fetched by a build");
            return Check::ok(group, name, said);
        }
        let left = closure.left.first();
        let mend = match left {
            Some((_, error)) => super::repositories::mend(self.patient, error, "its url in deps.edn"),
            None => format!("correct the sha or tag in deps.edn of {}, or push the commit it names", self.app.name),
        };
        Check::failed(group, name, format!("a build can't fetch {}", faults.join("; ")), mend)
    }
}

/// An id for the runner's records that no job has: ids of jobs begin with the time, and this one in 1970.
fn job(index: usize) -> JobId {
    let mut bytes = [0; 4];
    // Without randomness two examinations at once would share a record, and no more.
    let _ = getrandom::fill(&mut bytes);
    JobId { event: EventId(u32::from_le_bytes(bytes).into()), index: u16::try_from(index).unwrap_or(u16::MAX) }
}

/// The commands that a shell text begins with, as far as they can be told: the first word after each `;`, `&`, `|` and
/// line end that is a plain name. A path in the repository is there once it is cloned, and needs no look.
fn first_words(text: &str) -> Vec<String> {
    // What follows a here-document's mark is no command.
    let outside = quoted_out(text.split("<<").next().unwrap_or_default());
    // After a closing parenthesis there are arguments, or an end.
    let outside = outside.replace(')', ";\u{fffd}");
    let segments = outside.split([';', '&', '|', '\n', '(', '{', '}']);
    segments.filter_map(first_word).filter(|word| !BUILT_IN.contains(&word.as_str())).collect()
}

/// Words after which a command follows.
const LEADING: [&str; 10] = ["!", "if", "then", "else", "elif", "while", "until", "do", "exec", "time"];
/// What sh has itself.
const BUILT_IN: [&str; 35] = [
    "fi", "done", "esac", "case", "for", "in", "function", "set", "export", "cd", "echo", "true", "false", "exit",
    "test", "umask", "ulimit", "trap", "wait", "read", "eval", "unset", "local", "return", "shift", "printf", "if",
    "then", "else", "elif", "while", "until", "do", "exec", "time",
];

fn first_word(segment: &str) -> Option<String> {
    let plain = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.+".contains(c))
    };
    let is_assignment = |word: &str| word.split_once('=').is_some_and(|(name, _)| plain(name));
    let mut words = segment.split_ascii_whitespace();
    let word = words.find(|word| !is_assignment(word) && !LEADING.contains(word))?;
    plain(word).then(|| word.to_owned())
}

/// The text with what is in quotes taken out.
fn quoted_out(text: &str) -> String {
    let (mut out, mut quote) = (String::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                out.push('\u{fffd}');
            }
            (None | Some('"'), '\\') => drop(chars.next()),
            (None, '#') if out.ends_with(|c: char| c.is_whitespace()) || out.is_empty() => {
                for c in chars.by_ref() {
                    if c == '\n' {
                        out.push(c);
                        break;
                    }
                }
            }
            (None, c) => out.push(c),
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
        }
    }
    out
}

/// How a tool is installed.
fn install(tool: &str) -> String {
    match tool {
        "java" | "javac" => "apt-get install default-jdk-headless".to_owned(),
        "clojure" | "clj" => "https://clojure.org/guides/install_clojure   (into /usr/local/bin)".to_owned(),
        "bb" => "https://github.com/babashka/babashka#installation   (into /usr/local/bin)".to_owned(),
        "lein" => "apt-get install leiningen".to_owned(),
        "npm" | "npx" | "node" => "apt-get install nodejs npm".to_owned(),
        "mvn" => "apt-get install maven".to_owned(),
        other => format!("apt-get install {other}   (or put it into /usr/local/bin)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_build_are_its_first_words() {
        let of = |text: &str| first_words(text).join(" ");
        assert_eq!(of("clojure -T:build uber"), "clojure");
        assert_eq!(of("npm ci && npx shadow-cljs release app && clojure -T:build uber"), "npm npx clojure");
        assert_eq!(of("JAVA_OPTS='-Xmx1g; rm' A=b lein uberjar | tee log"), "lein tee");
        assert_eq!(of("set -e\ncd web # make it\nmake all"), "make");
        assert_eq!(of("./build.sh; \"$TOOL\" x; $(which x) y"), "which");
        assert_eq!(of("if ! bb test; then exit 1; fi"), "bb");
        assert_eq!(of("echo 'a; b | c' >x"), "");
        assert_eq!(of("while [ ! -e /x ]; do sleep 0.05; done"), "sleep");
    }
}
