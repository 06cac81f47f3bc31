//! Each kind of fault with its exact words.

use super::{World, config_faults, lines};

fn app_faults(app: &str) -> Vec<String> {
    let config = r#"{:hosts {:web-1 {:address "10.0.0.11"} :web-2 {:address "10.0.0.12"}}}"#;
    World::new(config, &format!("{{:shop {app}}}")).faults()
}

#[test]
fn a_fault_is_shown_as_a_compiler_would() {
    let world = World::new("{}", "{:shop {:git-url \"git@github.com:acme/shop.git\"\n        :bulid \"make\"}}");
    let error = world.load().unwrap_err();
    assert_eq!(
        error.render(false),
        r#"  error: unknown key `:bulid` in the app :shop
   ,-[/c/deploy.edn:2:9]
 1 | {:shop {:git-url "git@github.com:acme/shop.git"
 2 |         :bulid "make"}}
   :         ^^^^^^
   :            `-- did you mean `:build`?
   `----
  help: known here: :git-url :branch :update? :trigger :build :timeout :working-directory :hosts :ip :name :service :restart :zero-downtime :health :runner :track :directory :deps-files :paths :bisect? :publish :auto-merge? :nginx :ship :artifact :keep-releases :prepare :migrate :reversible? :rollout :window :environments :postgres
"#
    );
    assert!(error.render(true).contains("\u{1b}["));
    assert!(!error.render(false).contains('\u{1b}'));
}

#[test]
fn of_a_very_long_line_only_what_is_near_the_fault_is_shown() {
    let filler = "é".repeat(5_000);
    let line = format!("{{:shop {{:git-url \"git@a.b:c/{filler}.git\" :bulid \"make\" :build \"{filler}\"}}}}");
    let at = line.find(":bulid").unwrap();
    let shown = World::new("{}", &format!("; apps\n{line}")).load().unwrap_err().render(false);
    assert!(shown.contains(":bulid \"make\" :build"), "{shown}");
    assert!(shown.contains(&format!("/c/deploy.edn:2:{}]", line[..at].chars().count() + 1)), "{shown}");
    assert!(shown.contains("did you mean `:build`?"), "{shown}");
    assert!(shown.len() < 3_000, "{} bytes: {shown}", shown.len());
    let lines: Vec<&str> = shown.lines().collect();
    let column = |what: &str| lines.iter().rev().find_map(|l| l.find(what).map(|at| l[..at].chars().count())).unwrap();
    assert_eq!(column(":bulid \""), column("^^^^^^"), "{shown}");
}

#[test]
fn a_folder_with_the_daemons_own_files_in_it_is_not_opened_to_builds() {
    let keys =
        r#":state "/srv/state" :git {:known-hosts "/k/known" :keys {"a.b" "/keys/git"}} :ssh {:identity "ssh/key"}"#;
    for (wide, own) in [
        ("/", "/srv/state"),
        ("/srv", "/srv/state"),
        ("/srv/state", "/srv/state"),
        (".", "/c/config.edn"),
        ("secret", "/c/secret"),
        ("/k", "/k/known"),
        ("/keys/git", "/keys/git"),
        ("ssh", "/c/ssh/key"),
    ] {
        let config =
            format!("{{{keys} :webhooks {{:github {{:secret #file \"secret\"}}}}\n:builds {{:write [{wide:?}]}}}}");
        let faults = World::new(&config, "{}").file("/c/secret", "hunter2").faults();
        let folder = std::path::Path::new("/c").join(wide);
        let want = format!(
            "config 2:18 with {} in `:write`, builds could read and write the daemon's own files | {own} is in there | \
             name only folders with nothing of the daemon's in them",
            folder.display()
        );
        assert_eq!(faults, [want], "{wide}");
    }
    let beside = format!("{{{keys} :builds {{:write [\"/srv/releases\" \"/srv/state/home\" \"/keys/other\"]}}}}");
    World::new(&beside, "{}").loaded();
}

