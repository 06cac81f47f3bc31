//! What tests do to a world: they edit, deploy, wait, follow logs, call the command line, and pull plugs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airplanes::demo::sshd::{Sshd, SshdOptions};
use serde_json::Value;

use super::world::World;

/// How long anything may take to come to pass.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the command line gave back.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl World {
    /// Replaces text in config.edn or deploy.edn, as an editor does that saves by renaming.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}: {text}");
        self.save(file, &text.replace(from, to));
    }
    /// Writes a file of the world by writing another and renaming it.
    pub fn save(&self, file: &str, text: &str) {
        let new = self.path(&format!("{file}.saved"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, self.path(file)).unwrap();
    }
    /// A file of the world; empty if it is not there.
    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap_or_default()
    }

    /// Waits until `look` finds something.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < deadline, "it did not come to pass: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    /// Waits for a line that a process of the test writes to a file, and gives it.
    pub async fn line(&self, file: &str) -> String {
        let whole = async || Some(self.read(file)).filter(|text| text.ends_with('\n'));
        self.until(&format!("a line in {file}"), whole).await.trim().to_owned()
    }

    /// Deploys an app as the operator; gives the job's id.
    pub async fn deploy(&self, app: &str) -> String {
        let (status, answer) = self.post(&format!("/apps/{app}/deploy")).await;
        assert_eq!(status, 202, "{answer}");
        answer["job"].as_str().unwrap().to_owned()
    }
    /// Waits until a job has ended.
    pub async fn ended(&self, id: &str) -> Value {
        let look = async || Some(self.get(&format!("/jobs/{id}")).await).filter(|job| !job["finished_at"].is_null());
        self.until(&format!("the end of {id}"), look).await
    }
    /// Deploys an app and waits for the job's end.
    pub async fn deploy_to_the_end(&self, app: &str) -> Value {
        let id = self.deploy(app).await;
        self.ended(&id).await
    }
    /// A log's text from an offset, where it goes on, and whether that was all of it.
    pub async fn log_from(&self, id: &str, step: &str, offset: u64) -> (String, u64, bool) {
        let url = format!("{}/jobs/{id}/logs/{step}?offset={offset}", self.base());
        let answer = self.http.get(url).bearer_auth(self.token()).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let (next, complete) = (header("next-offset").parse().unwrap(), header("complete") == "true");
        (answer.text().await.unwrap(), next, complete)
    }
    /// All of a log.
    pub async fn whole_log(&self, id: &str, step: &str) -> String {
        self.log_from(id, step, 0).await.0
    }

    /// Starts the command line against this daemon.
    pub fn command_line(&self, args: &[&str]) -> tokio::process::Child {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_airplanes"))
            .args(args)
            .env("AIRPLANES_URL", self.base())
            .env("AIRPLANES_TOKEN", self.token())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
    /// Runs the command line against this daemon.
    pub async fn call(&self, args: &[&str]) -> Said {
        said(self.command_line(args)).await
    }

    /// Ends the sshd of `web-N` with all that runs through it.
    pub fn host_down(&mut self, n: usize) {
        assert!(self.hosts[n - 1].take().is_some());
    }
    /// Starts it again, where it was.
    pub fn host_up(&mut self, n: usize) {
        let config = self.read("config.edn");
        let entry = config.split(&format!(":web-{n} ")).nth(1).unwrap();
        let (_, port) = entry.split_once(":port ").unwrap();
        let mut options =
            SshdOptions::new(self.path(&format!("host-{n}")), format!("127.0.0.{}", n + 2).parse().unwrap());
        options.port = port.split(' ').next().unwrap().parse().unwrap();
        options.client_key = Some(self.path("git-sshd/client_ed25519"));
        self.hosts[n - 1] = Some(Sshd::start(&options).unwrap());
    }
}

/// Waits for the command line's end.
pub async fn said(child: tokio::process::Child) -> Said {
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A step of a job, by its name.
pub fn step<'j>(job: &'j Value, name: &str) -> &'j Value {
    let steps = job["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}: {job:#}"))
}
/// A host of a job, by its name.
pub fn host<'j>(job: &'j Value, name: &str) -> &'j Value {
    let hosts = job["hosts"].as_array().unwrap();
    hosts.iter().find(|host| host["name"] == name).unwrap_or_else(|| panic!("no host {name}: {job:#}"))
}
/// A text in a job.
pub fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key}: {value:#}"))
}

/// Whether a process is alive; a zombie is not.
pub fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}
/// The live processes whose command line holds a text.
pub fn processes(with: &str) -> Vec<String> {
    found(with).map(|(_, line)| line).collect()
}
/// Their ids.
pub fn pids(with: &str) -> Vec<String> {
    found(with).map(|(pid, _)| pid).collect()
}
fn found(with: &str) -> impl Iterator<Item = (String, String)> {
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(move |entry| {
        let text = std::fs::read(entry.path().join("cmdline")).ok()?;
        let text = String::from_utf8_lossy(&text).replace('\0', " ");
        let pid = entry.file_name().into_string().ok()?;
        (text.contains(with) && is_alive(&pid)).then_some((pid, text))
    })
}

/// The command line on a world's daemon with something on its standard input: its exit code, output and words.
pub fn given(world: &World, args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_airplanes"))
        .args(args)
        .arg("--config")
        .arg(world.path("config.edn"))
        .env_remove("AIRPLANES_URL")
        .env_remove("AIRPLANES_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses before it reads has closed it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// So many letters that can't be packed to less than half.
pub fn noise(letters: usize) -> String {
    let mut state: u64 = 1;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + (state >> 33) as u8 % 90)
    };
    (0..letters).map(letter).collect()
}
