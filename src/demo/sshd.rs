//! A real sshd of our own on a loopback address: a "host" (or a git server) for `airplanes demo` and for the tests.
//!
//! It has its own keys, config, log and home in one folder and runs as whoever starts it, root or not. It must never
//! listen on anything but loopback, and never outlive its value: dropping it ends the listener, its connections and
//! all that was started through them, daemons too (found by a variable that sshd sets for them). If this process is
//! killed outright, a pipe that closes with it ends the listener.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};

/// The variable that marks what was started through one of our sshds; its value is the sshd's folder.
const MARK: &str = "AIRPLANES_SSHD";
/// How long sshd may take to answer.
const START: Duration = Duration::from_secs(10);
/// How long its processes may take to go once killed.
const STOP: Duration = Duration::from_secs(5);

/// Runs sshd and ends it when this shell's standard input closes, which it does when we die, however we die.
const LIFELINE: &str = r#"exec 3<&0 </dev/null
"$@" 3<&- & P=$!
( read -r _ <&3; kill -TERM "$P" ) 2>/dev/null & W=$!
wait "$P"; R=$?
kill "$W" 2>/dev/null
exit "$R""#;

/// Why no sshd runs.
#[derive(Debug, thiserror::Error)]
pub enum SshdError {
    /// A program is missing.
    #[error("{program} is not installed; install it with `apt-get install {package}`")]
    Missing {
        /// `sshd` or `ssh-keygen`.
        program: &'static str,
        /// Debian's package that has it.
        package: &'static str,
    },
    /// The address is not loopback.
    #[error("{0} is not a loopback address; the demo's sshd listens on 127.0.0.0/8 only")]
    NotLoopback(IpAddr),
    /// sshd ended, or did not answer in time.
    #[error("sshd does not run on {address}: {why}; its log is {}: {tail}", .log.display())]
    NotUp {
        /// Where it was to listen.
        address: SocketAddr,
        /// What was seen.
        why: String,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// ssh-keygen failed.
    #[error("ssh-keygen made no key at {}: {why}", .path.display())]
    Keygen {
        /// The key that was to be made.
        path: PathBuf,
        /// Its own words.
        why: String,
    },
    /// A file or folder could not be written or read.
    #[error("{}: {source}; the demo's sshd needs it", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What kind of sshd is wanted.
#[derive(Debug, Clone)]
pub struct SshdOptions {
    /// Where its keys, config and log go; made with mode 0700 if absent. Keys that are there are used again.
    pub folder: PathBuf,
    /// A loopback address: `127.0.0.2`.
    pub address: IpAddr,
    /// The port; 0 picks a free one.
    pub port: u16,
    /// A private key whose `.pub` beside it may log in; without one, a key is made in the folder.
    pub client_key: Option<PathBuf>,
    /// The only command that may run (`command=` of authorized_keys); it finds the asked one in
    /// `SSH_ORIGINAL_COMMAND`.
    pub forced_command: Option<String>,
}

impl SshdOptions {
    /// On a picked port, with a key of its own, for any command.
    pub fn new(folder: impl Into<PathBuf>, address: IpAddr) -> Self {
        Self { folder: folder.into(), address, port: 0, client_key: None, forced_command: None }
    }
}

/// A running sshd. Ends with all it started when dropped.
#[derive(Debug)]
pub struct Sshd {
    folder: PathBuf,
    address: SocketAddr,
    user: String,
    client_key: PathBuf,
    /// The shell with the lifeline, and the sshd under it once that is up.
    child: Child,
    listener: Option<Pid>,
    lifeline: Option<ChildStdin>,
}

impl Sshd {
    /// Starts one and waits until it answers. Blocks for some tenths of a second.
    pub fn start(options: &SshdOptions) -> Result<Self, SshdError> {
        if !options.address.is_loopback() {
            return Err(SshdError::NotLoopback(options.address));
        }
        let program = find("sshd").ok_or(SshdError::Missing { program: "sshd", package: "openssh-server" })?;
        let folder = &options.folder;
        make_folder(folder, 0o700)?;
        let folder = fs::canonicalize(folder).map_err(|source| SshdError::Io { path: folder.clone(), source })?;
        if Uid::effective().is_root() {
            // sshd's privilege separation wants it, and only its service file makes it.
            make_folder(Path::new("/run/sshd"), 0o755)?;
        }
        make_folder(&folder.join("home"), 0o700)?;
        keygen(&folder.join("host_ed25519"), "airplanes demo host")?;
        let client_key = match &options.client_key {
            Some(key) => key.clone(),
            None => folder.join("client_ed25519"),
        };
        keygen(&client_key, "airplanes demo client")?;
        write(&folder.join("authorized_keys"), &authorized(&client_key, options.forced_command.as_deref())?)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let started = launch(&program, &folder, options, &client_key);
            match started {
                // Between picking a port and sshd's taking it, someone else may have.
                Err(SshdError::NotUp { tail, .. })
                    if options.port == 0 && tries < 5 && tail.contains("already in use") => {}
                done => return done,
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Who can log in: the user that this process runs as.
    pub fn user(&self) -> &str {
        &self.user
    }
    /// The private key that logs in.
    pub fn client_key(&self) -> &Path {
        &self.client_key
    }
    /// A known_hosts file with its host key.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }
    /// The text of [`Self::known_hosts`], to put several hosts in one file.
    pub fn known_hosts_text(&self) -> Result<String, SshdError> {
        read(&self.known_hosts())
    }
    /// Its log so far, at level VERBOSE.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("sshd.log")).unwrap_or_default()
    }
    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
    /// Ends its connections and what was started through them, as a crashed network would; it goes on listening.
    pub fn drop_connections(&self) {
        end_all(|| self.started(), None);
    }

    /// The process that listens, as its pid file has it.
    fn pid(&self) -> Option<Pid> {
        fs::read_to_string(self.folder.join("sshd.pid")).ok()?.trim().parse().ok().map(Pid::from_raw)
    }
    /// What was started through it: descendants of the listener, and whoever carries its mark.
    fn started(&self) -> Vec<Pid> {
        let mark = format!("{MARK}={}", self.folder.display());
        let listener = self.listener;
        let all = processes();
        let mut found: Vec<Pid> = Vec::new();
        let mut parents: Vec<Pid> = listener.into_iter().collect();
        while let Some(parent) = parents.pop() {
            for (pid, _) in all.iter().filter(|(_, of)| *of == parent) {
                found.push(*pid);
                parents.push(*pid);
            }
        }
        for (pid, _) in &all {
            let carries = || {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|b| *b == 0).any(|variable| variable == mark.as_bytes())
            };
            if Some(*pid) != listener && !found.contains(pid) && carries() {
                found.push(*pid);
            }
        }
        found
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        end_all(|| self.started(), self.listener);
        drop(self.lifeline.take());
        if self.child.wait().is_err() {
            tracing::warn!(folder = %self.folder.display(), "the demo's sshd could not be waited for");
        }
    }
}

/// Kills what `find` gives until it gives nothing. The listener is stopped first so that it starts no more, and
/// killed last, since its children can only be found while it lives.
fn end_all(find: impl Fn() -> Vec<Pid>, listener: Option<Pid>) {
    let until = Instant::now() + STOP;
    // A process that has gone in the meantime is what is wanted, so kill's errors are no news.
    if let Some(pid) = listener {
        let _ = kill(pid, Signal::SIGSTOP);
    }
    loop {
        let found = find();
        if found.is_empty() || Instant::now() > until {
            break;
        }
        for pid in found {
            let _ = kill(pid, Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(5));
    }
    if let Some(pid) = listener {
        let _ = kill(pid, Signal::SIGKILL);
    }
}

/// Every live process (no zombies) with its parent, from /proc.
fn processes() -> Vec<(Pid, Pid)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let one = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name is in brackets and can hold anything, so the fields are counted from the last bracket.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let parent: i32 = fields.next()?.parse().ok()?;
        (state != "Z" && state != "X").then(|| (Pid::from_raw(pid), Pid::from_raw(parent)))
    };
    entries.filter_map(Result::ok).filter_map(one).collect()
}

fn launch(program: &Path, folder: &Path, options: &SshdOptions, client_key: &Path) -> Result<Sshd, SshdError> {
    let port = match options.port {
        0 => TcpListener::bind((options.address, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|source| SshdError::Io { path: format!("{}:0", options.address).into(), source })?
            .port(),
        port => port,
    };
    let address = SocketAddr::new(options.address, port);
    let user = match User::from_uid(Uid::effective()) {
        Ok(Some(user)) => user.name,
        _ => "root".to_owned(),
    };
    let host_key = read(&folder.join("host_ed25519.pub"))?;
    let host_key: Vec<&str> = host_key.split_whitespace().take(2).collect();
    let (ip, host_key) = (address.ip(), host_key.join(" "));
    write(&folder.join("known_hosts"), &format!("{ip} {host_key}\n[{ip}]:{port} {host_key}\n"))?;
    write(&folder.join("sshd_config"), &config(folder, address))?;
    let log = folder.join("sshd.log");
    let _ = fs::remove_file(folder.join("sshd.pid"));
    let mut child = Command::new("sh")
        .args(["-c", LIFELINE, "airplanes-sshd"])
        .arg(program)
        .args(["-D", "-E"])
        .arg(&log)
        .arg("-f")
        .arg(folder.join("sshd_config"))
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|source| SshdError::Io { path: program.to_owned(), source })?;
    let lifeline = child.stdin.take();
    let mut sshd = Sshd {
        folder: folder.to_owned(),
        address,
        user,
        client_key: client_key.to_owned(),
        child,
        listener: None,
        lifeline,
    };
    match sshd.wait_until_up() {
        Ok(()) => Ok(sshd),
        Err(why) => {
            let text = sshd.log();
            let mut tail: Vec<&str> = text.lines().rev().take(5).collect();
            tail.reverse();
            Err(SshdError::NotUp { address, why, log, tail: tail.join(" | ") })
        }
    }
}

impl Sshd {
    fn wait_until_up(&mut self) -> Result<(), String> {
        let until = Instant::now() + START;
        let mut last = "it does not answer".to_owned();
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Err(format!("it ended with {status}")),
                Err(error) => return Err(error.to_string()),
            }
            match banner(self.address) {
                // The pid file is written before it listens, so an answer without one is somebody else's.
                Ok(()) if self.pid().is_some() => {
                    self.listener = self.pid();
                    return Ok(());
                }
                Ok(()) => last = "another server answers there".to_owned(),
                Err(error) => last = error.to_string(),
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(last)
    }
}

fn banner(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut start = [0; 4];
    stream.read_exact(&mut start)?;
    if &start == b"SSH-" { Ok(()) } else { Err(io::Error::other("the answer is not ssh's")) }
}

/// sshd_config. What bounds connections and sessions (MaxSessions, MaxStartups, MaxAuthTries) stays at sshd's
/// defaults, since users' hosts have those. bash reads ~/.bashrc for a command over ssh unless SHLVL says that it is
/// not the first shell; what stands there is slow at times, and none of the demo's business. Nor are the startup files of
/// other shells, or ~/.gitconfig: so the home is one of our own.
fn config(folder: &Path, address: SocketAddr) -> String {
    let file = |name: &str| format!("\"{}\"", folder.join(name).display());
    format!(
        "Port {port}\nListenAddress {ip}\nHostKey {host}\nAuthorizedKeysFile {keys}\nPidFile {pid}\n\
         UsePAM {pam}\nStrictModes no\nPubkeyAuthentication yes\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nPrintMotd no\nLogLevel VERBOSE\n\
         SetEnv \"{MARK}={mark}\" \"HOME={mark}/home\" SHLVL=1\n",
        port = address.port(),
        ip = address.ip(),
        host = file("host_ed25519"),
        keys = file("authorized_keys"),
        pid = file("sshd.pid"),
        mark = folder.display(),
        // PAM is more than is wanted (it reads the machine's settings), but without it sshd lets no locked account in.
        pam = if is_root_locked() { "yes" } else { "no" },
    )
}

/// Whether we are root and root has been locked with `!`, as on Ubuntu, where people go through sudo.
fn is_root_locked() -> bool {
    let shadow = fs::read_to_string("/etc/shadow").unwrap_or_default();
    Uid::effective().is_root() && shadow.lines().any(|line| line.starts_with("root:!"))
}

fn authorized(client_key: &Path, forced_command: Option<&str>) -> Result<String, SshdError> {
    let public = read(&public_of(client_key))?;
    let options = match forced_command {
        Some(command) => {
            format!("restrict,command=\"{}\" ", command.replace('\\', "\\\\").replace('"', "\\\""))
        }
        None => String::new(),
    };
    Ok(format!("{options}{}\n", public.trim()))
}

fn public_of(key: &Path) -> PathBuf {
    let mut path = key.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

/// Makes an ed25519 key without a passphrase, unless there is one.
fn keygen(path: &Path, comment: &str) -> Result<(), SshdError> {
    if path.exists() && public_of(path).exists() {
        return Ok(());
    }
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .output();
    match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(SshdError::Missing { program: "ssh-keygen", package: "openssh-client" })
        }
        Err(source) => Err(SshdError::Io { path: path.to_owned(), source }),
        Ok(output) if !output.status.success() => Err(SshdError::Keygen {
            path: path.to_owned(),
            why: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
        Ok(_) => Ok(()),
    }
}

/// sshd re-executes itself, so it wants its absolute path; a user's PATH often lacks the sbin folders.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .chain(sbin)
        .map(|folder| folder.join(program))
        .find(|file| fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0))
}

fn make_folder(path: &Path, mode: u32) -> Result<(), SshdError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| SshdError::Io { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), SshdError> {
    fs::File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| SshdError::Io { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<String, SshdError> {
    fs::read_to_string(path).map_err(|source| SshdError::Io { path: path.to_owned(), source })
}
