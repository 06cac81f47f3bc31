//! What a rollout does on a host, with real git through a real sshd.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use airplanes::host::{Brought, Check, Error, MarkerState, Remote, Restart, Source};
use airplanes::model::{Branch, RepoUrl, Sha};
use tokio_util::sync::CancellationToken;

use super::{Site, site};

/// A host, a remote with two commits, and where the app's clone goes on the host.
pub(super) struct Shop {
    pub(super) site: Site,
    pub(super) first: Sha,
    pub(super) second: Sha,
    pub(super) cancel: CancellationToken,
}

pub(super) fn git(at: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(at)
        .args(["-c", "user.name=t", "-c", "user.email=t@x", "-c", "init.defaultBranch=main"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Shop {
    pub(super) fn new(last: u8) -> Self {
        let site = site(last);
        let folder = site.folder.path();
        let dev = folder.join("dev");
        std::fs::create_dir_all(dev.join("src")).unwrap();
        git(folder, &["init", "-q", "--bare", "remote.git"]);
        git(&dev, &["init", "-q"]);
        let write = |name: &str, text: &str| std::fs::write(dev.join(name), text).unwrap();
        write("deps.edn", "{:deps {}}\n");
        write("src/core clj.clj", &"(ns core)\n".repeat(500));
        write("gone.txt", "to be deleted\n");
        git(&dev, &["add", "-A"]);
        git(&dev, &["commit", "-qm", "one"]);
        let first = git(&dev, &["rev-parse", "HEAD"]).parse().unwrap();
        write("deps.edn", "{:deps {a/b {}}}\n");
        write("src/new ünï.clj", &"(ns new)\n".repeat(500));
        std::fs::remove_file(dev.join("gone.txt")).unwrap();
        git(&dev, &["add", "-A"]);
        git(&dev, &["commit", "-qm", "two"]);
        let second = git(&dev, &["rev-parse", "HEAD"]).parse().unwrap();
        let remote = folder.join("remote.git");
        git(&dev, &["push", "-q", remote.to_str().unwrap(), "HEAD:main"]);
        Self { site, first, second, cancel: CancellationToken::new() }
    }
    pub(super) fn at(&self) -> PathBuf {
        self.site.folder.path().join("srv/the app")
    }
    pub(super) fn path(&self) -> String {
        self.at().to_str().unwrap().to_owned()
    }
    fn git(&self, args: &[&str]) -> String {
        git(&self.at(), args)
    }
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.at().join(name), text).unwrap();
    }
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.at().join(name)).unwrap()
    }
    fn mark(&self, sha: &Sha, from: &Sha) {
        let text = format!("{{\"sha\":\"{sha}\",\"state\":\"moving\",\"from\":\"{from}\"}}\n");
        self.write(".git/airplanes.json", &text);
    }
    pub(super) async fn with<T>(&self, work: impl AsyncFnOnce(&mut Remote<'_>) -> T) -> (T, String) {
        let mut said = Vec::new();
        let mut log = |bytes: &[u8]| said.extend_from_slice(bytes);
        let result = work(&mut Remote {
            hosts: &self.site.hosts,
            host: &self.site.host,
            timeout: Duration::from_secs(60),
            cancel: &self.cancel,
            log: &mut log,
        })
        .await;
        (result, String::from_utf8(said).unwrap())
    }
    async fn bring(&self, sha: &Sha, ours: &[Sha]) -> Result<Brought, Error> {
        self.bring_of(sha, Source::Origin, ours).await
    }
    pub(super) async fn bring_of(&self, sha: &Sha, source: Source<'_>, ours: &[Sha]) -> Result<Brought, Error> {
        let url = RepoUrl::new(self.site.folder.path().join("remote.git").to_str().unwrap()).unwrap();
        let branch = Branch::new("main").unwrap();
        let (brought, said) =
            self.with(async |remote| remote.bring(&self.path(), &url, &branch, sha, source, ours).await).await;
        if let Err(error) = &brought {
            println!("{error}\n{said}");
        }
        brought
    }
    pub(super) async fn observe(&self) -> airplanes::host::HostState {
        self.with(async |remote| remote.observe(&self.path(), None).await.unwrap()).await.0
    }
    /// That the tree is exactly the commit, on its branch, and the marker is about it.
    pub(super) async fn assert_at(&self, sha: &Sha) {
        let state = self.observe().await;
        assert_eq!(
            (state.head, state.branch.as_deref(), state.changed.len()),
            (Some(*sha), Some("main"), 0),
            "{state:?}"
        );
        assert_eq!(state.marker.map(|marker| marker.sha), Some(*sha));
        assert_eq!(self.git(&["status", "--porcelain"]), "");
    }
    fn check<'a>(&self, path: &'a str, sha: &'a Sha, health: Option<&'a str>) -> Check<'a> {
        let (timeout, stable) = (Duration::from_secs(3), Duration::from_millis(300));
        Check { working_directory: path, sha, unit: None, health, timeout, stable }
    }
}

