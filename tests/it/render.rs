//! What is put on hosts, as text: the unit by systemd's own judgement, and that nothing from outside gets out of its place.
//! nginx judges its part where it is installed: `lab_install`.

use std::path::Path;
use std::process::Command;

use airplanes::config::{self, Loaded};
use airplanes::model::{App, Host};
use airplanes::render::hosts;
use airplanes::watch::FsSource;

/// The app of a deploy.edn, and its first host.
fn shop(service: &str, more: &str) -> (Loaded, App, Host) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.edn");
    let text = format!(
        r#"{{:hosts {{:web-1 {{:address "10.0.0.11"}}}} :deploy {{:shop {{:git-url "git@github.com:acme/shop.git"
           :working-directory "/srv/shop" :hosts [:web-1] :service {{:name "shop" {service}}} {more}}}}}}}"#
    );
    std::fs::write(&path, text).unwrap();
    let loaded = config::load(&FsSource, &path).unwrap_or_else(|faults| panic!("{faults}"));
    let app = loaded.apps.values().next().unwrap().clone();
    let host = app.hosts[0].clone();
    (loaded, app, host)
}

fn unit(service: &str, more: &str) -> String {
    let (_, app, host) = shop(service, more);
    hosts::unit(&app, &host, None).unwrap().unwrap()
}

const JVM: &str = r#":exec-start "/bin/sh -c true" :environment {"PORT" "7000"} :memory "1GB" :secrets ["api-key"]"#;

