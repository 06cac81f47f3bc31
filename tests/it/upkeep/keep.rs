//! `:keep` and `airplanes gc`.

use airplanes::model::Forge;
use serde_json::Value;

#[cfg(feature = "crash-points")]
use super::super::support::acts::is_alive;
use super::super::support::acts::text;
use super::super::support::world::World;

/// A library and an app that depends on it, with two jobs of each kept.
async fn lib_and_app() -> World {
    let mut world = World::new(0);
    world.by_file = true;
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(
        r#":lib {:git-url "{repo:lib}"} :app {:git-url "{repo:app}" :update? true :build "echo built $AIRPLANES_SHA"}"#,
    );
    world.edit("config.edn", ":disk {", ":keep {:jobs 2 :days 90} :disk {");
    world.start().await;
    world
}

pub fn kind<'v>(round: &'v Value, name: &str) -> &'v Value {
    let kinds = round["kinds"].as_array().unwrap();
    kinds.iter().find(|kind| kind["kind"] == name).unwrap_or_else(|| panic!("no {name}: {round:#}"))
}

impl World {
    /// Runs `gc` to its end, and gives the round.
    pub async fn gc(&self, args: &[&str]) -> Value {
        let said = self.call(&[&["gc", "--json"], args].concat()).await;
        assert_eq!(said.code, Some(0), "{said:?}\n{}", self.log());
        serde_json::from_str(&said.out).unwrap()
    }
    /// The names in a folder of the world.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_jobs_go_with_their_logs_after_a_dry_run_that_changes_nothing_and_duplicates_stay_duplicates() {
    let mut world = lib_and_app().await;
    let mut pushes = Vec::new();
    for n in 0..4 {
        let before = world.head("lib");
        let after = world.push("lib", &[("n", &n.to_string())]).await;
        pushes.push((before, after));
        let jobs = world.settled().await;
        assert!(jobs.iter().all(|job| job["state"] == "succeeded"), "{jobs:#?}");
    }
    let jobs = world.settled().await;
    assert_eq!(jobs.len(), 8);
    let own = world.head("app");

    let round = world.gc(&["--dry-run"]).await;
    assert_eq!((kind(&round, "jobs")["count"].as_u64(), kind(&round, "logs")["count"].as_u64()), (Some(4), Some(4)));
    assert!(kind(&round, "jobs")["bytes"].as_u64() > Some(4000) && kind(&round, "logs")["bytes"].as_u64() > Some(4000));
    assert_eq!(world.settled().await.len(), 8);
    assert_eq!(world.names("state/logs").len(), 8);

    let said = world.call(&["gc"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("GONE") && said.out.contains("free in"), "{said:?}");
    let left = world.settled().await;
    assert_eq!(left, jobs[..4]);
    let ids: Vec<&str> = left.iter().map(|job| text(job, "id")).collect();
    let logs = world.names("state/logs");
    assert!(logs.len() == 4 && ids.iter().all(|id| logs.contains(&(*id).to_owned())), "{logs:?}");
    assert_eq!(kind(&world.gc(&[]).await, "jobs")["count"], 0);

    // What was answered stays answered, after a restart too.
    world.kill();
    world.start().await;
    for (before, after) in pushes {
        let (status, answer) = world.hook(Forge::Github, "lib", Some(before), after, &after.to_string()).await;
        assert_eq!((status, answer["status"].as_str()), (200, Some("duplicate")), "{answer}");
    }
    let first_bump = world.in_bare("app", &["rev-list", "--reverse", "main"]);
    let first_bump = first_bump.lines().nth(1).unwrap().parse().unwrap();
    let (status, _) = world.hook(Forge::Github, "app", None, first_bump, "our own commit of long ago").await;
    assert_eq!(status, 202);
    assert_eq!(world.settled().await.len(), 4, "our own commit concerns nobody who was not in its plan");
    assert_eq!(world.head("app"), own);
    assert_eq!(world.call(&["deliveries", "--limit", "20"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_jobs_and_killed_daemons_left_is_swept_and_nothing_else() {
    let world = lib_and_app().await;
    world.push("lib", &[("n", "1")]).await;
    world.settled().await;
    let file = |name: &str| {
        let path = world.path("state").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, [b'x'; 5000]).unwrap();
        path
    };
    let gone = [
        file("work/1jq3m8x2k4a0c-000/clone/file"),
        file("work/not-a-job"),
        file("mirrors/example.com++x.git.new/HEAD"),
        file("mirrors/example.com++x.git.broken/HEAD"),
        file("logs/0000000000001-000/build.1"),
        file("builds/0000000000001-000.new"),
    ];
    let young = file("address.new");
    let kept = [file("notes.txt"), file("logs/README"), young];
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    std::fs::File::options().write(true).open(&gone[5]).unwrap().set_modified(old).unwrap();
    let logs = world.names("state/logs").len();
    let round = world.gc(&[]).await;
    assert_eq!(kind(&round, "work")["count"], 2, "{round:#}");
    assert_eq!(kind(&round, "leftovers")["count"], 3, "{round:#}");
    assert_eq!(kind(&round, "logs")["count"], 1, "{round:#}");
    assert!(gone.iter().all(|path| !path.exists()), "{round:#}");
    assert!(kept.iter().all(|path| path.exists()), "{round:#}");
    assert_eq!(world.names("state/logs").len(), logs - 1);
    assert_eq!(world.deploy_to_the_end("app").await["state"], "unchanged");
}

/// What a crash in the middle of upkeep leaves is taken up by the next round: nothing is half gone, nothing leaks.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_forgetting_the_next_round_finishes_it() {
    let mut world = lib_and_app().await;
    let mut pushes = Vec::new();
    for n in 0..5 {
        let before = world.head("lib");
        pushes.push((before, world.push("lib", &[("n", &n.to_string())]).await));
        world.settled().await;
    }
    world.kill();
    // What a commit says that belongs to a forgotten job is written with the job's deletion, and with nothing else.
    for side in ["before", "after"] {
        world.env = vec![("AIRPLANES_CRASH_AT".to_owned(), format!("\"past\":{{:{side}"))];
        world.start().await;
        let (status, answer) = world.post("/gc").await;
        assert_eq!(status, 202, "{answer}");
        let died = async || (!is_alive(&world.daemon.as_ref()?.id().to_string())).then_some(());
        world.until("it is killed", died).await;
        world.kill();
    }
    world.env.clear();
    world.start().await;
    let jobs = world.settled().await;
    let logs = world.names("state/logs").len();
    assert!((4..10).contains(&jobs.len()) && logs >= jobs.len(), "{} jobs, {logs} logs", jobs.len());
    world.gc(&[]).await;
    let jobs = world.settled().await;
    assert_eq!(jobs.len(), 4);
    for job in &jobs {
        assert_eq!(job["state"], "succeeded", "{job:#}");
    }
    for (before, after) in pushes {
        let (status, answer) = world.hook(Forge::Github, "lib", Some(before), after, &after.to_string()).await;
        assert_eq!((status, answer["status"].as_str()), (200, Some("duplicate")), "{answer}");
    }
    // Logs of jobs that went in the moment before the kill: once they are older than :days.
    let orphans = world.names("state/logs").len() - jobs.len();
    world.edit("config.edn", ":days 90", ":days 0");
    let swept = async || {
        world.gc(&[]).await;
        let (logs, jobs) = (world.names("state/logs").len(), world.settled().await.len());
        (logs == jobs && jobs == 2).then_some(())
    };
    world.until("only the last job of each app and its logs are left", swept).await;
    assert!(orphans > 0, "the kill came before a log was left without its job");
}
