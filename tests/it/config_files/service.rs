//! `:service`, `:nginx`, `:postgres` and `:templates`: the maps of today and those of the Clojure airplanes.

use airplanes::model::api::RolloutView;
use airplanes::model::{Certificate, RestartPolicy};

use super::{World, app, lines};

const CONFIG: &str = r#"{:hosts {:web-1 {:address "10.0.0.11"}}}"#;

fn deploy(more: &str) -> String {
    format!(
        "{{:shop {{:git-url \"git@github.com:acme/shop.git\" :working-directory \"/srv/shop\" :hosts [:web-1] {more}}}}}"
    )
}

fn faults(more: &str) -> Vec<String> {
    let at = deploy("").len() - 2;
    let column = |fault: String| match fault.strip_prefix("deploy 1:") {
        Some(rest) => rest.split_once(' ').map(|(n, rest)| format!("{} {rest}", n.parse::<i64>().unwrap() - at as i64)),
        None => None,
    };
    World::new(CONFIG, &deploy(more)).faults().into_iter().filter_map(column).collect()
}

#[test]
fn a_service_says_all_that_its_unit_needs() {
    let more = r#":service {:name "shop" :exec-start "/usr/bin/java -jar shop.jar" :user "shop" :memory "1GB" :restart :on-failure
                  :secrets ["api-key" db] :write ["/srv/uploads"] :environment {"PORT" "7000"}} :postgres {:database "shop"}"#;
    let loaded = World::new(CONFIG, &deploy(more)).loaded();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let shop = app(&loaded, "shop");
    let service = shop.service.as_ref().unwrap();
    assert_eq!((service.memory, service.restart), (Some(1_000_000_000), RestartPolicy::OnFailure));
    assert_eq!(service.secrets.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["api-key", "db"]);
    let postgres = shop.postgres.as_ref().unwrap();
    assert_eq!((postgres.database.as_str(), postgres.role.as_str()), ("shop", "shop"));
}

