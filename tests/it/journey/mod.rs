//! The whole way, on the real binary: a push to a library, and the app that depends on it is bumped, built, published
//! and live.

mod builds;
mod daemon;
mod events;
mod hosts;
mod moved;
mod order;
mod pushes;
mod refused;
mod tags;
mod turns;

use airplanes::model::{Forge, Sha};
use serde_json::Value;

use super::support::world::{World, git};

/// deploy.edn for a library without hosts and an app on hosts that depends on it.
const LIB_AND_APP: &str = r#":lib {:git-url "{repo:lib}" :update? false}
 :app {:git-url "{repo:app}" :update? true
       :build [{:name "count" :run "git rev-list --count HEAD"} {:name "env" :run "echo $AIRPLANES_APP $AIRPLANES_SHA $AIRPLANES_JOB"}]
       :working-directory "{dir}/srv/{host}" :hosts [:web-1 :web-2] :restart "git rev-parse HEAD >> ../restarts"}"#;

async fn lib_and_app(hosts: usize) -> World {
    let mut world = World::new(hosts);
    let lib = world.commit("lib", &[("deps.edn", "{}"), ("src/lib.clj", "(ns lib)")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(LIB_AND_APP);
    world.clone_to_hosts("app");
    world.start().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_a_library_is_live_in_the_app_for_each_forge() {
    let world = lib_and_app(2).await;
    for (i, forge) in Forge::ALL.into_iter().enumerate() {
        let (old, deps) = (world.head("lib"), world.file("app", "deps.edn"));
        let new = world.commit("lib", &[("src/lib.clj", &format!("(ns lib) ; {i}"))]);
        let (status, answer) = world.hook(forge, "lib", Some(old), new, &format!("d-{i}")).await;
        assert_eq!(status, 202, "{answer}");
        let job = world.job("app").await;
        assert_eq!(job["state"], "succeeded", "{job:#}\n{}", world.log());
        assert_eq!(world.file("app", "deps.edn"), deps.replace(&old.to_string(), &new.to_string()));
        assert_eq!(world.count("app"), i + 2);
        let head = world.head("app").to_string();
        assert_eq!(job["sha"], head.as_str());
        for host in ["web-1", "web-2"] {
            let folder = world.path(&format!("srv/{host}"));
            assert_eq!(super::support::world::git(&folder, &["rev-parse", "HEAD"]), head);
        }
        let restarts = std::fs::read_to_string(world.path("srv/restarts")).unwrap();
        assert_eq!(restarts.matches(&head).count(), 2);
        let message = world.in_bare("app", &["log", "-1", "--format=%B", "main"]);
        assert!(message.contains(&format!("Airplanes-Job: {}", job["id"].as_str().unwrap())), "{message}");
        assert!(message.contains(&format!("Airplanes-Bump: acme/lib {old}..{new}")), "{message}");
        let id = job["id"].as_str().unwrap();
        let log = |step: &str| std::fs::read_to_string(world.path(&format!("state/logs/{id}/build/{step}.1"))).unwrap();
        assert_eq!(log("count").lines().nth(1).unwrap(), format!("{}", i + 2));
        let env = log("env");
        assert!(env.contains(&format!("app {head} {id}")), "{env}");
    }
}

/// A world without hosts, whose repositories are named by files.
fn quick() -> World {
    let mut world = World::new(0);
    world.by_file = true;
    world
}

impl World {
    /// `airplanes deploy`, to its end.
    pub async fn deployed(&self, app: &str) -> Value {
        let (status, answer) = self.post(&format!("/apps/{app}/deploy")).await;
        assert_eq!(status, 202, "{answer}");
        self.job(app).await
    }
    /// A webhook that is accepted.
    pub async fn told(&self, repo: &str, before: Option<Sha>, after: Sha, id: &str) {
        let (status, answer) = self.hook(Forge::Github, repo, before, after, id).await;
        assert_eq!(status, 202, "{answer}");
    }
    /// Moves a repository's branch anywhere, and the person's clone with it.
    pub fn force(&self, repo: &str, to: Sha) {
        self.in_bare(repo, &["update-ref", "refs/heads/main", &to.to_string()]);
        let person = self.path("people").join(repo);
        git(&person, &["fetch", "-q", "origin"]);
        git(&person, &["reset", "-q", "--hard", &to.to_string()]);
    }
    /// Waits until the daemon knows so many repositories, since it has read who depends on them.
    pub async fn knows(&self, repos: usize) {
        let known = async || (self.get("/repos").await["repos"].as_array()?.len() == repos).then_some(());
        self.until(&format!("{repos} known repositories"), known).await;
    }
    /// Waits until an app's deps.edn at its remote holds a commit.
    pub async fn bumped(&self, app: &str, to: Sha) {
        let there = async || self.file(app, "deps.edn").contains(&to.to_string()).then_some(());
        self.until(&format!("{app} is bumped to {to}; {}", self.log()), there).await;
    }
    /// A person's commit that is not pushed yet.
    pub fn unpushed(&self, repo: &str) -> Sha {
        let person = self.path("people").join(repo);
        git(&person, &["commit", "-q", "--allow-empty", "-m", "not pushed yet"]);
        git(&person, &["rev-parse", "HEAD"]).parse().unwrap()
    }
    pub fn pushes_now(&self, repo: &str) {
        git(&self.path("people").join(repo), &["push", "-q", "--force", "origin", "HEAD:main"]);
    }
    /// The jobs of an app, newest first, once nothing is under way.
    pub async fn jobs_of(&self, app: &str) -> Vec<Value> {
        self.settled().await.into_iter().filter(|job| job["app"] == app).collect()
    }
    /// What became of the newest delivery's event.
    async fn newest_event(&self) -> Value {
        self.settled().await;
        self.get("/deliveries?limit=1").await["deliveries"][0]["events"][0].clone()
    }
    /// The command line against the daemon: its exit code and what it prints.
    pub fn cli(&self, args: &[&str]) -> (i32, String) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_airplanes"));
        command.args(args).arg("--config").arg(self.path("config.edn")).arg("--url").arg(self.base());
        let output = command.env("NO_COLOR", "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), text)
    }
    /// All jobs as they are now, newest first.
    async fn jobs_now(&self) -> Vec<Value> {
        self.get("/jobs?limit=200").await["jobs"].as_array().unwrap().clone()
    }
    /// Waits until the newest job of an app is in a step.
    pub async fn in_step(&self, app: &str, step: &str) -> Value {
        let is_there = |s: &Value| s["name"] == step && s["state"] == "running";
        self.until(&format!("{app} in {step}"), async || {
            let job = self.jobs_now().await.into_iter().find(|job| job["app"] == app)?;
            job["steps"].as_array().unwrap().iter().any(is_there).then_some(job)
        })
        .await
    }
    /// Waits until deploy.edn is in force with so many apps.
    async fn has_apps(&self, count: usize) {
        let apps = async || Some(self.get("/apps").await["apps"].as_array().unwrap().len());
        self.until("the edit of deploy.edn in force", async || apps().await.filter(|n| *n == count)).await;
    }
    /// Waits until every event has its plan.
    async fn planned(&self) {
        let deliveries = async || self.get("/deliveries?limit=200").await.to_string();
        let planned = async || (!deliveries().await.contains("\"state\":\"accepted\"")).then_some(());
        self.until("a plan for every event", planned).await;
    }
    /// Waits until there are so many jobs.
    async fn has_jobs(&self, count: usize) {
        let jobs = async || (self.jobs_now().await.len() == count).then_some(());
        self.until(&format!("{count} jobs"), jobs).await;
    }
    /// Lets builds go on that wait for a file.
    fn go(&self, name: &str) {
        std::fs::write(self.path(name), "").unwrap();
    }
}

/// A build that waits for a file in the world's folder.
fn waits_for(name: &str) -> String {
    format!("while [ ! -e {{dir}}/{name} ]; do sleep 0.05; done")
}

fn reason(job: &Value) -> &str {
    job["reason"].as_str().unwrap_or_default()
}