#[test]
fn the_unit_of_a_jvm_app_is_exposed_by_1_5_at_the_most_and_verifies_without_a_word() {
    for service in [JVM.to_owned(), format!("{JVM} :user \"daemon\"")] {
        let text = unit(&service, ":postgres {:database \"shop\"}");
        assert!(!text.lines().any(|line| line.starts_with("MemoryDenyWriteExecute")), "a JVM would die at its start");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.service");
        // Its folder is on the host.
        std::fs::write(&file, text.replace("WorkingDirectory=/srv/shop", "WorkingDirectory=/")).unwrap();
        let analyze =
            |args: &[&str]| Command::new("systemd-analyze").args(args).arg(&file).env("SYSTEMD_COLORS", "0").output();
        let Ok(output) = analyze(&["security", "--offline=true", "--no-pager"]) else {
            return eprintln!("skipped: there is no systemd-analyze on this machine");
        };
        let table = String::from_utf8_lossy(&output.stdout);
        let overall = table.lines().find_map(|line| line.split("Overall exposure level for shop.service: ").nth(1));
        let level: f64 =
            overall.and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{table}"));
        assert!(level <= 1.5, "{table}");
        let output = analyze(&["verify", "--man=no", "--recursive-errors=yes"]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // Where systemd does not run, its own units can't all be found; only what it says of ours counts.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("shop.service")).collect();
        assert!(ours.is_empty(), "{said}\n{text}");
    }
}

#[test]
fn values_stay_in_their_lines_and_mean_what_was_written() {
    let service = r#":exec-start "/usr/bin/java -Dhost={host} -jar %h/x.jar" :description "100% of \\"
                     :environment {"A" "a \"b\" \\ 50% {address}" "KEY" "{credentials}/api-key"} :secrets ["api-key"]"#;
    let text = unit(service, "");
    let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    has("ExecStart=/usr/bin/java -Dhost=web-1 -jar %h/x.jar");
    has("Description=100%% of \\ ");
    has(r#"Environment="A=a \"b\" \\ 50%% 10.0.0.11""#);
    has(r#"Environment="KEY=/run/credentials/%n/api-key""#);
    has("LoadCredential=api-key:/etc/credstore/airplanes/shop/api-key");
    has("DynamicUser=yes");
    has("Restart=always");
}

#[test]
fn a_folder_in_a_home_is_let_in_and_the_rest_of_homes_is_not() {
    let text = unit(r#":exec-start "/bin/x" :working-directory "/home/deploy/shop""#, "");
    assert!(text.contains("ProtectHome=tmpfs\nBindReadOnlyPaths=/home/deploy/shop\n"), "{text}");
    assert!(unit(r#":exec-start "/bin/x""#, "").contains("ProtectHome=yes\n"));
}

#[test]
fn a_database_is_told_to_the_unit_without_its_password() {
    let text = unit(
        r#":exec-start "/bin/x" :environment {"PGHOST" "/run/postgresql"}"#,
        ":postgres {:database \"shop\" :role \"kim\"}",
    );
    for line in [
        r#"Environment="PGDATABASE=shop""#,
        r#"Environment="PGUSER=kim""#,
        r#"Environment="PGHOST=/run/postgresql""#,
        r#"Environment="PGPASSFILE=/run/credentials/%n/pgpass""#,
        "LoadCredential=postgres-password:/etc/credstore/airplanes/shop/postgres-password",
        "After=network-online.target postgresql.service",
    ] {
        assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line}\n{text}");
    }
}

#[test]
fn sites_are_plain_or_with_tls_or_wait_for_their_certificate() {
    let nginx = r#":nginx [{:host "a.example.com" :aliases ["www.example.com"] :port 7000 :websocket? true :max-body "2MB"}
                           {:host "b.example.com" :port 7001 :ip "::1" :tls true}]"#;
    let (_, app, host) = shop("", nginx);
    let text = hosts::sites(&app, &host, None, true).unwrap().unwrap();
    for line in [
        "upstream a.example.com {",
        "server 127.0.0.1:7000;",
        "server_name a.example.com www.example.com;",
        "proxy_set_header Connection $airplanes_connection;",
        "client_max_body_size 2000000;",
        "server [::1]:7001;",
        "ssl_certificate /etc/letsencrypt/live/b.example.com/fullchain.pem;",
    ] {
        assert!(text.lines().any(|l| l.trim() == line), "{line}\n{text}");
    }
    assert!(!text.contains("map ") && hosts::shared(None).unwrap().contains("map $http_upgrade"));
    let before = hosts::sites(&app, &host, None, false).unwrap().unwrap();
    assert!(!before.contains("ssl_certificate") && before.contains("acme-challenge"), "{before}");
}

#[test]
fn of_an_app_with_two_instances_the_unit_is_a_template_and_its_sites_take_in_where_requests_go() {
    let more = r#":zero-downtime {:ports [7000 7001]} :health {:url "http://127.0.0.1:{port}/"}
                  :nginx [{:host "a.example.com" :websocket? true} {:host "b.example.com" :tls true}]"#;
    let service = r#":exec-start "/bin/echo {port} %h" :secrets ["api-key"]"#;
    let (_, app, host) = shop(service, more);
    let text = hosts::unit(&app, &host, None).unwrap().unwrap();
    for line in [
        "Description=shop on port %i",
        "ExecStart=/bin/echo %i %h",
        r#"Environment="PORT=%i""#,
        "LoadCredential=api-key:/etc/credstore/airplanes/shop/api-key",
        "StateDirectory=shop",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    let own = hosts::unit(&shop(r#":exec-start "/bin/x" :environment {"PORT" "1{port}"}"#, more).1, &host, None);
    assert!(own.unwrap().unwrap().contains("Environment=\"PORT=1%i\"\n"));
    let sites = hosts::sites(&app, &host, None, true).unwrap().unwrap();
    assert_eq!(
        sites.matches("    include /etc/nginx/airplanes/shop.server;\n    keepalive 16;\n").count(),
        2,
        "{sites}"
    );
    assert!(!sites.contains("    server 127") && !sites.contains("\n\n\n"), "{sites}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop@.service");
    std::fs::write(&file, text.replace("WorkingDirectory=/srv/shop", "WorkingDirectory=/")).unwrap();
    let verify =
        Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=yes"]).arg(&file).output();
    let Ok(output) = verify else { return eprintln!("skipped: there is no systemd-analyze on this machine") };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.lines().any(|line| line.contains("shop@")), "{said}\n{text}");
}

#[test]
fn a_template_of_the_users_own_is_used_and_its_faults_are_told() {
    let (_, app, host) = shop(JVM, "");
    let text =
        hosts::unit(&app, &host, Some("[Service]\nExecStart={{ exec_start | safe }}\n# {{ app }}")).unwrap().unwrap();
    assert_eq!(text, "# Made by airplanes.\n[Service]\nExecStart=/bin/sh -c true\n# shop\n");
    for broken in ["{{ nothing_such }}", "{% if app %}"] {
        let error = hosts::unit(&app, &host, Some(broken)).unwrap_err().to_string();
        assert!(error.starts_with("service.tera could not be made from its template: "), "{error}");
    }
}

#[test]
fn the_command_prints_both_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.edn");
    let text = r#"{:hosts {:web-1 {:address "10.0.0.11"}} :deploy {
        :shop {:git-url "/r/shop" :working-directory "/srv/shop" :hosts [:web-1]
               :service {:name "shop" :exec-start "/bin/x"} :nginx {:host "shop.example.com" :port 7000}}
        :bare {:git-url "/r/bare" :working-directory "/srv/bare" :hosts [:web-1] :service {:name "bare"}}}}"#;
    std::fs::write(&path, text).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_airplanes"));
        let output = command.arg("render").args(args).arg("--config").arg(Path::new(&path)).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, _) = run(&["systemd", "shop"]);
    assert!(code == 0 && out.contains("ExecStart=/bin/x\n"), "{out}");
    let (code, out, _) = run(&["nginx", "shop", "--host", "web-1"]);
    assert!(code == 0 && out.contains("server_name shop.example.com;"), "{out}");
    let (code, out, _) = run(&["nginx", "shop", "--shared"]);
    assert!(code == 0 && out.contains("map $http_upgrade"), "{out}");
    for (args, want) in [
        (["systemd", "bare"].as_slice(), "give its :service an :exec-start"),
        (&["nginx", "bare"], "give it :nginx"),
        (&["systemd", "shpo"], "its apps are: bare, shop"),
        (&["systemd", "shop", "--host", "web-2"], "its hosts are: web-1"),
    ] {
        let (code, _, err) = run(args);
        assert!(code == 2 && err.contains(want), "{args:?}: {err}");
    }
}
