//! The same over a real sshd: keys, host keys, hooks, races.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use airplanes::demo::sshd::{Sshd, SshdOptions};
use airplanes::git::{GitConfig, GitError, Mirrors, PushError, Pushed, WorkClone};
use airplanes::model::{RepoUrl, Sha};

use super::{bump, go, main_branch};
use crate::support::git_remote::{Repo, Scene, git};

/// A scene whose repositories are served by an sshd that runs nothing but git.
struct Served {
    scene: Scene,
    sshd: Sshd,
}

impl Served {
    fn new() -> Self {
        Self::running("git-shell -c \"$SSH_ORIGINAL_COMMAND\"")
    }
    /// Its sshd runs `command` whatever is asked.
    fn running(command: &str) -> Self {
        let scene = Scene::new();
        let mut options = SshdOptions::new(scene.path("sshd"), IpAddr::V4(Ipv4Addr::LOCALHOST));
        options.forced_command = Some(command.to_owned());
        let sshd = Sshd::start(&options).unwrap();
        Self { scene, sshd }
    }
    fn url(&self, repo: &Repo) -> RepoUrl {
        let (user, port) = (self.sshd.user(), self.sshd.address().port());
        RepoUrl::new(format!("ssh://{user}@127.0.0.1:{port}{}", repo.bare.display())).unwrap()
    }
    fn config(&self) -> GitConfig {
        let mut config = self.scene.config();
        config.known_hosts = Some(self.sshd.known_hosts());
        config.keys = [("127.0.0.1".into(), self.sshd.client_key().to_owned())].into_iter().collect();
        config
    }
    fn mirrors(&self) -> Mirrors {
        Mirrors::new(self.config()).unwrap()
    }
    /// Our commit on top of the repository's head, not pushed yet.
    async fn commit(&self, repo: &Repo) -> (Mirrors, WorkClone, Sha) {
        let mirrors = self.mirrors();
        let url = self.url(repo);
        let head = mirrors.fetch(&url, &go()).await.unwrap().heads.branches[&main_branch()];
        let clone = mirrors.clone_for_job(&url, &main_branch(), head, &self.scene.path("work")).await.unwrap();
        let ours = bump(&clone, "{:deps {a 1}}\n").await;
        (mirrors, clone, ours)
    }
}

fn keygen(path: &Path, args: &[&str]) -> PathBuf {
    let done = Command::new("ssh-keygen").args(["-q", "-N", "", "-f"]).arg(path).args(args).status().unwrap();
    assert!(done.success());
    path.to_owned()
}

