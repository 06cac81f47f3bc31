//! config.edn and deploy.edn: what is understood, and what is said about the rest.

mod environments;
mod faults;
mod forges;
mod notify;
mod providers;
mod service;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use airplanes::config::{Diagnostics, Loaded, Source, load};
use airplanes::model::{App, AppName, Forge, Trigger};
use airplanes::watch::FsSource;
use proptest::prelude::*;

/// Files and an environment that exist only here.
#[derive(Default)]
struct World {
    files: BTreeMap<PathBuf, Vec<u8>>,
    env: BTreeMap<String, String>,
}

impl World {
    /// With this config.edn, and this deploy.edn beside it.
    fn new(config: &str, deploy: &str) -> Self {
        Self::default().file("/c/config.edn", config).file("/c/deploy.edn", deploy)
    }
    fn file(mut self, path: &str, text: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }
    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }
    fn load(&self) -> Result<Loaded, Diagnostics> {
        load(self, Path::new("/c/config.edn"))
    }
    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }
    /// The faults, each as `FILE LINE:COLUMN MESSAGE | EXPECTED | HELP`.
    fn faults(&self) -> Vec<String> {
        lines(&self.load().expect_err("it should be refused"))
    }
}

impl Source for World {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
}

fn lines(diagnostics: &Diagnostics) -> Vec<String> {
    let line = |f: airplanes::config::Finding| {
        let mut text = String::new();
        if let (Some(file), Some(line), Some(column)) = (&f.file, f.line, f.column) {
            let file = file.file_stem().unwrap().to_str().unwrap();
            text = format!("{file} {line}:{column} ");
        }
        text += &f.message;
        for more in [Some(f.expected).filter(|e| !e.is_empty()), f.help].into_iter().flatten() {
            text += &format!(" | {more}");
        }
        text
    };
    diagnostics.findings().map(line).collect()
}

fn config_faults(config: &str) -> Vec<String> {
    World::new(config, "{}").faults()
}

fn app<'l>(loaded: &'l Loaded, name: &str) -> &'l App {
    &loaded.apps[&AppName::new(name).unwrap()]
}

#[test]
fn the_example_documents_every_key_and_loads_clean() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.edn");
    let text = std::fs::read_to_string(path).unwrap();
    let loaded = World::new(&text, "").loaded();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.apps.len(), 3);
    assert_eq!(loaded.config.webhooks.len(), 4);
    assert_eq!(loaded.config.secrets().count(), 15);
    assert_eq!(app(&loaded, "ep-build").hosts[0].user, "deploy");
    assert_eq!(app(&loaded, "ep-build").build_timeout, Duration::from_secs(1800));
    // A typo in any section is answered with the keys there are; all of them are in the example.
    let words: Vec<&str> = text.split(|c: char| !(c.is_alphanumeric() || ":-?".contains(c))).collect();
    let wrong = r#"{:x 1 :webhooks {:x 1 :gitlab {:x 1}} :forges {"github.com" {:x 1}} :git {:x 1} :ssh {:x 1} :hosts {:a {:x 1}} :builds {:x 1}
                    :keep {:x 1} :disk {:x 1} :notify [{:x 1}] :smtp {:x 1} :dead-man {:x 1}
                    :deploy {:a {:x 1 :service {:x 1} :health {:x 1} :nginx {:x 1 :tls {:x 1}} :rollout {:x 1} :window {:x 1} :environments {:e {:x 1}} :postgres {:x 1} :build [{:x 1}]}}}"#;
    let known: Vec<String> = config_faults(wrong);
    let known: Vec<&str> =
        known.iter().filter_map(|line| line.split_once("known here: ")).map(|(_, keys)| keys).collect();
    assert_eq!(known.len(), 23);
    for key in known.iter().flat_map(|keys| keys.split(' ')) {
        assert!(words.contains(&key), "config.example.edn says nothing of {key}");
    }
}