#[test]
fn the_maps_of_the_clojure_airplanes_are_taken_as_they_are() {
    for environment in
        [r#""PORT=7000""#, r#"["PORT=7000" "MODE=prod"]"#, "{:PORT 7000 :MODE :prod}", r#"{"PORT" "7000"}"#]
    {
        let more = format!(
            r#":service {{:name "ep" :description "ep" :working-directory "/root/ep" :exec-start "/usr/bin/clojure -M:run" :environment {environment}}}
               :nginx [{{:host "a.example.com" :port 7000 :ip "localhost"}} {{:host "b.example.com" :port 7001}}]"#
        );
        let loaded = World::new(CONFIG, &deploy(&more)).loaded();
        let shop = app(&loaded, "shop");
        assert_eq!(shop.service.as_ref().unwrap().environment["PORT"], "7000", "{environment}");
        let sites: Vec<_> = shop.nginx.iter().map(|s| (s.host.as_str(), s.ip.as_str(), s.port)).collect();
        assert_eq!(sites, [("a.example.com", "localhost", Some(7000)), ("b.example.com", "127.0.0.1", Some(7001))]);
    }
}

#[test]
fn certificates_are_certbots_or_files() {
    for (tls, want) in [
        ("true", Some(Certificate::Certbot { email: None })),
        (":certbot", Some(Certificate::Certbot { email: None })),
        ("{:email \"ops@example.com\"}", Some(Certificate::Certbot { email: Some("ops@example.com".into()) })),
        (
            "{:certificate \"/e/c.pem\" :key \"/e/k.pem\"}",
            Some(Certificate::Files { certificate: "/e/c.pem".into(), key: "/e/k.pem".into() }),
        ),
        ("false", None),
    ] {
        let more = format!(":service {{:name \"shop\"}} :nginx {{:host \"x.example.com\" :port 7000 :tls {tls}}}");
        let loaded = World::new(CONFIG, &deploy(&more)).loaded();
        assert_eq!(app(&loaded, "shop").nginx[0].tls, want, "{tls}");
    }
}

#[test]
fn what_would_get_out_of_its_line_or_do_nothing_is_refused() {
    let exec = ":exec-start \"/bin/x\"";
    for (more, want) in [
        (format!(":service {{:name \"shop\" {exec} :user \"a b\"}}"), "`:user` can't be used"),
        (format!(":service {{:name \"shop\" {exec} :write [\"srv\"]}}"), "`:write` names no folder"),
        (format!(":service {{:name \"shop\" {exec} :environment {{\"A\" \"1\\n2\"}}}}"), "the variable A can't be set"),
        (format!(":service {{:name \"shop\" {exec} :environment {{\"A-B\" \"1\"}}}}"), "the variable A-B can't be set"),
        (format!(":service {{:name \"shop\" {exec} :environment [\"A\"]}}"), "this is no variable of `:environment`"),
        (format!(":service {{:name \"shop\" {exec} :secrets [\"../x\"]}}"), "`../x` is not a valid secret's name"),
        (format!(":service {{:name \"shop\" {exec} :memory \"1MB\"}}"), "nothing can run with so little `:memory`"),
        (":service {:name \"shop\" :exec-start \"/bin/x \\\\\"}".to_owned(), "`:exec-start` ends with a backslash"),
        (
            format!(":service {{:name \"shop\" {exec}}} :postgres {{:database \"a;b\"}}"),
            "`a;b` is not a valid PostgreSQL name",
        ),
        (":service {:name \"shop\"} :nginx {:host \"a;b\" :port 7000}".to_owned(), "`a;b` is not a valid host name"),
        (":service {:name \"shop\"} :nginx {:host \"a\" :port 0}".to_owned(), "nothing listens on `:port 0`"),
        (
            ":service {:name \"shop\"} :nginx [{:host \"a\" :port 1} {:host \"b\" :aliases [\"a\"] :port 2}]"
                .to_owned(),
            "two sites are called a",
        ),
        (
            ":service {:name \"shop\"} :nginx {:host \"a\" :port 1 :tls {:certificate \"/c\"}}".to_owned(),
            "`:tls` is neither certbot's nor files",
        ),
    ] {
        let faults = faults(&more);
        assert!(faults.len() == 1 && faults[0].contains(want), "{more}: {faults:#?}");
    }
    let idle = World::new(CONFIG, &deploy(":service {:name \"shop\" :memory \"1GB\"} :postgres {:database \"shop\"}"));
    let warnings = lines(&idle.loaded().warnings);
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings[0].contains("without `:exec-start`"), "{warnings:#?}");
}

const SHOP: &str = ":service {:name \"shop\" :exec-start \"/bin/x\"}";
const ASKED: &str = ":health {:url \"http://127.0.0.1:{port}/\"}";
const SERVED: &str = ":nginx {:host \"shop.example.com\"}";

#[test]
fn an_app_with_two_instances_names_their_ports_once() {
    let more = format!("{SHOP} {ASKED} {SERVED} :zero-downtime {{:ports [7000 7001]}}");
    let loaded = World::new(CONFIG, &deploy(&more)).loaded();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let shop = app(&loaded, "shop");
    let zero = shop.zero_downtime.as_ref().unwrap();
    assert_eq!((zero.ports, zero.drain.as_secs(), shop.nginx[0].port), ([7000, 7001], 30, None));
    assert_eq!(shop.health_at(&shop.hosts[0], Some(7001)).as_deref(), Some("http://127.0.0.1:7001/"));
    let told = RolloutView::of(shop, |_| true).notes;
    let switches = "a host switches to its other instance (at 7000 or 7001) once that is well";
    assert!(told.iter().any(|note| note.starts_with(switches)), "{told:?}");
    // Another app's on the same host are others.
    let two = |ports: &str| {
        let entry = |name: &str, ports: &str| {
            let service = SHOP.replace("shop", name);
            let more =
                format!("{service} {ASKED} :nginx {{:host \"{name}.example.com\"}} :zero-downtime {{:ports {ports}}}");
            deploy(&more).replace(":shop", &format!(":{name}")).replace("/srv/shop", &format!("/srv/{name}"))
        };
        let (shop, api) = (entry("shop", "[7000 7001]"), entry("api", ports));
        World::new(CONFIG, &format!("{} {}", shop.strip_suffix('}').unwrap(), api.strip_prefix('{').unwrap()))
    };
    let faults = two("[7001 7002]").faults();
    assert!(
        faults[0].contains("instances of :shop and :api have one port on web-1 | expected other `:ports`"),
        "{faults:?}"
    );
    two("[7002 7003]").loaded();
    let one = |name: &str, unit: &str| {
        format!(
            ":{name} {{:git-url \"git@github.com:o/{name}\" :working-directory \"/srv/{name}\" :hosts [:web-1] \
             :service {{:name \"{unit}\" :exec-start \"/bin/{name}\"}}}}"
        )
    };
    let faults = World::new(CONFIG, &format!("{{{} {}}}", one("shop", "shop"), one("api", "shop"))).faults();
    assert!(faults[0].contains("the apps :shop and :api have one unit on web-1"), "{faults:?}");
    let faults = World::new(CONFIG, &format!("{{{}}}", one("shop", "poweroff.target"))).faults();
    assert!(faults[0].contains("without its kind"), "{faults:?}");
    // A job keeps it with its app.
    let kept = serde_json::to_string(shop).unwrap();
    assert_eq!(serde_json::from_str::<airplanes::model::App>(&kept).unwrap(), *shop);
}

