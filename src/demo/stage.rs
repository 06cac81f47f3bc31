//! The stage: a temporary folder with a git server, two repositories, two hosts where the app already runs, and the
//! daemon's configuration. All of it goes when the value is dropped.

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

use super::command;
use super::error::DemoError;
use super::sshd::{Sshd, SshdOptions};
use crate::model::{RepoUrl, Sha};

/// The branch of both repositories.
pub(super) const BRANCH: &str = "main";
/// Where the git server listens; the hosts are on the addresses after it.
const GIT_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The hosts, by name and address.
const HOSTS: [(&str, Ipv4Addr); 2] = [("web-1", Ipv4Addr::new(127, 0, 0, 3)), ("web-2", Ipv4Addr::new(127, 0, 0, 4))];
/// What the library says at first.
const FIRST_GREETING: &str = "Good morning!";
/// How long the app may take to listen.
const START: Duration = Duration::from_secs(10);

/// A server that the app runs on.
pub(super) struct DemoHost {
    pub name: &'static str,
    pub address: Ipv4Addr,
    /// The app's clone on it.
    pub clone: PathBuf,
    sshd: Sshd,
}

/// Everything but the daemon. What must go first stands first: a folder can't be removed under a running server.
pub(super) struct Stage {
    pub hosts: Vec<DemoHost>,
    git_server: Sshd,
    /// The library's url.
    pub greeting: RepoUrl,
    /// The app's url.
    pub hello: RepoUrl,
    /// Where the app answers, on each host's address.
    pub port: u16,
    /// The app's head when all began.
    pub first: Sha,
    folder: TempDir,
}

impl Stage {
    /// Builds it. Blocks for about two seconds.
    pub fn build() -> Result<Self, DemoError> {
        command::need("git", "git")?;
        command::need("ssh", "openssh-client")?;
        command::need("perl", "perl-base")?;
        let folder = temporary()?;
        let root = folder.path();
        for name in ["git", "keys", "work"] {
            make(&root.join(name))?;
        }
        let git_server = sshd(root, "git-server", GIT_ADDRESS, "git")?;
        let url = |name: &str| {
            let path = root.join(format!("git/{name}.git"));
            let text = format!("ssh://{}@{}{}", git_server.user(), git_server.address(), path.display());
            RepoUrl::new(text).map_err(|why| DemoError::Own { what: "folder", why: why.to_string() })
        };
        let (greeting, hello) = (url("greeting")?, url("hello")?);
        let sshds = HOSTS.iter().map(|(name, address)| sshd(root, name, *address, "hosts"));
        let sshds = sshds.collect::<Result<Vec<_>, _>>()?;
        let mut known = git_server.known_hosts_text()?;
        for sshd in &sshds {
            known.push_str(&sshd.known_hosts_text()?);
        }
        write(&root.join("known_hosts"), &known)?;

        let ssh_command = shell_words(&ssh_options(root, "git")).join(" ");
        let with_key = |url: &RepoUrl, to: &Path| clone(url, to, &format!("ssh {ssh_command}"));
        let library = root.join("work/greeting");
        bare(root, "greeting")?;
        with_key(&greeting, &library)?;
        write(&library.join("deps.edn"), include_str!("files/greeting/deps.edn"))?;
        make(&library.join("resources"))?;
        write(&library.join("resources/greeting.txt"), &format!("{FIRST_GREETING}\n"))?;
        let library_sha = first_commit(&library, "A greeting")?;
        let app = root.join("work/hello");
        bare(root, "hello")?;
        with_key(&hello, &app)?;
        write_app(&app, &greeting, &library_sha)?;
        let first = first_commit(&app, "Say hello")?;

        let port = free_port()?;
        let mut hosts = Vec::new();
        for ((name, address), sshd) in HOSTS.into_iter().zip(sshds) {
            let clone = root.join(name).join("srv/hello");
            with_key(&hello, &clone)?;
            write(&clone.join(".env"), &format!("NAME={name}\nADDRESS={address}\nPORT={port}\n"))?;
            hosts.push(DemoHost { name, address, clone, sshd });
        }
        let first = first.parse().map_err(|why| DemoError::Own { what: "commit", why: format!("{why}") })?;
        let stage = Self { hosts, git_server, greeting, hello, port, first, folder };
        for host in &stage.hosts {
            stage.on(host, "./restart")?;
            stage.wait_for(host)?;
        }
        stage.configure()?;
        Ok(stage)
    }