#[test]
fn a_link_to_the_daemons_own_files_is_not_opened_to_builds_either() {
    let folder = tempfile::tempdir().unwrap();
    let [own, open, link] = ["own", "open", "link"].map(|name| folder.path().join(name));
    std::fs::create_dir(&own).unwrap();
    std::fs::create_dir(&open).unwrap();
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    let load = |write: &std::path::Path| {
        let text = format!("{{:state \"state\" :deploy {{}} :builds {{:write [{write:?}]}}}}");
        std::fs::write(own.join("config.edn"), text).unwrap();
        airplanes::config::load(&airplanes::watch::FsSource, &own.join("config.edn"))
    };
    for wide in [link.clone(), link.join("own/state"), open.join("../own")] {
        let told = load(&wide).unwrap_err().to_string();
        assert!(told.contains("is in there") && told.contains("config.edn:1:45]"), "{told}");
    }
    for narrow in [open, link.join("open"), link.join("open/not-yet")] {
        load(&narrow).unwrap_or_else(|told| panic!("{told}"));
    }
}

#[test]
fn every_fault_of_config_edn_has_words_of_its_own() {
    let prefix = "expected a host, or a host and path, like \"github.com/acme/snow\"";
    for (config, want) in [
        (
            "{:listen \"localhost:80\"}",
            "config 1:10 `:listen` is no address | expected an address and a port like \"127.0.0.1:8787\" or \
             \"[::1]:8787\" | did you mean `127.0.0.1:80`?"
                .to_owned(),
        ),
        (
            "{:deploy 7}",
            "config 1:10 `:deploy` has the wrong kind of value | expected a path like \"deploy.edn\" or a map of apps, \
             found a number"
                .into(),
        ),
        ("{:url \"deploy.example.com\"}", "config 1:7 `:url` is no url | expected http:// or https://, a host and a path".into()),
        ("{:state 7}", "config 1:9 `:state` has the wrong kind of value | expected a string, found the number 7".into()),
        ("{:state \"\"}", "config 1:9 `:state` can't be used | expected at least one character".into()),
        (
            "{:poll 5}",
            "config 1:8 `:poll` has the wrong kind of value | expected a time like \"30m\": a whole number and one of \
             ms, s, m, h, d, found the number 5"
                .into(),
        ),
        ("{:poll \"0s\"}", "config 1:8 `:poll` is no time at all | expected more than 0".into()),
        (
            "{:builds {:silence \"10 minutes\"}}",
            "config 1:20 `:silence` can't be understood | expected a time like \"30m\": a whole number and one of ms, \
             s, m, h, d"
                .into(),
        ),
        (
            "{:disk {:min-free \"2 gigs\"}}",
            "config 1:19 `:min-free` can't be understood | expected a size like \"2GB\": a whole number and one of B, \
             KB, MB, GB, TB, KiB, MiB, GiB, TiB"
                .into(),
        ),
        ("{:builds {:concurrency 5000000}}", "config 1:24 no machine builds so many at once | expected 1000 or less".into()),
        ("{:builds {:concurrency 0}}", "config 1:24 with `:concurrency 0` nothing would ever be built | expected 1 or more".into()),
        (
            "{:builds {:concurrency \"2\"}}",
            "config 1:24 `:concurrency` has the wrong kind of value | expected a whole number, 0 or more, found a string".into(),
        ),
        ("{:git []}", "config 1:7 `:git` has the wrong kind of value | expected a map, found a vector".into()),
        ("{:git {\"name\" \"x\"}}", "config 1:8 a key of `:git` is no keyword | expected a keyword like `:name`".into()),
        ("{:git {:name \"a <b>\"}}", "config 1:14 `:name` can't be used | git allows no `<` and `>` here".into()),
        ("{:git {:email \"a\\nb\"}}", "config 1:15 `:email` can't be used | expected one line".into()),
        (
            "{:git {:keys {\"git@github.com:acme/snow.git\" \"k\"}}}",
            format!("config 1:15 a key of `:keys` is no such prefix | {prefix} | did you mean `github.com/acme/snow`?"),
        ),
        ("{:git {:keys \"k\"}}", "config 1:14 `:keys` has the wrong kind of value | expected a map like {\"github.com/acme\" …}, found a string".into()),
        ("{:ssh {:user \"-x\"}}", "config 1:14 `-x` is not a valid host name | it begins with `-` or `.`".into()),
        ("{:hosts {:web {}}}", "config 1:15 the host :web has no `:address` | expected `:address \"10.0.0.11\"` in this map".into()),
        (
            "{:hosts {:web {:address \"10.0.0.1\" :port 70000}}}",
            "config 1:42 `:port` has the wrong kind of value | expected a whole number up to 65535, found the number 70000".into(),
        ),
        (
            "{:hosts {:web {:address \"-oProxyCommand=x\"}}}",
            "config 1:25 `-oProxyCommand=x` is not a valid host name | it begins with `-` or `.`".into(),
        ),
        ("{:hosts {:web {:adress \"10.0.0.1\"}}}", "config 1:16 unknown key `:adress` in the host :web | did you mean `:address`? | known here: :address :port :user".into()),
        (
            "{:webhooks {:githb {}}}",
            "config 1:13 unknown key `:githb` in :webhooks | did you mean `:github`? | known here: :github :gitlab :gitea :bitbucket".into(),
        ),
        ("{:webhooks {:github {}}}", "config 1:21 :github has no `:secret` | expected `:secret #env NAME` in this map".into()),
        (
            "{:webhooks {:github {:secret \"\"}}}",
            "config 1:30 the secret `:webhooks :github :secret` is empty | expected at least one character | an empty \
             secret would let anyone in; give it a value or leave the key out"
                .into(),
        ),
        (
            "{:webhooks {:github {:secret []}}}",
            "config 1:30 `:webhooks :github :secret` holds no secret | expected one or more | give one, or leave the key out".into(),
        ),
        (
            "{:webhooks {:github {:secret 12345}}}",
            "config 1:30 `:webhooks :github :secret` has the wrong kind of value | expected a string in quotes, or a \
             tag like `#env NAME`"
                .into(),
        ),
        (
            "{:webhooks {:gitlab {:signing-token \"hunter2\"}}}",
            "config 1:37 `:webhooks :gitlab :signing-token` is no signing token | expected `whsec_` and base64, as GitLab shows it".into(),
        ),
        (
            "{:webhooks {:gitlab {:signing-token \"whsec_hunter 2!\"}}}",
            "config 1:37 `:webhooks :gitlab :signing-token` is no signing token | expected `whsec_` and base64, as GitLab shows it".into(),
        ),
        ("{:a 1 :a 2}", "config 1:7 the key `:a` stands twice in this map | here".into()),
        ("{:x-ray 1}", "config 1:2 unknown key `:x-ray` in config.edn | expected a known key | known here: :listen :url :state :deploy :webhooks :forges :git :ssh :hosts :providers :builds :poll :keep :disk :notify :smtp :dead-man :templates".into()),
    ] {
        assert_eq!(config_faults(config), [want], "{config}");
    }
}