#[tokio::test]
async fn an_absent_folder_is_cloned_and_then_moved_from_commit_to_commit() {
    let shop = Shop::new(30);
    let state = shop.observe().await;
    assert!(!state.exists && !state.is_git && state.head.is_none());
    assert_eq!(shop.bring(&shop.first, &[]).await.unwrap(), Brought { from: None, moved: true });
    shop.assert_at(&shop.first).await;
    assert_eq!(shop.observe().await.marker.unwrap().state, MarkerState::Moving);
    assert_eq!(shop.git(&["rev-parse", "--abbrev-ref", "main@{upstream}"]), "origin/main");
    assert_eq!(shop.bring(&shop.second, &[]).await.unwrap(), Brought { from: Some(shop.first), moved: true });
    shop.assert_at(&shop.second).await;
    assert!(!shop.at().join("gone.txt").exists());
    // Again, and back: the marker knows that the second is ours.
    assert_eq!(shop.bring(&shop.second, &[]).await.unwrap(), Brought { from: Some(shop.second), moved: false });
    assert_eq!(shop.bring(&shop.first, &[]).await.unwrap(), Brought { from: Some(shop.second), moved: true });
    shop.assert_at(&shop.first).await;
}

#[tokio::test]
async fn an_empty_folder_is_cloned_into_and_one_with_files_is_left_alone() {
    let shop = Shop::new(31);
    std::fs::create_dir_all(shop.at()).unwrap();
    shop.write("config.edn", "precious");
    let error = shop.bring(&shop.first, &[]).await.unwrap_err();
    assert!(matches!(error, Error::NotGit { .. }), "{error}");
    assert_eq!(shop.read("config.edn"), "precious");
    std::fs::remove_file(shop.at().join("config.edn")).unwrap();
    shop.bring(&shop.first, &[]).await.unwrap();
    shop.assert_at(&shop.first).await;
}

#[tokio::test]
async fn files_that_were_only_touched_are_no_change() {
    let shop = Shop::new(58);
    shop.bring(&shop.first, &[]).await.unwrap();
    for name in shop.git(&["ls-files", "-z"]).split_terminator('\0') {
        let file = std::fs::File::options().append(true).open(shop.at().join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
    }
    shop.bring(&shop.second, &[]).await.unwrap();
    shop.assert_at(&shop.second).await;
}

#[tokio::test]
async fn changed_tracked_files_are_named_and_kept() {
    let shop = Shop::new(32);
    shop.bring(&shop.first, &[]).await.unwrap();
    shop.write("deps.edn", "{:mine true}\n");
    shop.write("src/core clj.clj", "mine too");
    let error = shop.bring(&shop.second, &[]).await.unwrap_err();
    let Error::Changed { files, .. } = &error else { panic!("{error}") };
    assert_eq!(files, &["deps.edn", "src/core clj.clj"]);
    assert!(error.to_string().contains("deps.edn, src/core clj.clj"), "{error}");
    assert_eq!(shop.read("deps.edn"), "{:mine true}\n");
    assert_eq!(shop.observe().await.changed, ["deps.edn", "src/core clj.clj"]);
    // So too if they are only in the index.
    shop.git(&["checkout", "-q", "--", "."]);
    shop.write("deps.edn", "{:staged true}\n");
    shop.git(&["add", "deps.edn"]);
    shop.write("deps.edn", "{:deps {}}\n");
    let error = shop.bring(&shop.second, &[]).await.unwrap_err();
    assert!(matches!(&error, Error::Changed { files, .. } if files == &["deps.edn"]), "{error}");
}

#[tokio::test]
async fn an_untracked_file_in_the_way_is_named_and_kept_and_others_do_not_matter() {
    let shop = Shop::new(33);
    shop.bring(&shop.first, &[]).await.unwrap();
    shop.write("src/new ünï.clj", "mine");
    shop.write("app.jar", "built here");
    // An ignored one is no less in the way.
    shop.write(".git/info/exclude", "*.clj\n");
    let error = shop.bring(&shop.second, &[]).await.unwrap_err();
    let Error::InTheWay { files, .. } = &error else { panic!("{error}") };
    assert_eq!(files, &["src/new ünï.clj"]);
    assert_eq!(shop.read("src/new ünï.clj"), "mine");
    assert_eq!(shop.observe().await.head, Some(shop.first));
    std::fs::remove_file(shop.at().join("src/new ünï.clj")).unwrap();
    shop.bring(&shop.second, &[]).await.unwrap();
    assert_eq!(shop.read("app.jar"), "built here");
}

#[tokio::test]
async fn a_commit_made_on_the_host_is_named_and_kept_unless_it_is_one_of_ours() {
    let shop = Shop::new(34);
    shop.bring(&shop.first, &[]).await.unwrap();
    shop.write("deps.edn", "{:hotfix true}\n");
    shop.git(&["commit", "-qam", "hotfix at night"]);
    let there: Sha = shop.git(&["rev-parse", "HEAD"]).parse().unwrap();
    let error = shop.bring(&shop.second, &[]).await.unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&there.to_string()) && text.contains(&shop.second.to_string()), "{text}");
    assert!(text.contains("hotfix at night"), "{text}");
    assert_eq!(shop.observe().await.head, Some(there));
    // Told that we put it there (upstream's history was rewritten since), it goes.
    shop.bring(&shop.second, &[shop.first, there]).await.unwrap();
    shop.assert_at(&shop.second).await;
}

