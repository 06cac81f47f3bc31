//! What leaves for the remotes and what comes from them: others who push, remotes that refuse, one repository under
//! many urls and under many apps, and dependencies that a build needs.

use std::os::unix::fs::PermissionsExt;

use airplanes::model::{Forge, RepoUrl};

use super::super::support::world::{World, git};
use super::{quick, reason};

/// A shell command by which a person changes a repository, once, in the middle of a build.
fn a_person_pushes(repo: &str, change: &str) -> String {
    format!(
        "mkdir {{dir}}/once 2>/dev/null || exit 0; cd {{dir}}/people/{repo}; {change}; git add -A; \
         git -c user.name=Anna -c user.email=anna@example.com commit -q --allow-empty -m theirs; git push -q origin HEAD:main"
    )
}

async fn app_with_build(build: &str) -> World {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(&format!(
        r#":app {{:git-url "{{repo:app}}" :update? true
                  :build [{{:name "count" :run "echo built >> {{dir}}/builds"}} {{:name "race" :run "{build}"}}]}}"#
    ));
    world.start().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_was_faster_loses_nothing_and_our_bump_is_built_again_on_top() {
    let world = app_with_build(&a_person_pushes("app", "echo theirs > theirs.txt")).await;
    let new = world.push("lib", &[("x", "1")]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(world.file("app", "theirs.txt"), "theirs");
    assert!(world.file("app", "deps.edn").contains(&new.to_string()));
    assert_eq!(world.in_bare("app", &["log", "--format=%s", "main"]), "Update acme/lib\ntheirs\na person's change");
    assert_eq!(std::fs::read_to_string(world.path("builds")).unwrap().lines().count(), 2);
    assert_eq!(job["sha"], world.head("app").to_string());
    assert_eq!(job["previous_sha"], world.in_bare("app", &["rev-parse", "main^"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_built_already_is_not_built_again_on_a_faster_person_s_head_with_the_same_tree() {
    let world = app_with_build(&a_person_pushes("app", "true")).await;
    world.push("lib", &[("x", "1")]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(world.in_bare("app", &["log", "--format=%s", "main"]), "Update acme/lib\ntheirs\na person's change");
    assert_eq!(std::fs::read_to_string(world.path("builds")).unwrap().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_of_one_repository_share_one_commit_and_never_wait_for_each_other_in_a_circle() {
    let mut world = quick();
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("mono", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    // As many as there are slots, and one more; whoever builds first is overtaken by a person.
    let apps = ["one", "two", "three"];
    let build = a_person_pushes("mono", "echo theirs > theirs.txt");
    let entries = apps.map(|app| {
        format!(
            r#":{app} {{:git-url "{{repo:mono}}" :update? true
                        :build [{{:name "note" :run "git rev-parse HEAD >> {{dir}}/built-{app}"}} {{:name "race" :run "{build}"}}]}}"#
        )
    });
    world.deploy_edn(&entries.join("\n"));
    world.start().await;
    let new = world.push("lib", &[("x", "1")]).await;
    let jobs = world.settled().await;
    assert_eq!(jobs.len(), 3, "{jobs:#?}");
    assert!(jobs.iter().all(|job| job["state"] == "succeeded"), "{jobs:#?}");
    assert!(world.file("mono", "deps.edn").contains(&new.to_string()));
    assert_eq!(world.in_bare("mono", &["log", "--format=%s", "main"]), "Update acme/lib\ntheirs\na person's change");
    let bumped = jobs.iter().filter(|job| !job["bumps"].as_array().unwrap().is_empty()).count();
    assert_eq!(bumped, 1, "one commit for all of them");
    for app in apps {
        let built = std::fs::read_to_string(world.path(&format!("built-{app}"))).unwrap();
        assert_eq!(built.lines().last().unwrap(), world.head("mono").to_string(), "{app} was built at the commit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_s_refusal_ends_the_job_at_once_in_its_words_and_nothing_is_rolled_out() {
    let mut world = World::new(1);
    let lib = world.commit("lib", &[("deps.edn", "{}")]);
    let old = world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(
        r#":app {:git-url "{repo:app}" :update? true :build "true" :working-directory "{dir}/srv/{host}"
                 :hosts [:web-1] :restart "touch ../restarted"}"#,
    );
    world.clone_to_hosts("app");
    let hook = world.path("repos/app.git/hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho 'policy 7: no robots on main' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.start().await;

    world.push("lib", &[("x", "1")]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "failed", "{job:#}");
    assert!(reason(&job).contains("policy 7: no robots on main"), "{job:#}");
    let publish = job["steps"].as_array().unwrap().iter().find(|s| s["name"] == "publish").unwrap();
    assert_eq!((&publish["state"], &publish["attempt"]), (&"failed".into(), &1.into()), "not tried again");
    assert_eq!(world.head("app"), old);
    assert_eq!(git(&world.path("srv/web-1"), &["rev-parse", "HEAD"]), old.to_string());
    assert!(!world.path("srv/restarted").exists());
    assert_eq!(job["hosts"][0]["state"], "skipped");

    // Without the rule, the same delivery gets it through.
    std::fs::remove_file(hook).unwrap();
    let new = world.head("lib");
    let (status, answer) = world.hook(Forge::Github, "lib", Some(lib), new, &new.to_string()).await;
    assert_eq!(status, 202, "{answer}");
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert!(world.path("srv/restarted").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_is_no_app_is_one_repository_under_all_forms_of_its_url() {
    let mut world = World::new(0);
    let mut lib = world.commit("lib", &[("deps.edn", "{}")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    world.deploy_edn(":app {:git-url \"{repo:app}\" :update? true}");
    world.start().await;
    let path = world.path("repos/lib").display().to_string();
    let path = path.trim_start_matches('/');
    let forms = [
        (Forge::Github, format!("https://127.0.0.2/{path}.git")),
        (Forge::Gitlab, format!("https://127.0.0.2/{path}/")),
        (Forge::Gitea, format!("git@127.0.0.2:{path}.git")),
        (Forge::Bitbucket, format!("https://127.0.0.2:8443/{path}")),
    ];
    for (forge, url) in forms {
        let new = world.commit("lib", &[("x", &url)]);
        let (status, answer) = world.hook_from(forge, &RepoUrl::new(&url).unwrap(), Some(lib), new, &url).await;
        assert_eq!(status, 202, "{url}: {answer}");
        let job = world.job("app").await;
        assert_eq!(job["state"], "succeeded", "{url}: {job:#}");
        assert!(world.file("app", "deps.edn").contains(&new.to_string()), "{url}");
        lib = new;
    }
    assert_eq!(world.jobs_of("app").await.len(), 4);
    // All urls of a payload count: here only the last is one that an app knows.
    let new = world.commit("lib", &[("x", "several")]);
    let body = serde_json::json!({
        "ref": "refs/heads/main", "before": lib, "after": new,
        "repository": {
            "full_name": "x/lib", "clone_url": "https://elsewhere.example/x/lib.git",
            "git_url": "git://elsewhere.example/x/lib.git", "ssh_url": world.url("lib"),
        },
    });
    let answer = world.signed_body(Forge::Github, body.to_string().into(), "several").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let jobs = world.jobs_of("app").await;
    assert_eq!((jobs.len(), &jobs[0]["state"]), (5, &"succeeded".into()), "{jobs:#?}");
    assert!(world.file("app", "deps.edn").contains(&new.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_gets_private_dependencies_and_theirs_from_the_daemon_s_mirrors_without_a_key() {
    let mut world = World::new(0);
    let other = world.commit("lib-other", &[("deps.edn", "{}"), ("name", "other")]);
    world.commit("lib-third", &[("deps.edn", "{}")]);
    let lib = world.commit("lib", &[("deps.edn", &world.deps(&[("lib-other", other)])), ("name", "lib")]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", lib)]))]);
    let path = world.path("repos/lib").display().to_string();
    let steps = [
        ("lib", "git clone -q {repo:lib} x && test $(cat x/name) = lib".to_owned()),
        ("other", "git clone -q {repo:lib-other} y && test $(cat y/name) = other".to_owned()),
        ("https", format!("git clone -q https://127.0.0.2{path}.git z && test $(cat z/name) = lib")),
        ("history", "test $(git -C x rev-list --count HEAD) = 2".to_owned()),
        ("third", "! git clone -q {repo:lib-third} w".to_owned()),
    ];
    let steps = steps.map(|(name, run)| format!(r#"{{:name "{name}" :run "export GIT_SSH_COMMAND=false; {run}"}}"#));
    world.deploy_edn(&format!(r#":app {{:git-url "{{repo:app}}" :update? true :build [{}]}}"#, steps.join("\n")));
    world.start().await;
    world.push("lib", &[("x", "1")]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_on_another_branch_of_a_library_is_left_there() {
    let mut world = quick();
    world.commit("lib", &[("deps.edn", "{}")]);
    let person = world.path("people/lib");
    git(&person, &["checkout", "-q", "-b", "stable"]);
    git(&person, &["commit", "-q", "--allow-empty", "-m", "stable"]);
    git(&person, &["push", "-q", "origin", "stable"]);
    let stable = git(&person, &["rev-parse", "stable"]).parse().unwrap();
    git(&person, &["checkout", "-q", "main"]);
    world.commit("app", &[("deps.edn", &world.deps(&[("lib", stable)]))]);
    world.deploy_edn(":app {:git-url \"{repo:app}\" :update? true :build \"true\"}");
    world.start().await;
    world.push("lib", &[("x", "1")]).await;
    let job = world.job("app").await;
    assert_eq!(job["state"], "unchanged", "{job:#}");
    assert!(reason(&job).contains("of branch stable"), "{job:#}");
    assert_eq!(world.count("app"), 1);
}