#[test]
fn every_fault_of_an_app_has_words_of_its_own() {
    let url = ":git-url \"/srv/git/shop\"";
    for (app, want) in [
        (
            "{}",
            "deploy 1:8 the app :shop has no `:git-url` | expected `:git-url \"git@github.com:acme/shop.git\"` in this map",
        ),
        ("7", "deploy 1:8 `the app :shop` has the wrong kind of value | expected a map, found a number"),
        (
            "{:git-url \"ftp://h/x\"}",
            "deploy 1:18 `ftp://h/x` is not a valid repository url | its scheme is none of ssh, https, http, git, file",
        ),
        ("{URL :branch \"a..b\"}", "deploy 1:42 `a..b` is not a valid branch | it holds `..`, `//` or `@{`"),
        (
            "{URL :update? 1}",
            "deploy 1:43 `:update?` has the wrong kind of value | expected true or false, found the number 1",
        ),
        (
            "{URL :trigger :pushany}",
            "deploy 1:43 unknown value `:pushany` for `:trigger` | expected one of :push-any :push :manual | did you mean `:push-any`?",
        ),
        ("{URL :build \"\"}", "deploy 1:41 `:build` is empty | expected a command, or no `:build` at all"),
        (
            "{URL :build 1}",
            "deploy 1:41 `:build` has the wrong kind of value | expected a command, or a vector like [{:name \"test\" :run \"…\"}], found a number",
        ),
        (
            "{URL :build [{:name \"a\"}]}",
            "deploy 1:42 a step of :build has no `:run` | expected `:run \"command\"` in this map",
        ),
        (
            "{URL :build [{:name \"a\" :run \"x\"} {:name \"a\" :run \"y\"}]}",
            "deploy 1:70 two steps are called a | expected every name once, since it names the log",
        ),
        ("{URL :timeout \"0m\"}", "deploy 1:43 `:timeout` is no time at all | expected more than 0"),
        (
            "{URL :hosts [:web1] :working-directory \"/x\" :restart \"r\"}",
            "deploy 1:42 unknown host `:web1` | did you mean `:web-1`? | config.edn's :hosts are: :web-1 :web-2",
        ),
        (
            "{URL :hosts [:web-1 :web-1] :working-directory \"/x\" :restart \"r\"}",
            "deploy 1:49 the host :web-1 is there twice | expected every host once",
        ),
        (
            "{URL :hosts [:web-1] :ip \"1.2.3.4\" :working-directory \"/x\" :restart \"r\"}",
            "deploy 1:54 both `:hosts` and `:ip` say where the app runs | expected one of them",
        ),
        (
            "{URL :hosts [:web-1] :restart \"r\"}",
            "deploy 1:8 the app :shop has no `:working-directory` | expected `:working-directory \"/srv/…\"` in this map",
        ),
        (
            "{URL :hosts [:web-1] :restart \"r\" :working-directory \"srv\"}",
            "deploy 1:82 `:working-directory` can't be used | expected an absolute path like \"/srv/shop\"",
        ),
        (
            "{URL :hosts [:web-1] :working-directory \"/x\" :restart \"r\" :service {:name \"s\"}}",
            "deploy 1:83 both a unit and `:restart` would restart the app | expected one of them",
        ),
        (
            "{URL :hosts [:web-1] :working-directory \"/x\" :name \"a\" :service {:name \"s\"}}",
            "deploy 1:80 both `:name` and `:service` name the unit | expected `:service` alone",
        ),
        (
            "{URL :build [{:name \"a/b\" :run \"make\"}]}",
            "deploy 1:49 `a/b` is not a valid step name | it may hold letters, digits and `.` `_` `-`",
        ),
        (
            "{URL :hosts [:web-1] :working-directory \"/x\" :name \"ep;reboot\"}",
            "deploy 1:80 `ep;reboot` is not a valid unit name | it may hold letters, digits and `.` `_` `-`",
        ),
        (
            "{URL :hosts [:web-1] :working-directory \"/x\" :service {:name \"s\" :environment {\"A B\" \"1\"}}}",
            "deploy 1:107 the variable A B can't be set | expected names of letters, digits and `_`, and values of one line",
        ),
        (
            "{URL :hosts [:web-1] :working-directory \"/x\" :name \"s\" :health {:url \"localhost\"}}",
            "deploy 1:98 `:url` is no url | expected http:// or https://, a host and a path",
        ),
        (
            "{URL :working-directory \"/srv/{hots}/shop\"}",
            "deploy 1:53 nothing is filled in for `{hots}` | expected {host} or {address} | did you mean `{host}`?",
        ),
        ("{URL :runner :circleci}", "deploy 1:42 this runner is not available yet | expected `:local`"),
        (
            "{URL :rollout {:on-failure :rolback}}",
            "deploy 1:56 unknown value `:rolback` for `:on-failure` | expected one of :rollback :halt | did you mean `:rollback`?",
        ),
        (
            "{URL :rollout {:batches [0]}}",
            "deploy 1:54 this is no batch | expected a number of hosts or a share like \"50%\"",
        ),
        (
            "{URL :nginx {:host \"x\" :prot 1}}",
            "deploy 1:52 unknown key `:prot` in :nginx | did you mean `:port`? | known here: :host :port :ip :aliases :websocket? :max-body :tls",
        ),
        (
            "{URL :track []}",
            "deploy 1:41 `:track` has the wrong kind of value | expected a map like {acme/snow {:branch \"2.x\"}}, found a vector",
        ),
        (
            "{URL :track {:snow {:tags true}}}",
            "deploy 1:42 a key of `:track` is no library | expected a library as deps.edn names it, like acme/snow",
        ),
        (
            "{URL :track {acme/snow {:branch \"2.x\" :tags true}}}",
            "deploy 1:52 `:track` of acme/snow names not one thing to follow | expected {:branch \"2.x\"} or {:tags true}",
        ),
        (
            "{URL :directory \"/shop\"}",
            "deploy 1:45 `:directory` can't be used | expected a path from the repository's root on, without `/` before it",
        ),
        (
            "{URL :directory \"../shop\"}",
            "deploy 1:45 `:directory` can't be used | expected a path without `.`, `..` and empty parts",
        ),
        (
            "{URL :directory \"-rf\"}",
            "deploy 1:45 `:directory` can't be used | expected a path that does not begin with `-`",
        ),
        (
            "{URL :directory \"sh*p\"}",
            "deploy 1:45 `:directory` can't be used | expected one folder, without wildcards",
        ),
        (
            "{URL :deps-files [\"**/deps.edn\" \"a[bc].edn\"]}",
            "deploy 1:61 `a[bc].edn` of `:deps-files` can't be used | expected a path in which only `*` `?` and `**` are wildcards",
        ),
        (
            "{URL :deps-files [\"a**/deps.edn\"]}",
            "deploy 1:47 `a**/deps.edn` of `:deps-files` can't be used | expected `**` to stand alone between slashes",
        ),
        (
            "{URL :deps-files []}",
            "deploy 1:46 `:deps-files` names nothing | expected a path or more | leave the key out for its default",
        ),
        (
            "{:giturl \"/srv/git/shop\"}",
            "deploy 1:9 unknown key `:giturl` in the app :shop | did you mean `:git-url`? | known here: :git-url :branch :update? :trigger :build \
             :timeout :working-directory :hosts :ip :name :service :restart :zero-downtime :health :runner :track :directory :deps-files :paths :bisect? :publish :auto-merge? :nginx :ship :artifact :keep-releases :prepare :migrate :reversible? :rollout :window :environments :postgres",
        ),
    ] {
        let app = app.replace("URL", url);
        let faults: Vec<String> =
            app_faults(&app).into_iter().filter(|fault| !fault.contains("nothing acts on it")).collect();
        assert_eq!(faults, [want], "{app}");
    }
    assert_eq!(
        World::new("{}", "{:anna/shop {:git-url \"/x\"}}").faults(),
        [
            "deploy 1:2 `anna/shop` can't be an app of deploy.edn | expected a name without a slash: OWNER/NAME is for users' apps"
        ]
    );
}