#[tokio::test]
async fn a_detached_head_stays_detached() {
    let shop = Shop::new(35);
    shop.bring(&shop.first, &[]).await.unwrap();
    shop.git(&["checkout", "-q", "--detach"]);
    shop.bring(&shop.second, &[]).await.unwrap();
    let state = shop.observe().await;
    assert_eq!((state.head, state.branch), (Some(shop.second), None));
}

#[tokio::test]
async fn an_unknown_commit_and_a_remote_that_cannot_be_read_are_told_apart() {
    let shop = Shop::new(36);
    let nowhere: Sha = "2455d6ab00000000000000000000000000000001".parse().unwrap();
    let error = shop.bring(&nowhere, &[]).await.unwrap_err();
    assert!(matches!(error, Error::NoCommit { .. }), "{error}");
    let remote = shop.site.folder.path().join("remote.git");
    std::fs::rename(&remote, shop.site.folder.path().join("away.git")).unwrap();
    let error = shop.bring(&nowhere, &[]).await.unwrap_err();
    assert!(matches!(error, Error::Fetch { .. }) && error.is_retryable(), "{error}");
    assert!(error.to_string().contains("remote.git"), "{error}");
}

#[tokio::test]
async fn lock_files_of_a_killed_git_are_swept_but_not_under_a_git_at_work() {
    let shop = Shop::new(37);
    shop.bring(&shop.first, &[]).await.unwrap();
    shop.write(".git/index.lock", "");
    shop.write(".git/refs/heads/main.lock", "");
    // A git at work there: it waits for its input.
    let mut busy = Command::new("git")
        .args(["cat-file", "--batch"])
        .current_dir(shop.at())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (result, ()) = tokio::join!(shop.bring(&shop.second, &[]), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(shop.at().join(".git/index.lock").exists());
        busy.kill().unwrap();
        busy.wait().unwrap();
    });
    result.unwrap();
    shop.assert_at(&shop.second).await;
}

