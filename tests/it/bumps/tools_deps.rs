//! The real tools.deps, in one JVM, and what we say to the same files: random graphs of repositories with branches,
//! tags, roots, exclusions and local roots, and each of its refusals. `scripts/tools-deps` runs it; elsewhere it is
//! skipped, in words.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use airplanes::bumps::{Asking, File, Preflight};
use airplanes::model::{RepoUrl, Sha};
use git2::{Oid, Repository, Signature, Time};
use tokio_util::sync::CancellationToken;

use super::Ask;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % n as u64).unwrap()
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A library's repository, with the commits that it has.
struct Lib {
    name: String,
    path: PathBuf,
    repo: Repository,
    commits: Vec<Oid>,
}

impl Lib {
    fn new(folder: &Path, name: String) -> Self {
        let path = folder.join(format!("{name}.git"));
        let repo = Repository::init_bare(&path).unwrap();
        repo.set_head("refs/heads/main").unwrap();
        Self { name, path, repo, commits: Vec::new() }
    }
    /// A commit with these files, on one that is there, under a branch and a tag of its own.
    fn commits(&mut self, root: &str, module: &str, parent: Option<Oid>) {
        let blob = |text: &str| self.repo.blob(text.as_bytes()).unwrap();
        let mut inner = self.repo.treebuilder(None).unwrap();
        inner.insert("deps.edn", blob(module), 0o100_644).unwrap();
        let mut tree = self.repo.treebuilder(None).unwrap();
        tree.insert("deps.edn", blob(root), 0o100_644).unwrap();
        tree.insert("number", blob(&self.commits.len().to_string()), 0o100_644).unwrap();
        tree.insert("mod", inner.write().unwrap(), 0o040_000).unwrap();
        let tree = self.repo.find_tree(tree.write().unwrap()).unwrap();
        let anna = Signature::new("Anna", "anna@example.com", &Time::new(1_700_000_000, 0)).unwrap();
        let parent = parent.map(|id| self.repo.find_commit(id).unwrap());
        let parents: Vec<_> = parent.iter().collect();
        let made = self.repo.commit(None, &anna, &anna, "x", &tree, &parents).unwrap();
        let number = self.commits.len();
        for name in [format!("refs/heads/b{number}"), format!("refs/tags/v{number}"), "refs/heads/main".to_owned()] {
            self.repo.reference(&name, made, true, "").unwrap();
        }
        self.commits.push(made);
    }
}

/// Some coordinates of libraries, as the content of a map.
fn some(dice: &mut Dice, libs: &[Lib], own: Option<usize>, most: usize) -> String {
    let mut text = String::new();
    let mut named = vec![own.unwrap_or(usize::MAX)];
    for _ in 0..dice.below(most + 1) {
        let at = dice.below(libs.len());
        if named.contains(&at) || libs[at].commits.is_empty() {
            continue;
        }
        named.push(at);
        let lib = &libs[at];
        let number = dice.below(lib.commits.len());
        let sha = lib.commits[number].to_string();
        let sha =
            if dice.one_in(5) { format!("\"{}\" :git/tag \"v{number}\"", &sha[..12]) } else { format!("\"{sha}\"") };
        let group = if dice.one_in(8) { "other" } else { "acme" };
        let url = lib.path.display();
        text += &format!("{group}/{} {{:git/url \"file://{url}\" :git/sha {sha}", lib.name);
        if dice.one_in(5) {
            text += " :deps/root \"mod\"";
        }
        if dice.one_in(5) {
            text += &format!(" :exclusions [acme/{}]", libs[dice.below(libs.len())].name);
        }
        text += "}\n ";
    }
    text
}

/// A graph in a folder; gives its top deps.edn.
fn graph(folder: &Path, seed: u64) -> PathBuf {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let count = 3 + dice.below(6);
    let mut libs: Vec<Lib> = (0..count).map(|n| Lib::new(folder, format!("l{n}"))).collect();
    for step in 0..count * 4 {
        let at = if step < count { step } else { dice.below(count) };
        let known = &libs[at].commits;
        let parent = match known.len() {
            0 => None,
            n if dice.one_in(2) => Some(known[dice.below(n)]),
            n => Some(known[n - 1]),
        };
        let inner = some(&mut dice, &libs, Some(at), 2);
        let local = if dice.one_in(6) { format!("acme/m{at} {{:local/root \"mod\"}}") } else { String::new() };
        let root = format!("{{:deps {{{}{local}}}}}", some(&mut dice, &libs, Some(at), 3));
        libs[at].commits(&root, &format!("{{:deps {{{inner}}}}}"), parent);
    }
    let top = folder.join("deps.edn");
    std::fs::write(&top, format!("{{:deps {{{}}}}}", some(&mut dice, &libs, None, 5))).unwrap();
    top
}