#[test]
fn all_faults_are_told_in_one_go_in_the_order_of_the_files() {
    let world =
        World::new("{:lsten \"x\"\n :poll 1\n :hosts {:a {}}}", "{:b {:git-url 1}\n :c {:update? 2 :git-url \"/x\"}}");
    let places: Vec<String> =
        world.faults().iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(places, ["config 1:2", "config 2:8", "config 3:13", "deploy 1:15", "deploy 2:15"]);
}

#[test]
fn what_does_nothing_is_warned_of_and_holds_nothing_up() {
    let deploy = r#"{:lib {:git-url "/l" :restart "x" :health {:url "http://h/"}}
 :app {:git-url "/a" :ip "1.2.3.4" :working-directory "/srv/a"}}"#;
    let loaded = World::new("{}", deploy).loaded();
    assert_eq!(
        lines(&loaded.warnings),
        [
            "deploy 1:31 the app :lib has no hosts, so its `:restart` does nothing | never used | give it `:hosts [:name]`",
            "deploy 1:43 the app :lib has no hosts, so its `:health` does nothing | never used | give it `:hosts [:name]`",
            "deploy 2:7 nothing restarts the app :app on its hosts | no `:service`, no `:restart` | \
             give it `:service {:name \"…\"}` or `:restart \"command\"`",
        ]
    );
}

