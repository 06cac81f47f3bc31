//! A world for a daemon: a git host and app hosts behind real sshds on loopback, repositories, people who push, and
//! the real binary as the daemon, which can be killed and started again.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use airplanes::demo::sshd::{Sshd, SshdOptions};
use airplanes::forge;
use airplanes::model::{Branch, Forge, RepoUrl, Secret, Sha};
use serde_json::Value;
use tempfile::TempDir;

/// The webhook secret of every forge in a world.
pub const SECRET: &str = "a secret of tests, long enough";

/// What a world stands on: the git host that serves its repositories, and the hosts that its apps run on.
pub struct Ground {
    /// The git host as urls have it: `ssh://user@127.0.0.2:22022`.
    pub git: String,
    /// The private key for it, and what `:git :keys` says that it is for.
    pub git_key: (String, PathBuf),
    /// The content of `:ssh`, without `:known-hosts`.
    pub ssh: String,
    /// The content of `:hosts`.
    pub hosts: String,
    /// The lines of known_hosts.
    pub known_hosts: String,
}

/// What of a world is its daemon's own, by the first word of a path; the rest is open to builds. A host's sshd has a
/// folder `host-N`.
const OWN: [&str; 7] = ["config.edn", "deploy.edn", "apps.edn", "known_hosts", "secret", "state", "git-sshd"];

/// Its folder holds `own`, the daemon's, and `open`, with all the rest, where builds may write; and `run` with the
/// daemon's sockets, whose paths have to be short.
pub struct World {
    dir: TempDir,
    pub ground: Ground,
    _git: Option<Sshd>,
    /// A host that is down is none.
    pub hosts: Vec<Option<Sshd>>,
    pub daemon: Option<Child>,
    pub http: reqwest::Client,
    deploy: String,
    /// Repositories are named by `file://` urls: for tests that are not about ssh, since a handshake takes long.
    pub by_file: bool,
    /// What `:builds` holds. By default builds may write the world's open folder, where tests listen to them.
    pub builds: String,
    /// What `:poll` says. Tests are about webhooks unless they say otherwise: a listing would come at its own time.
    pub poll: String,
    /// More keys of config.edn.
    pub config: String,
    /// What the daemon is run under, with its arguments: a tracer, say.
    pub under: Vec<String>,
    /// Added to the daemon's environment at its next start.
    pub env: Vec<(String, String)>,
    /// The name of the state folder in the world's.
    state: String,
}

/// A new folder for a world.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("air-").tempdir().unwrap()
}

impl World {
    /// A world with so many hosts: `web-1`, `web-2`.
    pub fn new(hosts: usize) -> Self {
        Self::with_hosts(hosts, |_| None)
    }
    /// A world on whose hosts a shell command of the test's own is run in place of what is asked, which it finds in
    /// `SSH_ORIGINAL_COMMAND`. It is given the world's open folder.
    pub fn with_hosts(hosts: usize, command: impl Fn(&Path) -> Option<String>) -> Self {
        Self::in_folder(folder(), hosts, command)
    }
    /// A world in a folder of the test's own.
    pub fn in_folder(dir: TempDir, hosts: usize, command: impl Fn(&Path) -> Option<String>) -> Self {
        let local = |n: usize| -> IpAddr { format!("127.0.0.{n}").parse().unwrap() };
        let (own, open) = (dir.path().join("own"), dir.path().join("open"));
        std::fs::create_dir(&own).unwrap();
        std::fs::create_dir(&open).unwrap();
        let git = Sshd::start(&SshdOptions::new(own.join("git-sshd"), local(2))).unwrap();
        let start = |n: usize| {
            let mut options = SshdOptions::new(own.join(format!("host-{n}")), local(n + 2));
            options.client_key = Some(git.client_key().to_owned());
            options.forced_command = command(&open);
            Some(Sshd::start(&options).unwrap())
        };
        let hosts: Vec<Option<Sshd>> = (1..=hosts).map(start).collect();
        let (mut known_hosts, mut entries) = (git.known_hosts_text().unwrap(), String::new());
        for (i, host) in hosts.iter().flatten().enumerate() {
            known_hosts.push_str(&host.known_hosts_text().unwrap());
            let (at, user) = (host.address(), host.user());
            let entry = format!(":web-{} {{:address \"{}\" :port {} :user \"{user}\"}} ", i + 1, at.ip(), at.port());
            entries.push_str(&entry);
        }
        let ground = Ground {
            git: format!("ssh://{}@{}", git.user(), git.address()),
            git_key: ("127.0.0.2".to_owned(), git.client_key().to_owned()),
            ssh: format!(":user \"{}\" :identity \"{}\"", git.user(), git.client_key().display()),
            hosts: entries,
            known_hosts,
        };
        let mut world = Self::on(ground, dir);
        world.hosts = hosts;
        world._git = Some(git);
        world
    }