    /// The temporary folder.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }
    /// The daemon's configuration.
    pub fn config(&self) -> PathBuf {
        self.root().join("config.edn")
    }
    /// Where the daemon's log goes.
    pub fn log(&self) -> PathBuf {
        self.root().join("daemon.log")
    }
    /// A person's checkout of the library.
    pub fn checkout(&self) -> PathBuf {
        self.root().join("work/greeting")
    }
    /// The app's bare repository on the git server.
    pub fn bare_hello(&self) -> PathBuf {
        self.root().join("git/hello.git")
    }
    /// Where the git server listens.
    pub fn git_address(&self) -> String {
        self.git_server.address().to_string()
    }
    /// Where a host's app answers.
    pub fn app_url(&self, host: &DemoHost) -> String {
        format!("http://{}:{}/", host.address, self.port)
    }
    /// Runs a command line in the app's folder on a host, through ssh.
    pub fn on(&self, host: &DemoHost, line: &str) -> Result<String, DemoError> {
        let mut options = ssh_options(self.root(), "hosts");
        options.extend(["-p".to_owned(), host.sshd.address().port().to_string()]);
        let folder = shell_word(&host.clone.display().to_string());
        command::ssh(&options, &format!("{}@{}", host.sshd.user(), host.address), &format!("cd {folder} && {line}"))
    }

    /// What a forge has beside its repositories: after each push, a webhook to `url`.
    pub fn install_hooks(&self, url: &str) -> Result<(), DemoError> {
        let airplanes = std::env::current_exe().map_err(DemoError::io(Path::new("/proc/self/exe")))?;
        for (name, repo) in [("greeting", &self.greeting), ("hello", &self.hello)] {
            let bare = self.root().join(format!("git/{name}.git"));
            let settings = bare.join("airplanes-webhook.json");
            let hook = super::hook::Hook {
                url: url.to_owned(),
                secret: self.root().join("webhook-secret"),
                repo: repo.clone(),
            };
            write(&settings, &hook.to_text())?;
            let text = include_str!("files/post-receive")
                .replace("'@AIRPLANES@'", &shell_word(&airplanes.display().to_string()))
                .replace("'@FILE@'", &shell_word(&settings.display().to_string()));
            write(&bare.join("hooks/post-receive"), &text)?;
            executable(&bare.join("hooks/post-receive"))?;
        }
        Ok(())
    }