#[test]
fn an_artifact_is_a_file_of_the_build_and_what_hosts_get_is_said_once() {
    let app =
        |more: &str| format!("{{:git-url \"/r\" :hosts [:web-1] :restart \"x\" :working-directory \"/srv/r\" {more}}}");
    let bad = [
        (r#":build "x" :artifact "a.jar" :ship :push"#, "both `:ship` and `:artifact` say what hosts get"),
        (r#":artifact "a.jar""#, "nothing makes the `:artifact` of the app :shop"),
        (r#":build "x" :artifact "../a.jar""#, "`:artifact` can't be used | expected a path without `.`, `..`"),
        (
            r#":build "x" :artifact "/a.jar""#,
            "`:artifact` can't be used | expected a path from the repository's root on",
        ),
        (r#":build "x" :artifact "a-*.jar""#, "`:artifact` can't be used | expected one file, without wildcards"),
        (
            r#":build "x" :artifact "a.jar" :keep-releases 0"#,
            "`:keep-releases` can't be used | expected a number from 1 to 100",
        ),
        (r#":build "x" :ship :artifact"#, "unknown value `:artifact` for `:ship` | expected one of :pull :push"),
    ];
    for (more, words) in bad {
        let faults = app_faults(&app(more));
        assert_eq!(faults.len(), 1, "{more}: {faults:?}");
        assert!(faults[0].contains(words), "{more}: {faults:?}");
    }
    let both = app(r#":prepare ["clojure" "-P" "it's"] :migrate "make migrate""#);
    let loaded = World::new("{:hosts {:web-1 {:address \"10.0.0.11\"}}}", &format!("{{:shop {both}}}")).loaded();
    let rollout = &super::app(&loaded, "shop").rollout;
    assert_eq!(rollout.prepare.as_deref(), Some(r"clojure -P 'it'\''s'"));
    assert_eq!((rollout.migrate.as_deref(), rollout.reversible), (Some("make migrate"), false));
    let empty = app_faults(&app(":prepare []"));
    assert!(empty[0].contains("`:prepare` can't be used | expected a command and its arguments"), "{empty:?}");
    let deploy = "{:c {:git-url \"/c\" :migrate \"x\" :reversible? true} :d {:git-url \"/d\" :reversible? true}}";
    let warnings = lines(&World::new("{}", deploy).loaded().warnings);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("has no hosts, so its `:migrate` does nothing"), "{warnings:?}");
    assert!(warnings[1].contains("has no `:migrate`, so its `:reversible?` does nothing"), "{warnings:?}");
    let deploy = "{:a {:git-url \"/a\" :build \"x\" :artifact \"a.jar\"}\n :b {:git-url \"/b\" :keep-releases 3}}";
    let warnings = lines(&World::new("{}", deploy).loaded().warnings);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("has no hosts, so its `:artifact` does nothing"), "{warnings:?}");
    assert!(warnings[1].contains("has no releases, so its `:keep-releases` does nothing"), "{warnings:?}");
}

#[test]
fn two_apps_in_one_folder_of_a_host_are_refused() {
    let config = r#"{:hosts {:web-1 {:address "10.0.0.11"} :web-2 {:address "10.0.0.12"}}}"#;
    let app =
        |folder: &str| format!("{{:git-url \"/r\" :restart \"x\" :hosts [:web-1] :working-directory \"{folder}\"}}");
    let faults = World::new(config, &format!("{{:a {} :b {}}}", app("/srv/x"), app("/srv/x"))).faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("the apps :a and :b have one folder on web-1"), "{faults:?}");
    assert!(World::new(config, &format!("{{:a {} :b {}}}", app("/srv/x"), app("/srv/y"))).load().is_ok());
}

#[test]
fn an_entry_that_no_row_of_the_store_would_hold_is_a_fault() {
    let faults = app_faults(&format!(r#"{{:git-url "git@a.b:c/shop.git" :build "{}"}}"#, "x".repeat(15_000)));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("the entry of :shop is too long"), "{faults:?}");
}