    /// A world on hosts that are there already.
    pub fn on(ground: Ground, dir: TempDir) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (own, open) = (dir.path().join("own"), dir.path().join("open"));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::create_dir_all(dir.path().join("run")).unwrap();
        std::fs::create_dir_all(open.join("repos")).unwrap();
        std::fs::create_dir_all(open.join("log")).unwrap();
        std::fs::write(own.join("known_hosts"), &ground.known_hosts).unwrap();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        let (deploy, config, env, state) = (String::new(), String::new(), Vec::new(), "state".to_owned());
        let builds = format!(":concurrency 2 :write [\"{}\"]", open.display());
        let (hosts, under, by_file, daemon, poll) = (Vec::new(), Vec::new(), false, None, "false".to_owned());
        let world = Self {
            dir,
            ground,
            _git: None,
            hosts,
            daemon,
            http,
            deploy,
            by_file,
            builds,
            poll,
            config,
            under,
            env,
            state,
        };
        world.write_config();
        world
    }

    /// A path in the world: where it lies is by its name.
    pub fn path(&self, name: &str) -> PathBuf {
        let first = name.split('/').next().unwrap_or_default().trim_end_matches(".saved");
        let is_own = OWN.contains(&first) || first.starts_with("host-");
        match first {
            "run" => self.dir.path().join(name),
            _ if is_own => self.own(name),
            _ => self.open().join(name),
        }
    }
    /// A path in the daemon's own folder.
    pub fn own(&self, name: &str) -> PathBuf {
        let own = self.dir.path().join("own");
        if name.is_empty() { own } else { own.join(name) }
    }
    /// The folder that is open to builds.
    pub fn open(&self) -> PathBuf {
        self.dir.path().join("open")
    }
    /// A path in the state folder.
    pub fn state(&self, name: &str) -> PathBuf {
        self.own(&self.state).join(name)
    }
    /// The configuration names another state folder from now on.
    pub fn use_state(&mut self, name: &str) {
        self.state = name.to_owned();
        self.write_config();
    }

    /// Writes config.edn.
    pub fn write_config(&self) {
        let Ground { git_key: (place, key), ssh, hosts, .. } = &self.ground;
        let known = self.path("known_hosts").display().to_string();
        let secret = format!("{{:secret \"{SECRET}\"}}");
        let text = format!(
            "{{:listen \"127.0.0.1:0\" :state \"{}\" :deploy \"deploy.edn\" :disk {{:min-free \"1MB\"}} :poll {}\n :webhooks {{:github {secret} :gitlab {secret} :gitea {secret} :bitbucket {secret}}}\n :git {{:name \"airplanes\" :email \"airplanes@example.com\" :known-hosts \"{known}\" :keys {{\"{place}\" \"{}\"}}}}\n :ssh {{{ssh} :known-hosts \"{known}\"}}\n :hosts {{{hosts}}}\n :builds {{{}}}\n {}}}\n",
            self.own(&self.state).display(),
            self.poll,
            key.display(),
            self.builds,
            self.config,
        );
        std::fs::write(self.path("config.edn"), text).unwrap();
    }

    /// Writes deploy.edn: the text of a map without its braces. `{repo:NAME}` becomes a repository's url, `{dir}` the
    /// world's open folder, `{own}` the daemon's.
    pub fn deploy_edn(&mut self, text: &str) {
        let (own, open) = (self.own("").display().to_string(), self.open().display().to_string());
        let mut text = text.replace("{dir}", &open).replace("{own}", &own);
        while let Some(start) = text.find("{repo:") {
            let end = start + text[start..].find('}').unwrap();
            let url = self.url(&text[start + 6..end]);
            text.replace_range(start..=end, url.as_str());
        }
        self.deploy = format!("{{{text}}}\n");
        std::fs::write(self.path("deploy.edn"), &self.deploy).unwrap();
    }

    /// The url of a bare repository, by ssh.
    pub fn url(&self, repo: &str) -> RepoUrl {
        let path = self.path("repos").join(format!("{repo}.git"));
        if self.by_file {
            return RepoUrl::new(format!("file://{}", path.display())).unwrap();
        }
        RepoUrl::new(format!("{}{}", self.ground.git, path.display())).unwrap()
    }

    /// Commits files to a repository as a person, making it at first, and pushes. Nobody is told.
    pub fn commit(&self, repo: &str, files: &[(&str, &str)]) -> Sha {
        let (bare, person) = (self.path("repos").join(format!("{repo}.git")), self.path("people").join(repo));
        if !bare.exists() {
            git(&self.open(), &["init", "-q", "--bare", "-b", "main", bare.to_str().unwrap()]);
            git(&self.open(), &["init", "-q", "-b", "main", person.to_str().unwrap()]);
            git(&person, &["remote", "add", "origin", bare.to_str().unwrap()]);
        } else {
            git(&person, &["pull", "-q", "--rebase", "origin", "main"]);
        }
        for (name, text) in files {
            let path = person.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        git(&person, &["add", "-A"]);
        git(&person, &["commit", "-q", "--allow-empty", "-m", "a person's change"]);
        git(&person, &["push", "-q", "origin", "HEAD:main"]);
        git(&person, &["rev-parse", "HEAD"]).parse().unwrap()
    }

    /// Clones a repository into each host's `srv/HOST`, as an operator would at first.
    pub fn clone_to_hosts(&self, repo: &str) {
        std::fs::create_dir_all(self.path("srv")).unwrap();
        for i in 1..=self.hosts.len() {
            let bare = self.path("repos").join(format!("{repo}.git"));
            git(&self.path("srv"), &["clone", "-q", bare.to_str().unwrap(), &format!("web-{i}")]);
        }
    }

    /// The head of a branch as the remote has it.
    pub fn head(&self, repo: &str) -> Sha {
        self.in_bare(repo, &["rev-parse", "main"]).parse().unwrap()
    }
    /// Git in a bare repository.
    pub fn in_bare(&self, repo: &str, args: &[&str]) -> String {
        git(&self.path("repos").join(format!("{repo}.git")), args)
    }
    /// A file at the head of a repository.
    pub fn file(&self, repo: &str, path: &str) -> String {
        self.in_bare(repo, &["show", &format!("main:{path}")])
    }
    /// How many commits a repository has.
    pub fn count(&self, repo: &str) -> usize {
        self.in_bare(repo, &["rev-list", "--count", "main"]).parse().unwrap()
    }
    /// A deps.edn with git dependencies, and comments that have to stay.
    pub fn deps(&self, libs: &[(&str, Sha)]) -> String {
        let mut text = String::from(";; kept\n{:deps {org.clojure/clojure {:mvn/version \"1.12.0\"} ; kept\n");
        for (lib, sha) in libs {
            text.push_str(&format!("        acme/{lib} {{:git/url \"{}\"   :git/sha \"{sha}\"}}\n", self.url(lib)));
        }
        text.push_str("        }\n #_#_ :old {:x 1}}\n");
        text
    }

    /// Starts the daemon's process.
    pub fn spawn(&mut self) {
        assert!(self.daemon.is_none());
        let _ = std::fs::remove_file(self.state("address"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log/daemon.log")).unwrap();
        // Another build of it may be tried: the optimised one, say.
        let binary = std::env::var("AIRPLANES_DAEMON").unwrap_or_else(|_| env!("CARGO_BIN_EXE_airplanes").to_owned());
        let line = [&self.under[..], &[binary]].concat();
        let child = Command::new(&line[0])
            .args(&line[1..])
            .args(["serve", "--config"])
            .arg(self.path("config.edn"))
            // A killed daemon's sockets go with the world; their paths have to be short.
            .env("RUNTIME_DIRECTORY", self.path("run"))
            .env("RUST_LOG", "info,airplanes=debug")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(child);
    }
    /// Starts the daemon and waits until it serves.
    pub async fn start(&mut self) {
        self.spawn();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.state("address").exists() {
            if let Some(status) = self.daemon.as_mut().unwrap().try_wait().unwrap() {
                self.daemon = None;
                if std::env::var_os("AIRPLANES_WORLD_QUIET").is_none() {
                    eprintln!("the daemon ended with {status}:\n{}", self.log());
                }
                return;
            }
            assert!(Instant::now() < deadline, "the daemon does not start:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
    /// SIGTERM; gives the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.daemon.take().unwrap();
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        child.wait().unwrap().code()
    }
    /// What the daemon has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log/daemon.log")).unwrap_or_default()
    }
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.state("operator-token")).unwrap().trim().to_owned()
    }
    pub fn base(&self) -> String {
        format!("http://{}", std::fs::read_to_string(self.state("address")).unwrap().trim())
    }

    /// GET as the operator.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.base())).bearer_auth(self.token()).send().await.unwrap();
        answer.json().await.unwrap()
    }
    /// GET as the operator, as text.
    pub async fn text(&self, path: &str) -> String {
        let answer = self.http.get(format!("{}{path}", self.base())).bearer_auth(self.token()).send().await.unwrap();
        answer.text().await.unwrap()
    }
    /// POST as the operator.
    pub async fn post(&self, path: &str) -> (u16, Value) {
        let answer = self.http.post(format!("{}{path}", self.base())).bearer_auth(self.token()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
    /// A forge's signed webhook that a repository's `main` has moved.
    pub async fn hook(&self, forge: Forge, repo: &str, before: Option<Sha>, after: Sha, id: &str) -> (u16, Value) {
        self.hook_from(forge, &self.url(repo), before, after, id).await
    }
    /// A forge's signed webhook, by a url of the repository that the forge likes.
    pub async fn hook_from(
        &self,
        forge: Forge,
        url: &RepoUrl,
        before: Option<Sha>,
        after: Sha,
        id: &str,
    ) -> (u16, Value) {
        let answer = self.signed(forge, url, before, after, id).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }
    /// As `hook`, but none if the daemon went away instead of answering.
    pub async fn try_hook(
        &self,
        forge: Forge,
        repo: &str,
        before: Option<Sha>,
        after: Sha,
        id: &str,
    ) -> Option<(u16, Value)> {
        let answer = self.signed(forge, &self.url(repo), before, after, id).send().await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null)))
    }
    fn signed(
        &self,
        forge: Forge,
        url: &RepoUrl,
        before: Option<Sha>,
        after: Sha,
        id: &str,
    ) -> reqwest::RequestBuilder {
        let body = forge::push_payload(forge, url, &Branch::new("main").unwrap(), before, after);
        self.signed_body(forge, body, id)
    }
    /// A signed call with any body.
    pub fn signed_body(&self, forge: Forge, body: Vec<u8>, id: &str) -> reqwest::RequestBuilder {
        let secret = Secret::new("test", SECRET);
        let mut request = self.http.post(format!("{}/hooks/{}", self.base(), forge.as_str()));
        let headers = forge::push_headers(forge, id).into_iter().chain(forge::sign(forge, &secret, &body));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(body)
    }
    #[cfg(feature = "crash-points")]
    /// GET as the operator, if the daemon answers.
    pub async fn try_get(&self, path: &str) -> Option<Value> {
        let base = std::fs::read_to_string(self.state("address")).ok()?;
        let url = format!("http://{}{path}", base.trim());
        self.http.get(url).bearer_auth(self.token()).send().await.ok()?.json().await.ok()
    }
    #[cfg(feature = "crash-points")]
    /// Whether the daemon ended by itself.
    pub fn has_died(&mut self) -> bool {
        self.daemon.as_mut().is_none_or(|d| d.try_wait().unwrap().is_some())
    }
    /// Waits until it ended by itself, at the point of its environment: the next one has none.
    #[cfg(feature = "crash-points")]
    pub async fn dies(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(90);
        while !self.has_died() {
            assert!(Instant::now() < deadline, "{:?}: it lives\n{}", self.env, self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.kill();
        self.env.clear();
    }
    /// A push that a person makes and GitHub tells of.
    pub async fn push(&self, repo: &str, files: &[(&str, &str)]) -> Sha {
        let before = self.path("repos").join(format!("{repo}.git")).exists().then(|| self.head(repo));
        let after = self.commit(repo, files);
        let (status, answer) = self.hook(Forge::Github, repo, before, after, &after.to_string()).await;
        assert_eq!(status, 202, "{answer}");
        after
    }

    /// Waits until nothing is under way, and gives all jobs, newest first.
    pub async fn settled(&self) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let jobs = self.get("/jobs?limit=200").await;
            let jobs = jobs["jobs"].as_array().unwrap_or_else(|| panic!("{jobs}")).clone();
            let deliveries = self.get("/deliveries?limit=200").await.to_string();
            let open = jobs.iter().any(|j| j["finished_at"].is_null() && j["state"] != "parked");
            if !open && !deliveries.contains("\"state\":\"accepted\"") && !deliveries.contains("\"state\":\"planned\"")
            {
                return jobs;
            }
            assert!(Instant::now() < deadline, "not settled: {jobs:#?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    /// The newest job of an app, once nothing is under way.
    pub async fn job(&self, app: &str) -> Value {
        let jobs = self.settled().await;
        let job = jobs.into_iter().find(|j| j["app"] == app);
        job.unwrap_or_else(|| panic!("no job of {app}\n{}", self.log()))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() || std::env::var_os("WORLD_LOG").is_some() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}

/// Runs git in `dir` with no configuration of this machine, and gives what it prints.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let output = super::git_remote::command(dir, args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?} in {}: {error}", dir.display());
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