/// What tools.deps says to each file.
fn they_say(jars: &Path, folder: &Path, files: &[PathBuf]) -> Vec<String> {
    let mut class_path: Vec<PathBuf> = std::fs::read_dir(jars).unwrap().map(|entry| entry.unwrap().path()).collect();
    class_path.retain(|path| path.extension().is_some_and(|ending| ending == "jar"));
    std::fs::create_dir_all(folder.join("empty")).unwrap();
    std::fs::write(folder.join("empty/deps.edn"), "{}").unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tools_deps.clj");
    let mut java = Command::new("java")
        .arg("-cp")
        .arg(std::env::join_paths(class_path).unwrap())
        .arg("clojure.main")
        .arg(script)
        .env("GITLIBS", folder.join("gitlibs"))
        .env("EMPTY", folder.join("empty"))
        .stderr(Stdio::null())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = java.stdin.take().unwrap();
    for file in files {
        writeln!(asked, "{}", file.display()).unwrap();
    }
    drop(asked);
    let output = java.wait_with_output().unwrap();
    let said: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(said.len(), files.len(), "{said:?}");
    said
}

async fn we_say(ask: &Ask, file: &Path) -> Preflight {
    let app = RepoUrl::new("file:///nowhere/app").unwrap().id();
    let stop = CancellationToken::new();
    let asking = Asking { git: &ask.mirrors, url_of: &|_| None, stop: &stop };
    let file = File { path: "deps.edn".to_owned(), text: std::fs::read_to_string(file).unwrap() };
    let base: Sha = "0123456789012345678901234567890123456789".parse().unwrap();
    asking.preflight(&[file], (&app, base)).await.unwrap()
}

/// Where tools.deps' jars are; none if nobody asked for this.
fn jars() -> Option<PathBuf> {
    let jars = std::env::var_os("AIRPLANES_TOOLS_DEPS").map(PathBuf::from);
    if jars.is_none() {
        eprintln!("skipped: the real tools.deps is asked by scripts/tools-deps");
    }
    jars
}

#[tokio::test]
async fn tools_deps_itself_agrees_on_random_graphs() {
    let Some(jars) = jars() else { return };
    let count = std::env::var("AIRPLANES_TOOLS_DEPS_GRAPHS").map_or(300, |count| count.parse().unwrap());
    let ask = Ask::new();
    let make = |seed: u64| {
        let folder = ask.scene.path(&format!("g{seed}"));
        std::fs::create_dir(&folder).unwrap();
        graph(&folder, seed)
    };
    let files: Vec<PathBuf> = (1..=count).map(make).collect();
    let said = they_say(&jars, ask.scene.dir.path(), &files);
    let (mut agreed, mut refused, mut wrong) = (0, 0, Vec::new());
    for (file, theirs) in files.iter().zip(said) {
        let found = we_say(&ask, file).await;
        let ours = match found.faults.first() {
            Some(_) => "refused".to_owned(),
            None => found.libs.iter().fold("ok".to_owned(), |text, l| format!("{text} {}={}", l.lib, l.place.sha)),
        };
        let same = if ours == "refused" { theirs.starts_with("refused") } else { ours == theirs };
        match same {
            true if ours == "refused" => refused += 1,
            true => agreed += 1,
            false => wrong.push(format!("{}\n  ours   {ours} {:?}\n  theirs {theirs}", file.display(), found.faults)),
        }
    }
    eprintln!("{agreed} graphs resolved alike, {refused} refused by both, {} otherwise", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(agreed * 3 > count && refused > 0, "graphs that tell something: {agreed} {refused}");
}

#[tokio::test]
async fn tools_deps_itself_refuses_in_these_words() {
    let Some(jars) = jars() else { return };
    let ask = Ask::new();
    let lib = ask.scene.repo("lib");
    let one = lib.pushes("a", "1");
    crate::support::git_remote::git(&lib.person, &["push", "-q", "origin", "HEAD:refs/tags/v1"]);
    let two = lib.pushes("a", "2");
    let coords = [
        format!(":git/sha \"{}\"", one.short()),
        format!(":git/sha \"{two}\" :git/tag \"v1\""),
        format!(":git/sha \"{one}\" :git/tag \"v9\""),
        format!(":git/sha \"{two}\" :git/tag \"main\""),
        format!(":git/sha \"{one}\" :sha \"{one}\""),
        ":git/tag \"v1\"".to_owned(),
        format!(":git/sha \"{}\"", "f".repeat(40)),
        format!(":git/sha \"{one}\" :deps/root \"no\""),
    ];
    let write = |(n, coord): (usize, &String)| {
        let file = ask.scene.path(&format!("case-{n}.edn"));
        std::fs::write(&file, format!("{{:deps {{acme/lib {{:git/url \"{}\" {coord}}}}}}}", lib.url())).unwrap();
        file
    };
    let files: Vec<PathBuf> = coords.iter().enumerate().map(write).collect();
    for (file, theirs) in files.iter().zip(they_say(&jars, ask.scene.dir.path(), &files)) {
        let found = we_say(&ask, file).await;
        let theirs = theirs.strip_prefix("refused ").unwrap_or_else(|| panic!("{theirs}"));
        // Theirs ends with the coordinate itself there.
        let theirs = theirs.split(" in coordinate").next().unwrap();
        // The newer one names the digits, as we do.
        let ours = found.faults[0].words.replace(&format!("prefix sha {},", one.short()), "prefix sha,");
        assert!(ours.starts_with(theirs), "ours {ours} theirs {theirs}");
    }
}
