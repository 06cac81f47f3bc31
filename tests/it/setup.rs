//! The first day: `init`, `keys` and `host trust`, by the real binary with real ssh-keygen, ssh-keyscan, sshd and ssh.

mod access;
mod init;
mod keys;
mod trust;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::world::{folder, git};

/// A folder with checkouts in it, and room for what is written.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { dir: folder() }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    /// A checkout with an origin and files.
    fn checkout(&self, name: &str, origin: &str, files: &[(&str, &str)]) -> String {
        let folder = self.path("src").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        git(&folder, &["init", "-q"]);
        git(&folder, &["remote", "add", "origin", origin]);
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        folder.display().to_string()
    }
    /// Writes a file of the configuration.
    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path("etc")).unwrap();
        std::fs::write(self.path("etc").join(name), text).unwrap();
    }
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("etc").join(name)).unwrap_or_default()
    }
    fn config(&self) -> String {
        self.path("etc/config.edn").display().to_string()
    }
    /// The binary on this desk's configuration, with nobody at a terminal.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_airplanes"));
        for name in ["AIRPLANES_URL", "AIRPLANES_TOKEN", "RUST_LOG", "NO_COLOR", "CREDENTIALS_DIRECTORY"] {
            command.env_remove(name);
        }
        command.args(args).env("AIRPLANES_CONFIG", self.config()).stdin(Stdio::null());
        command
    }
    fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }
    /// Every file under the folder, with its content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("etc")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => found.push((path.clone(), std::fs::read(path).unwrap())),
                }
            }
        }
        found.sort();
        found
    }
}

/// What a command said.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
    fn done(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