/// Every state that a killed `git reset --keep` (or the power) can leave behind ends at the wanted commit.
#[tokio::test]
async fn a_move_that_was_interrupted_anywhere_is_ended_by_the_next_run() {
    let shop = Shop::new(38);
    shop.bring(&shop.first, &[]).await.unwrap();
    let new = "(ns new)\n".repeat(500);
    let interrupted: [(&str, &dyn Fn()); 7] = [
        ("only the marker is written", &|| ()),
        ("a deleted file is gone already", &|| std::fs::remove_file(shop.at().join("gone.txt")).unwrap()),
        ("a new file is half written", &|| shop.write("src/new ünï.clj", &new[..700])),
        ("a file is unlinked and not yet written", &|| std::fs::remove_file(shop.at().join("deps.edn")).unwrap()),
        ("all files are there, the index is not", &|| {
            shop.write("src/new ünï.clj", &new);
            shop.write("deps.edn", "{:deps {a/b {}}}\n");
            std::fs::remove_file(shop.at().join("gone.txt")).unwrap();
            shop.write(".git/index.lock", "half an index");
        }),
        ("files and index are there, HEAD is not", &|| {
            shop.git(&["reset", "-q", "--hard", &shop.second.to_string()]);
            shop.git(&["update-ref", "HEAD", &shop.first.to_string()]);
            shop.write(".git/refs/heads/main.lock", "");
        }),
        ("the power took a file's bytes after HEAD had moved", &|| {
            shop.git(&["reset", "-q", "--hard", &shop.second.to_string()]);
            shop.write("src/new ünï.clj", "");
        }),
    ];
    for (what, interrupt) in interrupted {
        shop.git(&["reset", "-q", "--hard", &shop.first.to_string()]);
        shop.git(&["clean", "-qfd"]);
        shop.mark(&shop.second, &shop.first);
        interrupt();
        println!("{what}");
        let brought = shop.bring(&shop.second, &[]).await.unwrap();
        assert!(brought.moved || brought.from == Some(shop.second), "{what}: {brought:?}");
        shop.assert_at(&shop.second).await;
        assert_eq!(shop.read("src/new ünï.clj"), new, "{what}");
        assert!(!shop.at().join("gone.txt").exists());
    }
}

/// SIGKILL to all that runs on the host, later and later in a move over many files, until the move is faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_killed_at_any_moment_is_ended_by_the_next_run() {
    let shop = Shop::new(44);
    let dev = shop.site.folder.path().join("dev");
    for n in 0..600 {
        std::fs::write(dev.join(format!("src/f{n}.clj")), format!("(ns f{n})\n").repeat(300)).unwrap();
    }
    git(&dev, &["add", "-A"]);
    git(&dev, &["commit", "-qm", "many"]);
    let many: Sha = git(&dev, &["rev-parse", "HEAD"]).parse().unwrap();
    git(&dev, &["push", "-q", shop.site.folder.path().join("remote.git").to_str().unwrap(), "HEAD:main"]);
    let (mut goals, mut killed) = ([many, shop.first].into_iter().cycle(), 0);
    shop.bring(&shop.first, &[]).await.unwrap();
    for n in 0..16 {
        let goal = goals.next().unwrap();
        // Connected before, so that what is killed is the move.
        shop.observe().await;
        let (result, ()) = tokio::join!(shop.bring(&goal, &[]), async {
            tokio::time::sleep(Duration::from_millis(n * 25)).await;
            shop.site.sshd.drop_connections();
        });
        match result {
            Ok(_) if n < 6 => continue, // killed before it had begun
            Ok(_) => break,
            Err(error) => assert!(error.is_unreachable(), "{error}"),
        }
        killed += 1;
        shop.bring(&goal, &[]).await.unwrap();
        shop.assert_at(&goal).await;
    }
    assert!(killed > 2, "{killed}");
}

#[tokio::test]
async fn a_change_by_hand_survives_an_interrupted_move() {
    let shop = Shop::new(39);
    shop.bring(&shop.first, &[]).await.unwrap();
    shop.mark(&shop.second, &shop.first);
    shop.write("src/new ünï.clj", "(ns new)\n");
    shop.write("deps.edn", "{:mine true}\n");
    let error = shop.bring(&shop.second, &[]).await.unwrap_err();
    assert!(matches!(&error, Error::Changed { files, .. } if files == &["deps.edn"]), "{error}");
    assert_eq!(shop.read("deps.edn"), "{:mine true}\n");
}

#[tokio::test]
async fn a_move_that_a_full_disk_cut_off_is_undone_where_the_host_goes_back_and_needs_no_room() {
    let shop = Shop::new(45);
    shop.bring(&shop.first, &[]).await.unwrap();
    shop.mark(&shop.second, &shop.first);
    shop.write("src/new ünï.clj", "(ns new)\n(ns");
    shop.write("deps.edn", "{:deps");
    shop.bring(&shop.first, &[]).await.unwrap();
    shop.assert_at(&shop.first).await;
    assert!(!shop.at().join("src/new ünï.clj").exists());
    let reflog = shop.git(&["reflog", "--format=%H"]);
    assert!(!reflog.contains(&shop.second.to_string()), "{reflog}");
}