    /// Waits until the app listens on a host.
    fn wait_for(&self, host: &DemoHost) -> Result<(), DemoError> {
        let until = Instant::now() + START;
        while TcpStream::connect((host.address, self.port)).is_err() {
            if Instant::now() > until {
                let why = fs::read_to_string(host.clone.join("serve.log")).unwrap_or_default();
                return Err(DemoError::Own { what: "app", why: format!("it does not start on {}: {why}", host.name) });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Removes it all, and says if something would not go.
    pub fn end(self) -> Result<(), DemoError> {
        let Self { hosts, git_server, folder, .. } = self;
        drop(hosts);
        drop(git_server);
        let path = folder.path().to_owned();
        folder.close().map_err(|source| DemoError::Left { path, source })
    }

    fn configure(&self) -> Result<(), DemoError> {
        let mut secret = [0u8; 24];
        getrandom::fill(&mut secret).map_err(|why| DemoError::Own { what: "secret", why: why.to_string() })?;
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        write(&self.root().join("webhook-secret"), &secret)?;
        let hosts = self.hosts.iter().map(|host| {
            format!(":{} {{:address \"{}\" :port {}}}", host.name, host.address, host.sshd.address().port())
        });
        let config = include_str!("files/config.edn")
            .replace("@GIT_ADDRESS@", &GIT_ADDRESS.to_string())
            .replace("@USER@", self.git_server.user())
            .replace("@HOSTS@", &hosts.collect::<Vec<_>>().join("\n         "));
        write(&self.config(), &config)?;
        let names = self.hosts.iter().map(|host| format!(":{}", host.name)).collect::<Vec<_>>();
        let deploy = include_str!("files/deploy.edn")
            .replace("@HELLO@", self.hello.as_str())
            .replace("@FOLDER@", &self.root().display().to_string())
            .replace("@NAMES@", &names.join(" "))
            .replace("@PORT@", &self.port.to_string());
        write(&self.root().join("deploy.edn"), &deploy)
    }
}

fn temporary() -> Result<TempDir, DemoError> {
    // The path becomes part of urls and of sockets' names, so it has to be plain and short.
    let plain = |path: &PathBuf| {
        path.to_str()
            .is_some_and(|p| p.len() < 40 && p.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)))
    };
    let base = Some(std::env::temp_dir()).filter(plain).unwrap_or_else(|| "/tmp".into());
    let folder = tempfile::Builder::new().prefix("airplanes-demo-").rand_bytes(4).tempdir_in(&base);
    folder.map_err(DemoError::io(&base))
}

fn sshd(root: &Path, name: &str, address: Ipv4Addr, key: &str) -> Result<Sshd, DemoError> {
    let mut options = SshdOptions::new(root.join(name).join("sshd"), IpAddr::V4(address));
    options.client_key = Some(root.join("keys").join(key));
    make(&root.join(name))?;
    Ok(Sshd::start(&options)?)
}

/// A port that is free on every host's address.
fn free_port() -> Result<u16, DemoError> {
    let pick = || -> std::io::Result<u16> {
        for _ in 0..50 {
            let held = TcpListener::bind((HOSTS[0].1, 0))?;
            let port = held.local_addr()?.port();
            if HOSTS[1..].iter().all(|(_, address)| TcpListener::bind((*address, port)).is_ok()) {
                return Ok(port);
            }
        }
        Err(std::io::Error::other("no port is free on all of the hosts' addresses"))
    };
    pick().map_err(DemoError::io(Path::new("127.0.0.0/8")))
}

/// ssh with one of our keys, our known_hosts, and nothing of the person's own.
fn ssh_options(root: &Path, key: &str) -> Vec<String> {
    let file = |name: &str| root.join(name).display().to_string();
    let options = [
        "BatchMode=yes".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "LogLevel=ERROR".to_owned(),
        "ConnectTimeout=10".to_owned(),
        "ServerAliveInterval=5".to_owned(),
        format!("UserKnownHostsFile={}", file("known_hosts")),
    ];
    let mut words = vec!["-F".to_owned(), "/dev/null".to_owned(), "-i".to_owned(), file(&format!("keys/{key}"))];
    words.extend(options.into_iter().flat_map(|option| ["-o".to_owned(), option]));
    words
}

fn bare(root: &Path, name: &str) -> Result<(), DemoError> {
    let folder = root.join("git");
    command::git(&folder, &["init", "--quiet", "--bare", "-b", BRANCH, &format!("{name}.git")]).map(drop)
}

/// A clone that keeps the key it was made with, and commits as somebody.
fn clone(url: &RepoUrl, to: &Path, ssh_command: &str) -> Result<(), DemoError> {
    let parent = to.parent().unwrap_or(to);
    make(parent)?;
    let ssh_command = format!("core.sshCommand={ssh_command}");
    let settings =
        [&ssh_command, "user.name=Ada", "user.email=ada@example.com", "commit.gpgSign=false", "push.default=current"];
    let to = to.display().to_string();
    let mut args = vec!["clone", "--quiet"];
    args.extend(settings.iter().flat_map(|setting| ["-c", setting]));
    args.extend([url.as_str(), &to]);
    command::git(parent, &args).map(drop)
}

fn write_app(app: &Path, greeting: &RepoUrl, library_sha: &str) -> Result<(), DemoError> {
    let deps = include_str!("files/hello/deps.edn").replace("@URL@", greeting.as_str()).replace("@SHA@", library_sha);
    write(&app.join("deps.edn"), &deps)?;
    write(&app.join(".gitignore"), include_str!("files/hello/gitignore"))?;
    write(&app.join("serve.pl"), include_str!("files/hello/serve.pl"))?;
    let scripts = [
        ("resolve", include_str!("files/hello/resolve")),
        ("check", include_str!("files/hello/check")),
        ("restart", include_str!("files/hello/restart")),
    ];
    for (name, text) in scripts {
        write(&app.join(name), text)?;
        executable(&app.join(name))?;
    }
    Ok(())
}

/// Commits all there is, pushes it, and gives its sha.
fn first_commit(folder: &Path, subject: &str) -> Result<String, DemoError> {
    command::git(folder, &["checkout", "--quiet", "-B", BRANCH])?;
    command::git(folder, &["add", "--all"])?;
    command::git(folder, &["commit", "--quiet", "-m", subject])?;
    command::git(folder, &["push", "--quiet", "-u", "origin", BRANCH])?;
    Ok(command::git(folder, &["rev-parse", "HEAD"])?.trim().to_owned())
}

/// A word for `sh`: quoted if it has to be.
pub(super) fn shell_word(word: &str) -> String {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-=:@".contains(c));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn shell_words(words: &[String]) -> Vec<String> {
    words.iter().map(|word| shell_word(word)).collect()
}

fn make(path: &Path) -> Result<(), DemoError> {
    fs::create_dir_all(path).map_err(DemoError::io(path))
}

fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    fs::write(path, text).map_err(DemoError::io(path))
}

fn executable(path: &Path) -> Result<(), DemoError> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(DemoError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_runs_on_both_hosts_before_anything_is_pushed_and_on_none_afterwards() {
        let stage = Stage::build().unwrap();
        for host in &stage.hosts {
            let log = stage.on(host, "cat serve.log && git status --short && git log --format=%H").unwrap();
            assert_eq!(log.trim(), stage.first.to_string());
        }
        let root = stage.root().to_owned();
        let addresses: Vec<_> = stage.hosts.iter().map(|host| (host.address, stage.port)).collect();
        stage.end().unwrap();
        assert!(!root.exists());
        for address in addresses {
            assert!(TcpStream::connect(address).is_err(), "{address:?} still answers");
        }
    }

    #[test]
    fn a_word_for_the_shell_is_quoted_if_it_has_to_be() {
        assert_eq!(shell_word("/tmp/a-b_c.edn"), "/tmp/a-b_c.edn");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