#[test]
fn an_empty_config_is_all_defaults() {
    let loaded = World::new("{}", "{}").loaded();
    let config = loaded.config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:8787");
    assert_eq!((config.url, config.state), (None, PathBuf::from("/var/lib/airplanes")));
    assert_eq!((config.git.name.as_str(), config.git.email.as_str()), ("airplanes", "airplanes@localhost"));
    assert_eq!((config.ssh.user.as_str(), config.ssh.identity), ("root", None));
    assert_eq!(
        (config.builds.concurrency, config.builds.silence.as_secs(), config.builds.timeout.as_secs()),
        (None, 600, 3600)
    );
    assert_eq!((config.poll, config.min_free), (Some(Duration::from_secs(600)), 2_000_000_000));
    assert_eq!((config.keep.jobs, config.keep.days), (1000, 90));
    assert!(loaded.apps.is_empty() && config.hosts.is_empty() && config.webhooks.is_empty());
    assert_eq!(loaded.files, [PathBuf::from("/c/config.edn"), "/c/deploy.edn".into()]);
}

#[test]
fn a_deploy_edn_of_the_clojure_airplanes_works_unchanged() {
    let deploy = r#"{:ep-build {:name "ep"
            :git-url "git@github.com:entranceplus/ep-build.git"
            :update? true
            :build "boot -- build"
            :working-directory "/root/ep-build"
            :ip "1.2.3.4"}}"#;
    let loaded = World::new("{}", deploy).loaded();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let app = app(&loaded, "ep-build");
    assert_eq!(app.git_url.as_str(), "git@github.com:entranceplus/ep-build.git");
    assert_eq!((app.update, app.trigger, app.branch.clone()), (true, Trigger::PushAny, None));
    assert_eq!((app.build.len(), app.build[0].run.as_str(), &app.build[0].name), (1, "boot -- build", &None));
    assert_eq!(app.working_directory.as_deref(), Some("/root/ep-build"));
    let host = &app.hosts[0];
    assert_eq!(
        (host.name.as_str(), host.address.as_str(), host.port, host.user.as_str()),
        ("1.2.3.4", "1.2.3.4", 22, "root")
    );
    assert_eq!(app.service.as_ref().unwrap().name.as_str(), "ep");
    assert_eq!(app.build_timeout, Duration::from_secs(3600));
}

#[test]
fn hosts_are_resolved_with_the_defaults_of_ssh_in_the_order_of_the_app() {
    let config = r#"{:ssh {:user "deploy" :identity "keys/id" :known-hosts "/k"}
                     :hosts {:a {:address "10.0.0.1"} :b {:address "b.example.com" :port 2222 :user "ops"}}}"#;
    let deploy = r#"{:shop {:git-url "/srv/git/shop" :hosts [:b :a] :working-directory "/srv/shop/" :restart "x"}}"#;
    let loaded = World::new(config, deploy).loaded();
    let shop = app(&loaded, "shop");
    let hosts: Vec<_> =
        shop.hosts.iter().map(|h| (h.name.as_str(), h.address.as_str(), h.port, h.user.as_str())).collect();
    assert_eq!(hosts, [("b", "b.example.com", 2222, "ops"), ("a", "10.0.0.1", 22, "deploy")]);
    assert_eq!(shop.working_directory.as_deref(), Some("/srv/shop"));
    assert_eq!(loaded.config.ssh.identity, Some("/c/keys/id".into()), "a path is meant from the file that names it");
}

