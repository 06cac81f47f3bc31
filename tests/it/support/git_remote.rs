//! A git host in a folder, and a person with a clone of it, both by the real git.

use std::path::{Path, PathBuf};
use std::process::Command;

use airplanes::git::{GitConfig, Mirrors};
use airplanes::model::{RepoUrl, Sha};
use tempfile::TempDir;

/// Runs git in `dir` and gives what it prints. No configuration of this machine plays a part.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let output = command(dir, args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?} in {}: {error}", dir.display());
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Git in `dir`, to be run: fixed names and times, no configuration of this machine.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Anna")
        .env("GIT_AUTHOR_EMAIL", "anna@example.com")
        .env("GIT_COMMITTER_NAME", "Anna")
        .env("GIT_COMMITTER_EMAIL", "anna@example.com")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000");
    command
}

/// A scene: a folder with bare repositories, the daemon's state, and room for clones.
pub struct Scene {
    pub dir: TempDir,
}

/// A bare repository and a person's clone of it, on `main`.
pub struct Repo {
    pub bare: PathBuf,
    pub person: PathBuf,
}

impl Scene {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    /// The daemon's configuration, with time-outs fit for tests.
    pub fn config(&self) -> GitConfig {
        let mut config = GitConfig::new(self.path("state"));
        config.connect_timeout = std::time::Duration::from_secs(5);
        config.silence = std::time::Duration::from_secs(20);
        config.deadline = std::time::Duration::from_secs(60);
        config.known_hosts = Some(self.path("known_hosts"));
        config
    }
    pub fn mirrors(&self) -> Mirrors {
        Mirrors::new(self.config()).unwrap()
    }
    /// A bare repository `NAME.git` with one commit on `main` that holds a deps.edn.
    pub fn repo(&self, name: &str) -> Repo {
        let bare = self.path(&format!("{name}.git"));
        let person = self.path(&format!("{}-anna", name.replace('/', "-")));
        std::fs::create_dir_all(&bare).unwrap();
        git(&bare, &["init", "-q", "--bare", "-b", "main"]);
        git(self.dir.path(), &["clone", "-q", bare.to_str().unwrap(), person.to_str().unwrap()]);
        let repo = Repo { bare, person };
        git(&repo.person, &["checkout", "-q", "-B", "main"]);
        repo.pushes("deps.edn", "{:deps {}}\n");
        repo
    }
}

impl Repo {
    /// Its url as a file.
    pub fn url(&self) -> RepoUrl {
        RepoUrl::new(format!("file://{}", self.bare.display())).unwrap()
    }
    /// The person writes a file and commits it.
    pub fn commits(&self, path: &str, text: &str) -> Sha {
        let file = self.person.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
        git(&self.person, &["add", "-A"]);
        git(&self.person, &["commit", "-q", "-m", &format!("write {path}")]);
        git(&self.person, &["rev-parse", "HEAD"]).parse().unwrap()
    }
    /// The person writes a file, commits and pushes it.
    pub fn pushes(&self, path: &str, text: &str) -> Sha {
        let sha = self.commits(path, text);
        git(&self.person, &["push", "-q", "origin", "HEAD"]);
        sha
    }
    /// The bare repository gets `count` commits in a row on top of `main`, on no branch that a fetch sees.
    pub fn gets_commits(&self, count: usize) -> Vec<Sha> {
        let mut stream = String::from("reset refs/aside\nfrom refs/heads/main\n\n");
        for i in 1..=count {
            stream += &format!("commit refs/aside\nmark :{i}\ncommitter A <a@b.c> 170000{i:04} +0000\ndata 1\nx");
            stream += &format!("\nM 100644 inline n\ndata 4\n{i:04}\n\n");
        }
        let file = self.person.with_extension("stream");
        std::fs::write(&file, stream).unwrap();
        let mut import = command(&self.bare, &["fast-import", "--quiet"]);
        assert!(import.stdin(std::fs::File::open(file).unwrap()).status().unwrap().success());
        let listed = git(&self.bare, &["rev-list", "--reverse", "main..refs/aside"]);
        git(&self.bare, &["update-ref", "-d", "refs/aside"]);
        listed.lines().map(|line| line.parse().unwrap()).collect()
    }
    /// What a ref of the bare repository is now.
    pub fn at(&self, rev: &str) -> String {
        git(&self.bare, &["rev-parse", rev])
    }
    /// A hook of the bare repository.
    pub fn hook(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.bare.join("hooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}