#[tokio::test]
async fn a_clone_that_was_interrupted_anywhere_is_ended_by_the_next_run() {
    let shop = Shop::new(40);
    let interrupted: [(&str, &dyn Fn()); 4] = [
        ("the folder is made", &|| ()),
        ("git init was killed", &|| std::fs::create_dir_all(shop.at().join(".git/refs")).unwrap()),
        ("nothing is fetched", &|| drop(shop.git(&["init", "-q", "."]))),
        ("half is checked out", &|| {
            shop.git(&["init", "-q", "."]);
            let remote = shop.site.folder.path().join("remote.git");
            shop.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
            shop.git(&["fetch", "-q", "origin"]);
            shop.write(".git/airplanes.json", &format!("{{\"sha\":\"{}\",\"state\":\"moving\"}}\n", shop.second));
            std::fs::create_dir_all(shop.at().join("src")).unwrap();
            shop.write("deps.edn", "{:deps {a");
            shop.write("src/new ünï.clj", "(ns new)\n");
        }),
    ];
    for (what, interrupt) in interrupted {
        std::fs::remove_dir_all(shop.at()).ok();
        std::fs::create_dir_all(shop.at()).unwrap();
        interrupt();
        println!("{what}");
        shop.bring(&shop.second, &[]).await.unwrap();
        shop.assert_at(&shop.second).await;
        assert_eq!(shop.git(&["rev-parse", "--abbrev-ref", "main@{upstream}"]), "origin/main");
    }
}

#[tokio::test]
async fn a_rollout_is_live_only_after_verification_and_the_marker_survives_another_run() {
    let shop = Shop::new(41);
    shop.bring(&shop.first, &[]).await.unwrap();
    let path = shop.path();
    assert!(!shop.observe().await.is_live_at(&shop.first));
    let (verified, _) = shop.with(async |remote| remote.verify(&shop.check(&path, &shop.first, None)).await).await;
    verified.unwrap();
    assert!(shop.observe().await.is_live_at(&shop.first));
    let brought = shop.bring(&shop.first, &[]).await.unwrap();
    assert!(!brought.moved && shop.observe().await.is_live_at(&shop.first));
    // The wrong commit is said at once, and never marked.
    let (verified, _) = shop.with(async |remote| remote.verify(&shop.check(&path, &shop.second, None)).await).await;
    assert!(matches!(verified, Err(Error::WrongSha { .. })), "{verified:?}");
    let (marked, _) = shop.with(async |remote| remote.mark_live(&path, &shop.second).await).await;
    assert!(matches!(marked, Err(Error::WrongSha { .. })), "{marked:?}");
}

#[tokio::test]
async fn health_is_asked_on_the_host_until_it_is_good_and_stays_good() {
    let shop = Shop::new(42);
    shop.bring(&shop.first, &[]).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.42:0").await.unwrap();
    let url = format!("http://{}/health", listener.local_addr().unwrap());
    // Bad twice, good twice, bad once, then good.
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for n in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1000];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /health "));
            let status = if matches!(n, 0 | 1 | 4) { "503 Not Yet" } else { "200 OK" };
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
        }
    });
    let path = shop.path();
    let check = shop.check(&path, &shop.first, Some(&url));
    let patient = Check { timeout: Duration::from_secs(30), stable: Duration::from_secs(2), ..check.clone() };
    let (verified, said) = shop.with(async |remote| remote.verify(&patient).await).await;
    verified.unwrap();
    assert_eq!(said.lines().map(|line| line.ends_with(": 503")).collect::<Vec<_>>(), [true, false, true, false]);
    server.abort();
    let _ = server.await;
    let (verified, _) = shop.with(async |remote| remote.verify(&check).await).await;
    let error = verified.unwrap_err();
    assert!(matches!(error, Error::Unhealthy { .. }) && error.to_string().contains(&url), "{error}");
}

#[tokio::test]
async fn the_apps_own_restart_command_runs_in_its_folder_and_says_how_it_failed() {
    let shop = Shop::new(43);
    shop.bring(&shop.first, &[]).await.unwrap();
    let path = shop.path();
    let restart = Restart::Command("echo \"it's $1 in $(pwd)\"; ls deps.edn >../seen".into());
    let (restarted, said) = shop.with(async |remote| remote.restart(&path, &restart, None).await).await;
    assert!(restarted.unwrap().done);
    assert!(said.contains(&format!("it's  in {path}")), "{said}");
    assert_eq!(std::fs::read_to_string(shop.at().join("../seen")).unwrap(), "deps.edn\n");
    let restart = Restart::Command("echo no such program >&2; exit 3".into());
    let (restarted, _) = shop.with(async |remote| remote.restart(&path, &restart, None).await).await;
    let text = restarted.unwrap_err().to_string();
    assert!(text.contains("exit code 3") && text.contains("no such program"), "{text}");
}