#[test]
fn two_instances_need_ports_of_their_own_nginx_and_a_health_that_tells_them_apart() {
    let zero = ":zero-downtime {:ports [7000 7001]}";
    for (more, want) in [
        (format!("{SHOP} {ASKED} {SERVED} :zero-downtime {{}}"), ":zero-downtime has no `:ports`"),
        (format!("{SHOP} {ASKED} {SERVED} :zero-downtime {{:ports [7000]}}"), "`:ports` can't be used"),
        (
            format!("{SHOP} {ASKED} {SERVED} :zero-downtime {{:ports [7000 7001] :drain \"2h\"}}"),
            "`:drain` is too long",
        ),
        (
            format!("{SHOP} {ASKED} {SERVED} :zero-downtime {{:ports [7000 7001] :drian \"2s\"}}"),
            "unknown key `:drian`",
        ),
        (format!("{SHOP} {ASKED} {zero}"), "has `:zero-downtime` and no `:nginx`"),
        (format!("{ASKED} {SERVED} {zero}"), "has `:zero-downtime` and no `:service`"),
        (format!("{SHOP} {SERVED} {zero}"), "has `:zero-downtime` and no `:health`"),
        (
            format!("{SHOP} {SERVED} {zero} :health {{:url \"http://h:7000/\"}}"),
            "asks the old instance and the new one alike",
        ),
        (format!("{SHOP} {ASKED} {zero} :nginx {{:host \"a\" :port 7000}}"), "and so does this `:port`"),
        (
            format!(
                ":service {{:name \"shop\" :exec-start \"/bin/x\" :environment {{\"PORT\" \"7000\"}}}} {ASKED} {SERVED} {zero}"
            ),
            "both instances would listen on one port",
        ),
        (format!(":service {{:name \"shop@a\"}} {ASKED} {SERVED} {zero}"), "instances of shop@a can't be made"),
        (format!("{SHOP} {ASKED} {SERVED}"), "nothing is filled in for `{port}`"),
    ] {
        let faults = faults(&more);
        let faults: Vec<_> = faults.iter().filter(|fault| !fault.contains("nothing restarts")).collect();
        assert!(faults.iter().any(|fault| fault.contains(want)), "{more}: {faults:#?}");
    }
}

#[test]
fn templates_are_read_from_their_folder_and_watched() {
    let config = "{:templates \"mine\"}";
    let loaded = World::new(config, "{}").file("/c/mine/service.tera", "[Unit]\n").loaded();
    assert_eq!(loaded.config.templates.service.as_deref(), Some("[Unit]\n"));
    assert_eq!(loaded.config.templates.site, None);
    assert!(loaded.files.iter().any(|file| file.ends_with("mine/http.tera")), "one that appears takes effect");
    let none = lines(&World::new(config, "{}").loaded().warnings);
    assert!(none.len() == 1 && none[0].contains("there is no template in /c/mine"), "{none:#?}");
    let bytes = World::new(config, "{}").file("/c/mine/site.tera", vec![0xff]).faults();
    assert!(bytes[0].contains("is not UTF-8"), "{bytes:#?}");
}