#[test]
fn tags_give_values_and_secrets_are_named_by_them() {
    let config = r#"{:listen #or [#env LISTEN "127.0.0.1:1"]
        :state #profile {:dev "/tmp/s" :default "/var/s"}
        :poll #or [#env POLL nil]
        :url #env URL
        :webhooks #include "hooks/all.edn"
        :deploy #or [#env DEPLOY "apps.edn"]}"#;
    let hooks = r#"{:github {:secret #env GITHUB_SECRET}
        :gitlab {:secret [#file "gitlab" #credential old]}
        :gitea {:secret #or [#env NO #file "none" #credential none "literal"]}}"#;
    let world = World::default()
        .file("/c/config.edn", config)
        .file("/c/hooks/all.edn", hooks)
        .file("/c/hooks/gitlab", "from a file\n")
        .file("/cred/old", "from systemd\r\n")
        .file("/c/apps.edn", "{}")
        .env("CREDENTIALS_DIRECTORY", "/cred")
        .env("GITHUB_SECRET", "hunter2")
        .env("URL", "https://x.example/");
    let loaded = world.loaded();
    assert_eq!(loaded.config.listen.port(), 1);
    assert_eq!(loaded.config.state, PathBuf::from("/var/s"));
    assert_eq!(loaded.config.url.as_deref(), Some("https://x.example"));
    let secrets = |forge| -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        loaded.config.webhooks[&forge].secrets.iter().map(|s| (s.name().to_owned(), text(s.expose()))).collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(secrets(Forge::Github), [pair("#env GITHUB_SECRET", "hunter2")]);
    let gitlab = [pair("#file \"gitlab\"", "from a file"), pair("#credential old", "from systemd")];
    assert_eq!(secrets(Forge::Gitlab), gitlab);
    assert_eq!(secrets(Forge::Gitea), [pair(":webhooks :gitea :secret", "literal")]);
    let files: Vec<&str> = loaded.files.iter().map(|file| file.to_str().unwrap()).collect();
    let want = [
        "/c/config.edn",
        "/c/hooks/all.edn",
        "/c/hooks/gitlab",
        "/cred/old",
        "/c/hooks/none",
        "/cred/none",
        "/c/apps.edn",
    ];
    assert_eq!(files, want, "every file is there to be watched, also those that are not there yet");
    assert_eq!(world.env("AIRPLANES_PROFILE", "dev").loaded().config.state, PathBuf::from("/tmp/s"));
}

#[test]
fn tags_that_give_nothing_say_what_would_help() {
    for (config, want) in [
        (
            "{:url #env NOPE}",
            "config 1:7 the environment variable NOPE is not set | needed here | \
             set NOPE, or give a default: #or [#env NOPE \"…\"]",
        ),
        (
            "{:url #or [#env A #env B]}",
            "config 1:7 none of these is there | expected one of them to have a value | \
             end it with a default, or with nil if it may be absent",
        ),
        (
            "{:url #credential web}",
            "config 1:7 there is no credential web: CREDENTIALS_DIRECTORY is not set | needed here | \
             systemd sets it for a unit with LoadCredential=web:/path/to/the/file",
        ),
        (
            "{:url #credential \"../web\"}",
            "config 1:7 `#credential` is followed by something else | \
             expected the name of a credential, without a path",
        ),
        ("{:url #file \"gone\"}", "config 1:7 /c/gone does not exist | needed here | create it, or correct the path"),
        (
            "{:url #include \"gone.edn\"}",
            "config 1:7 /c/gone.edn could not be read: entity not found | expected a readable file | \
             create it, or correct the path",
        ),
        (
            "{:url #profile {:dev \"x\"}}",
            "config 1:7 there is no profile :default here, and no :default | needed here | \
             add :default, or set AIRPLANES_PROFILE to one of: dev",
        ),
        (
            "{:url #evn X}",
            "config 1:7 unknown tag `#evn` | expected one of #env #include #or #profile #file #credential | \
             did you mean `#env`?",
        ),
        (
            "{:url #env [X]}",
            "config 1:7 `#env` is followed by something else | expected the name of a variable: #env NAME",
        ),
        (
            "{:url #or \"x\"}",
            "config 1:7 `#or` is followed by something else | expected a vector like #or [#env NAME \"default\"]",
        ),
    ] {
        assert_eq!(config_faults(config), [want], "{config}");
    }
}

#[test]
fn a_file_that_includes_itself_is_refused() {
    let world = World::new("{:git #include \"a.edn\"}", "{}")
        .file("/c/a.edn", "#include \"b.edn\"")
        .file("/c/b.edn", "{:name #include \"a.edn\"}");
    assert_eq!(
        world.faults(),
        ["b 1:8 /c/a.edn includes itself | this closes the circle | \
          /c/config.edn includes /c/a.edn includes /c/b.edn includes /c/a.edn"]
    );
}

#[test]
fn a_file_that_is_absent_or_no_edn_is_pointed_at() {
    let absent = World::default().faults();
    assert_eq!(absent, ["/c/config.edn could not be read: entity not found | create it, or correct the path"]);
    let no_deploy = World::default().file("/c/config.edn", "{:deploy \"apps.edn\"}").faults();
    assert_eq!(
        no_deploy,
        ["config 1:10 /c/apps.edn could not be read: entity not found | expected a readable file | \
          create it, or correct the path"]
    );
    let latin = World::default().file("/c/config.edn", b"{:url \"\xe9\"}".to_vec()).faults();
    assert_eq!(latin, ["/c/config.edn is not UTF-8 text | save it as UTF-8"]);
    let open = World::new("{:git {:name \"x\"}\n :ssh {:user \"deploy\"", "").load().unwrap_err();
    assert_eq!(
        open.to_string(),
        r#"  error: `{` is never closed; expected `}` before the end
   ,-[/c/config.edn:2:7]
 1 | {:git {:name "x"}
 2 |  :ssh {:user "deploy"
   :       ^
   :       `-- opened here
   `----"#
    );
    assert_eq!(
        config_faults("[1]"),
        ["config 1:1 `config.edn` has the wrong kind of value | expected a map, found a vector"]
    );
}

#[test]
fn no_secret_is_ever_shown() {
    let hidden = "hunter2";
    for config in [
        // Mistyped keys, wrong kinds, strays beside them.
        r#"{:x 1 :webhooks {:github {:secret "hunter2"} :y 2}}"#,
        r#"{:x 1 :webhooks {:github {:secert "hunter2"}}}"#,
        r#"{:x 1 :webhook {:github {:key "hunter2"}}}"#,
        r#"{:x 1 :webhooks {:github {:secret hunter2}}}"#,
        r#"{:x 1 :webhooks {:github {:secret :hunter2}}}"#,
        r#"{:x 1 :webhooks {:github {:secret ["hunter2" 5]}}}"#,
        r#"{:x 1 :webhooks {:github {:secret #or [#env NO "hunter2"]}}}"#,
        r#"{:x 1 :webhooks {:github {:secret #evn "hunter2"}}}"#,
        r#"{:x 1 :webhooks {:gitlab {:signing-token "hunter2"}}}"#,
        r#"{:x 1 :webhooks {:github {:secret #_"hunter2" "y" #_"hunter2"}}}"#,
        "{:x 1 ; :secret \"hunter2\"\n :y 2}",
        "{:x 1 #_#_:secret \"hunter2\"\n :y 2}",
        r#"{:x 1 :git {:https-tokens {"gitlab.com" "hunter2"}}}"#,
        r#"{:x 1 :git {:https-tokens {"https://gitlab.com" "hunter2"}}}"#,
        r#"{:x 1 :git {:https-tokens "hunter2"}}"#,
        r#"{:x 1 :listen #env SECRET}"#,
        r#"{:x 1 :hosts {:a {:address #env SECRET}}}"#,
        r#"{:x 1 :webhooks {:github {:secret #include "secret.edn"}}}"#,
        r#"{:x 1 :deploy {:a {:git-url "https://u:hunter2@h/x"}}}"#,
        r#"{:x 1 :deploy {:a {:git-url "https://hunter2@h/x"}}}"#,
        r#"{:x 1 :deploy {:a {:git-url "/x" :service {:name "x" :environment {"DB_PASSWORD" "hunter2" "U" "pg://a:hunter2@h/d"}}}}}"#,
        // Texts that can't be read at all.
        r#"{:x 1 :webhooks {:github {:secret "hunter2}}"#,
        r#"{:x 1 :webhooks {:github {:secret "hunter2" :y}}"#,
        r#"{:x 1 :webhooks {:github {:secret \hunter2}}"#,
        r#"{:x 1 :webhooks {:github {:secret hunter2/ }}"#,
        "{:x 1 :git {:https-tokens\n {\"gitlab.com\"\n  \"hunter2\"}]",
        "{:x 1 :git {:https-tokens #{\"hunter2\" \"hunter2\"}}",
    ] {
        let world = World::new(config, "{}").env("SECRET", hidden).file("/c/secret.edn", "{:z \"hunter2\"}");
        let text = match world.load() {
            Ok(loaded) => format!("{loaded:?}{:?}", loaded.warnings),
            Err(error) => format!("{error}{error:?}{}{:?}", error.render(true), error.findings().collect::<Vec<_>>()),
        };
        assert!(!text.contains(hidden), "{config}\n{text}");
        assert!(text.contains(":x") || text.contains("here"), "the fault is still to be seen: {text}");
    }
    let good = r#"{:webhooks {:github {:secret "hunter2"}} :git {:https-tokens {"h" "hunter2"}}}"#;
    let loaded = World::new(good, "{}").loaded();
    assert!(!format!("{loaded:?}").contains(hidden));
}

#[test]
fn a_fault_beside_a_secret_shows_everything_but_the_secret() {
    let config = "{:webhooks {:github {:secret #or [#env NO \"hunter2\"] :scret 1}\n            :gitlub {}}}";
    assert_eq!(
        World::new(config, "{}").load().unwrap_err().to_string(),
        r#"  error: unknown key `:scret` in :github
   ,-[/c/config.edn:1:54]
 1 | {:webhooks {:github {:secret #or [#env NO "*******"] :scret *}
   :                                                      ^^^^^^
   :                                                         `-- did you mean `:secret`?
 2 |             :gitlub {}}}
   `----
  help: known here: :secret

  error: unknown key `:gitlub` in :webhooks
   ,-[/c/config.edn:2:13]
 1 | {:webhooks {:github {:secret #or [#env NO "*******"] :scret *}
 2 |             :gitlub {}}}
   :             ^^^^^^^
   :                `-- did you mean `:github`?
   `----
  help: known here: :github :gitlab :gitea :bitbucket"#
    );
}

#[test]
fn the_real_files_are_read_from_the_disk() {
    let folder = tempfile::TempDir::new().unwrap();
    let config = folder.path().join("config.edn");
    std::fs::write(&config, "{:webhooks {:github {:secret #file \"secret\"}}}").unwrap();
    std::fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
    std::fs::write(folder.path().join("deploy.edn"), "{:lib {:git-url \"/srv/git/lib\"}}").unwrap();
    let loaded = load(&FsSource, &config).unwrap();
    assert_eq!(loaded.config.webhooks[&Forge::Github].secrets[0].len(), 7);
    assert_eq!(loaded.apps.len(), 1);
    assert_eq!(loaded.files.len(), 3);
}

#[test]
fn a_word_too_many_or_a_tag_on_a_tag_shows_no_secret() {
    for text in [
        "{:webhooks {:github {:secret #or [#env #NAME \"hunter2\"]}}}",
        "{:webhooks {:github {:secret #env [NAME \"hunter2\"]}}}",
        "{oops :webhooks {:github {:secret \"hunter2\"}} :url}",
        "{oops :webhooks {:github {:secret #or [#env NONE \"hunter2\"]}} :url}",
        "{:webhooks {:github {oops :secret \"hunter2\" :url}}}",
        "{:webhooks {:github {oops :secret #or [#env NONE \"hunter2\"] :url}}}",
        "{:git [:https-tokens {\"h\" \"hunter2\"}]}",
        "{:git [:secret \"hunter2\"]}",
        "{oops :git {:https-tokens {\"h\" \"hunter2\"}} :url}",
    ] {
        let error = World::new(text, "{}").load().unwrap_err();
        let shown = format!("{error}{:?}", error.findings().collect::<Vec<_>>());
        assert!(!shown.contains("hunt"), "{text}: {shown}");
    }
}

proptest! {
    #[test]
    fn a_slip_of_the_keyboard_shows_no_secret_and_breaks_nothing(edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..16), 1..4)) {
        let mut text: Vec<char> = include_str!("../../config.example.edn").replace("change me", "hunter2").chars().collect();
        for (at, what) in edits {
            let at = at.index(text.len());
            match "{}[]()\"\\;#_:,\n".chars().nth(what) {
                Some(c) => text.insert(at, c),
                None => drop(text.remove(at)),
            }
        }
        let text: String = text.into_iter().collect();
        let shown = match World::new(&text, "{}").load() {
            Ok(loaded) => format!("{loaded:?}"),
            Err(error) => format!("{error}{:?}", error.findings().collect::<Vec<_>>()),
        };
        prop_assert!(!shown.contains("unter") && !shown.contains("hunt"), "{shown}");
    }
}
