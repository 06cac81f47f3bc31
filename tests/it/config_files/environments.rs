//! `:environments` of an app: the order, what each has of its own, and what is said about the rest.

use super::{World, app};

const CONFIG: &str =
    r#"{:hosts {:a {:address "10.0.0.1"} :b {:address "10.0.0.2"} :c {:address "10.0.0.3"} :d {:address "10.0.0.4"}}}"#;

fn deploy(more: &str) -> String {
    format!("{{:shop {{:git-url \"/srv/git/shop\" :working-directory \"/x\" :restart \"true\"\n{more}}}}}")
}

#[test]
fn environments_are_in_the_order_they_are_written_and_have_what_the_app_has_where_they_say_nothing() {
    let more = r#":ship :push :rollout {:parallel 3} :health {:url "http://127.0.0.1:1/"}
                  :environments {:staging {:hosts [:c]} :canary {:ip "10.0.0.9" :promote :auto}
                                 :production {:hosts [:b :a] :promote :manual :rollout {:batches ["50%"]}
                                              :health {:url "http://127.0.0.1:2/"}}}"#;
    let loaded = World::new(CONFIG, &deploy(more)).loaded();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let shop = app(&loaded, "shop");
    let seen: Vec<String> = shop
        .environments
        .iter()
        .map(|e| format!("{} {:?} {} {} {:?}", e.name, e.hosts, e.manual, e.rollout.parallel, e.rollout.ship))
        .collect();
    assert_eq!(
        seen,
        [
            r#"staging ["c"] false 3 Push"#,
            r#"canary ["10.0.0.9"] false 3 Push"#,
            r#"production ["b", "a"] true 10 Push"#
        ]
    );
    let urls: Vec<Option<String>> = shop.hosts.iter().map(|host| shop.health_on(host)).collect();
    let (one, two) = (Some("http://127.0.0.1:1/".to_owned()), Some("http://127.0.0.1:2/".to_owned()));
    assert_eq!(urls, [one.clone(), one, two.clone(), two]);
}

#[test]
fn what_hosts_are_sent_and_run_before_is_of_use_where_environments_have_the_hosts() {
    let more = r#":build "make" :artifact "a.jar" :keep-releases 3 :prepare "p" :migrate "m" :reversible? true
                  :environments {:staging {:hosts [:c]} :production {:hosts [:a] :promote :manual}}"#;
    let loaded = World::new(CONFIG, &deploy(more)).loaded();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
}

#[test]
fn a_window_is_days_and_hours_of_a_place() {
    let more = r#":window {:days [:fri :mon] :hours "09:00-16:30" :tz "Europe/Zurich"}
                  :environments {:s {:hosts [:a]} :t {:hosts [:b] :window {:hours "22:00-04:00"}}}"#;
    let loaded = World::new(CONFIG, &deploy(more)).loaded();
    let shop = app(&loaded, "shop");
    let windows: Vec<String> = shop.hosts.iter().map(|h| shop.window_on(&h.name).unwrap().to_string()).collect();
    assert_eq!(windows, ["mon fri 09:00-16:30 Europe/Zurich", "22:00-04:00 UTC"]);
    let hours =
        "2:17 `:hours` can't be used | expected hours of a day like \"09:00-16:30\", or over midnight \"22:00-04:00\"";
    for (window, want) in [
        (
            "{}",
            "2:9 `:window` says neither days nor hours | expected {:days [:mon :tue] :hours \"09:00-16:30\" :tz \"Europe/Zurich\"}",
        ),
        ("{:hours \"9-17\"}", hours),
        ("{:hours \"09:00-24:01\"}", hours),
        ("{:hours \"09:00-09:00\"}", hours),
        ("{:hours 9}", hours),
        (
            "{:days [:mon :tue :foo]}",
            "2:27 unknown value `:foo` for `:days` | expected one of :mon :tue :wed :thu :fri :sat :sun",
        ),
        ("{:days []}", "2:16 `:days` names no day | expected one or more, like [:mon :tue]"),
        (
            "{:days [:mon] :tz \"Europe/Zürich\"}",
            "2:27 the time zone \"Europe/Zürich\" is not known on this machine | expected a name like \"Europe/Zurich\" | `timedatectl list-timezones` has all names; where it has few, install tzdata",
        ),
        (
            "{:days [:mon] :houres \"09:00-10:00\"}",
            "2:23 unknown key `:houres` in :window | did you mean `:hours`? | known here: :days :hours :tz",
        ),
    ] {
        let world = World::new(CONFIG, &deploy(&format!(":window {window} :hosts [:a]")));
        assert_eq!(world.faults(), [format!("deploy {want}")], "{window}");
    }
}

#[test]
fn what_makes_no_sense_is_said_where_it_stands() {
    let hosts = "2:16 both `:hosts` and `:environments` say where the app runs | expected one of them";
    for (more, want) in [
        (
            ":environments []",
            "2:15 `:environments` has the wrong kind of value | expected a map like {:staging {:hosts [:web-1]}}, found a vector",
        ),
        (":environments {}", "2:15 `:environments` can't be used | expected one environment or more, and 20 at most"),
        (":hosts [:a] :environments {:s {:hosts [:b]}}", &hosts.replace("2:16", "2:8")),
        (":environments {:s {}}", "2:19 the environment :s has no `:hosts` | expected `:hosts [:web-1]` in this map"),
        (":environments {:s {:hosts []}}", "2:27 the environment :s has no hosts | expected one host or more"),
        (
            ":environments {:s {:hosts [:a]} :t {:hosts [:b :a]}}",
            "2:44 the host :a is in :s and in :t | expected every host in one environment",
        ),
        (
            ":environments {:s {:hosts [:a] :promote :manual}}",
            "2:41 the first environment, :s, can't be promoted to | no environment is before it | it gets what is built: with the app's `:trigger :manual` only when a person says so",
        ),
        (
            ":environments {:s {:hosts [:a]} :t {:hosts [:b] :promote :manual} :u {:hosts [:c]}}",
            "2:67 what is built would get to :u past :t | expected `:promote :manual`, as in the one before it",
        ),
        (
            ":environments {:s {:hosts [:a] :promote :manul}}",
            "2:41 unknown value `:manul` for `:promote` | expected one of :auto :manual | did you mean `:manual`?",
        ),
        (
            ":environments {:s {:hosts [:web-9]}}",
            "2:28 unknown host `:web-9` | expected a host of config.edn | config.edn's :hosts are: :a :b :c :d",
        ),
        (
            ":environments {:s {:hosts [:a] :promot :auto}}",
            "2:32 unknown key `:promot` in the environment :s | did you mean `:promote`? | known here: :hosts :ip :promote :rollout :health :window",
        ),
        (":environments {\"s\" {:hosts [:a] :promote :auto}}", ""),
    ] {
        let world = World::new(CONFIG, &deploy(more));
        if want.is_empty() {
            assert_eq!(app(&world.loaded(), "shop").environments[0].name.as_str(), "s");
        } else {
            assert_eq!(world.faults(), [format!("deploy {want}")], "{more}");
        }
    }
}