#[tokio::test]
async fn fetch_and_push_work_over_ssh_with_keys_of_each_type() {
    let served = Served::new();
    let repo = served.scene.repo("app");
    let (mirrors, clone, ours) = served.commit(&repo).await;
    assert_eq!(mirrors.push(&clone, ours, &go()).await.unwrap(), Pushed::Done);
    assert_eq!(repo.at("main"), ours.to_string());
    assert_eq!(mirrors.push(&clone, ours, &go()).await.unwrap(), Pushed::AlreadyThere);
    git(&mirrors.path(&clone.url.id()), &["fsck", "--full"]);

    let authorized = served.sshd.folder().join("authorized_keys");
    for (name, args) in [("rsa", ["-t", "rsa", "-b", "2048"]), ("ecdsa", ["-t", "ecdsa", "-b", "256"])] {
        let key = keygen(&served.scene.path(name), &args);
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let all = std::fs::read_to_string(&authorized).unwrap();
        std::fs::write(
            &authorized,
            format!("{all}restrict,command=\"git-shell -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" {public}"),
        )
        .unwrap();
        let mut config = served.config();
        config.keys = [("127.0.0.1".into(), key)].into_iter().collect();
        let heads =
            Mirrors::new(config).unwrap().heads(&clone.url, &go()).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(heads.branches[&main_branch()], ours);
    }
}

#[tokio::test]
async fn a_host_that_is_not_in_known_hosts_is_refused_with_its_fingerprint() {
    let served = Served::new();
    let repo = served.scene.repo("app");
    let mut config = served.config();
    config.known_hosts = Some(served.scene.path("empty"));
    let error = Mirrors::new(config).unwrap().heads(&served.url(&repo), &go()).await.unwrap_err();
    let GitError::HostUnknown { host, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*host, format!("[127.0.0.1]:{}", served.sshd.address().port()));
    let public = served.sshd.folder().join("host_ed25519.pub");
    let shown = Command::new("ssh-keygen").arg("-lf").arg(public).output().unwrap();
    let fingerprint = String::from_utf8(shown.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned();
    assert!(error.to_string().contains(&fingerprint), "{error}");
    let scan = format!("`airplanes host trust 127.0.0.1:{}`", served.sshd.address().port());
    assert!(error.to_string().contains(&scan), "{error}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_host_whose_key_changed_is_refused_and_the_line_is_named() {
    let served = Served::new();
    let repo = served.scene.repo("app");
    let other = keygen(&served.scene.path("other"), &["-t", "ed25519"]);
    let public = std::fs::read_to_string(other.with_extension("pub")).unwrap();
    let file = served.scene.path("known_hosts");
    std::fs::write(&file, format!("# ours\n[127.0.0.1]:{} {public}", served.sshd.address().port())).unwrap();
    let mut config = served.config();
    config.known_hosts = Some(file.clone());
    let error = Mirrors::new(config).unwrap().fetch(&served.url(&repo), &go()).await.unwrap_err();
    assert!(matches!(error, GitError::HostChanged { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("{}:2", file.display())), "{error}");
}

#[tokio::test]
async fn a_known_hosts_file_that_openssh_hashed_is_read() {
    let served = Served::new();
    let repo = served.scene.repo("app");
    let file = served.scene.path("hashed");
    std::fs::copy(served.sshd.known_hosts(), &file).unwrap();
    let done = Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(&file).output().unwrap();
    assert!(done.status.success());
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("|1|"));
    let mut config = served.config();
    config.known_hosts = Some(file);
    Mirrors::new(config).unwrap().heads(&served.url(&repo), &go()).await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_and_a_missing_one_are_named_with_what_to_do() {
    let served = Served::new();
    let repo = served.scene.repo("app");
    let wrong = keygen(&served.scene.path("wrong"), &["-t", "ed25519"]);
    let locked = served.scene.path("locked");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "secret", "-f"]).arg(&locked).status();
    assert!(made.unwrap().success());
    let garbage = served.scene.path("garbage");
    std::fs::write(&garbage, "not a key\n").unwrap();
    let ask = async |key: &Path| {
        let mut config = served.config();
        config.keys = [("127.0.0.1".into(), key.to_owned())].into_iter().collect();
        let error = Mirrors::new(config).unwrap().heads(&served.url(&repo), &go()).await.unwrap_err();
        assert!(error.to_string().contains(&key.display().to_string()), "{error}");
        assert!(!error.is_retryable(), "{error:?}");
        error
    };
    let error = ask(&wrong).await;
    assert!(matches!(error, GitError::Auth { .. }), "{error:?}");
    assert!(error.to_string().contains("deploy key with write access"), "{error}");
    assert!(matches!(ask(&served.scene.path("absent")).await, GitError::Config(_)));
    assert!(matches!(ask(&locked).await, GitError::Auth { .. }));
    assert!(matches!(ask(&garbage).await, GitError::Auth { .. }));
}

#[tokio::test]
async fn the_key_of_the_longest_prefix_is_used() {
    let served = Served::new();
    let (one, two) = (served.scene.repo("one"), served.scene.repo("two"));
    let wrong = keygen(&served.scene.path("wrong"), &["-t", "ed25519"]);
    let mut config = served.config();
    let own = served.sshd.client_key().to_owned();
    config.keys = [("127.0.0.1".into(), wrong), (served.url(&one).id().to_string(), own)].into_iter().collect();
    let mirrors = Mirrors::new(config).unwrap();
    mirrors.heads(&served.url(&one), &go()).await.unwrap();
    assert!(matches!(mirrors.heads(&served.url(&two), &go()).await, Err(GitError::Auth { .. })));
}

#[tokio::test]
async fn a_repository_that_is_not_there_is_not_found() {
    let served = Served::new();
    let mut repo = served.scene.repo("app");
    repo.bare = served.scene.path("nope.git");
    let error = served.mirrors().fetch(&served.url(&repo), &go()).await.unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_by_a_hook_is_told_in_its_own_words() {
    for hook in ["pre-receive", "update"] {
        let served = Served::new();
        let repo = served.scene.repo("app");
        let head = repo.at("main");
        repo.hook(hook, "#!/bin/sh\necho 'GL-HOOK-ERR: main is protected, ask Anna' >&2\nexit 1\n");
        let (mirrors, clone, ours) = served.commit(&repo).await;
        let error = mirrors.push(&clone, ours, &go()).await.unwrap_err();
        assert!(matches!(error, PushError::Refused { .. }), "{error:?}");
        assert!(!error.is_retryable());
        let words = error.to_string();
        assert!(words.contains("main is protected, ask Anna") && words.contains("declined"), "{words}");
        assert_eq!(repo.at("main"), head);
    }
}

#[tokio::test]
async fn a_remote_that_takes_no_rewriting_still_takes_a_fast_forward() {
    let served = Served::new();
    let repo = served.scene.repo("app");
    git(&repo.bare, &["config", "receive.denyNonFastForwards", "true"]);
    let (mirrors, clone, ours) = served.commit(&repo).await;
    let theirs = repo.pushes("more", "x");
    assert!(matches!(mirrors.push(&clone, ours, &go()).await,
        Err(PushError::Faster { head: Some(head), .. }) if head == theirs));
    assert_eq!(repo.at("main"), theirs.to_string());
}

#[tokio::test]
async fn someone_who_pushes_between_our_look_and_our_push_wins_and_nothing_is_lost() {
    let served = Served::new();
    let repo = served.scene.repo("app");
    let (mirrors, clone, ours) = served.commit(&repo).await;
    let theirs = repo.commits("more", "x");
    git(&repo.person, &["push", "-q", "origin", "HEAD:refs/heads/aside"]);
    // The hook runs after the remote has told us its head, and moves the branch before ours is written.
    repo.hook(
        "pre-receive",
        &format!("#!/bin/sh\nunset GIT_QUARANTINE_PATH\ngit update-ref refs/heads/main {theirs}\n"),
    );
    let error = mirrors.push(&clone, ours, &go()).await.unwrap_err();
    let PushError::Faster { head, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*head, Some(theirs));
    assert_eq!(repo.at("main"), theirs.to_string());
}

#[tokio::test]
async fn of_two_who_push_at_once_one_wins_and_the_other_is_told() {
    let served = Served::new();
    let repo = served.scene.repo("app");
    let mirrors = served.mirrors();
    let url = served.url(&repo);
    let head = mirrors.fetch(&url, &go()).await.unwrap().heads.branches[&main_branch()];
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..4 {
        let dir = served.scene.path(&format!("work{i}"));
        let clone = mirrors.clone_for_job(&url, &main_branch(), head, &dir).await.unwrap();
        let ours = bump(&clone, &format!("{{:deps {{a {i}}}}}\n")).await;
        let mirrors = mirrors.clone();
        tasks.spawn(async move { (ours, mirrors.push(&clone, ours, &go()).await) });
    }
    let mut won = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (ours, Ok(Pushed::Done)) => won.push(ours),
            (_, Err(PushError::Faster { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(repo.at("main"), won[0].to_string());
}

#[tokio::test]
async fn what_a_forge_says_when_it_shuts_the_door_is_understood() {
    for (said, auth) in [
        ("ERROR: Repository not found.", false),
        ("ERROR: The key you are authenticating with has been marked as read only.", true),
        ("remote: GitLab: You are not allowed to push code to this project.", true),
        ("ERROR: Permission to acme/lib.git denied to deploy key", true),
    ] {
        let served = Served::running(&format!("echo '{said}' >&2; exit 1"));
        let repo = served.scene.repo("app");
        let error = served.mirrors().heads(&served.url(&repo), &go()).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(matches!(error, GitError::Auth { .. }), auth, "{error:?}");
        assert_eq!(matches!(error, GitError::NotFound { .. }), !auth, "{error:?}");
    }
}

#[tokio::test]
async fn a_host_known_by_another_type_of_key_is_unknown_with_the_types_named() {
    let served = Served::new();
    let repo = served.scene.repo("app");
    let other = keygen(&served.scene.path("other"), &["-t", "rsa", "-b", "2048"]);
    let public = std::fs::read_to_string(other.with_extension("pub")).unwrap();
    let file = served.scene.path("known_hosts");
    std::fs::write(&file, format!("[127.0.0.1]:{} {public}", served.sshd.address().port())).unwrap();
    let error = Mirrors::new(served.scene.config()).unwrap().heads(&served.url(&repo), &go()).await.unwrap_err();
    assert!(matches!(error, GitError::HostUnknown { .. }), "{error:?}");
    assert!(error.to_string().contains("only its ssh-rsa"), "{error}");
}

/// With nothing configured: the agent is tried, then the user's own keys; `~/.ssh/known_hosts` is asked.
#[test]
fn with_no_key_configured_the_daemon_users_own_are_tried() {
    let served = Served::new();
    let repo = served.scene.repo("app");
    let home = served.scene.path("home");
    std::fs::create_dir_all(home.join(".ssh")).unwrap();
    std::fs::copy(served.sshd.known_hosts(), home.join(".ssh/known_hosts")).unwrap();
    let ask = |sock: Option<&Path>| {
        let mut own = Command::new(std::env::current_exe().unwrap());
        own.args(["--ignored", "--exact", "git::over_ssh::in_a_process_of_its_own"])
            .env("HOME", &home)
            .env("AIRPLANES_TEST_URL", served.url(&repo).as_str())
            .env_remove("SSH_AUTH_SOCK");
        if let Some(sock) = sock {
            own.env("SSH_AUTH_SOCK", sock);
        }
        let output = own.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (came, said) = ask(None);
    assert!(!came && said.contains("no key is configured") && said.contains(":git :keys"), "{said}");

    // An agent that has no key of use, then one that has.
    let sock = served.scene.path("agent");
    let mut agent = Command::new("ssh-agent").arg("-D").arg("-a").arg(&sock).stdout(Stdio::null()).spawn().unwrap();
    let began = std::time::Instant::now();
    while std::os::unix::net::UnixStream::connect(&sock).is_err() && began.elapsed().as_secs() < 10 {
        std::thread::yield_now();
    }
    let add = |key: &Path| {
        let done = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &sock).status().unwrap();
        assert!(done.success());
    };
    let empty_agent = ask(Some(&sock));
    add(&keygen(&served.scene.path("useless"), &["-t", "ed25519"]));
    let useless_agent = ask(Some(&sock));
    add(served.sshd.client_key());
    let agent_alone = ask(Some(&sock));
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(!empty_agent.0 && empty_agent.1.contains("no key is configured"), "{}", empty_agent.1);
    assert!(!useless_agent.0 && useless_agent.1.contains("no key is configured"), "{}", useless_agent.1);
    assert!(agent_alone.0, "{}", agent_alone.1);

    std::fs::copy(served.sshd.client_key(), home.join(".ssh/id_ed25519")).unwrap();
    let (came, said) = ask(None);
    assert!(came, "{said}");
    keygen(&home.join(".ssh/id_rsa"), &["-t", "rsa", "-b", "2048"]);
    assert!(ask(Some(&sock)).0, "a dead agent is passed over");
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn in_a_process_of_its_own() {
    let mut config = Scene::new().config();
    config.known_hosts = None;
    let url = RepoUrl::new(std::env::var("AIRPLANES_TEST_URL").unwrap()).unwrap();
    let heads = Mirrors::new(config).unwrap().heads(&url, &go()).await.unwrap_or_else(|e| panic!("{e}"));
    assert!(heads.branches.contains_key(&main_branch()));
}
