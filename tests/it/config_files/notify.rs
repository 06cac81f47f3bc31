//! `:notify`, `:smtp` and `:dead-man`: what they may say, and the words where they don't.

use std::time::Duration;

use airplanes::config::{Tls, Way};

use super::{World, config_faults};

const SMTP: &str = ":smtp {:host \"mail.example.com\" :from \"air@example.com\"}";

#[test]
fn the_ways_are_read_with_their_defaults() {
    let config = format!(
        "{{:notify [{{:webhook \"https://hooks.example.com/T0/B0\"}} {{:email \"ops@example.com\"}} {{:command [\"page\" \"--app\"]}}] {SMTP} :dead-man {{:url \"https://hc.example.com/x\"}}}}"
    );
    let notify = World::new(&config, "{}").loaded().config.notify;
    let [Way::Webhook { url, secret }, Way::Email { to }, Way::Command { argv }] = notify.ways.as_slice() else {
        panic!("{:?}", notify.ways)
    };
    assert_eq!((url.expose(), secret.is_none()), (b"https://hooks.example.com/T0/B0".as_slice(), true));
    assert_eq!((to.as_str(), argv.len()), ("ops@example.com", 2));
    let smtp = notify.smtp.unwrap();
    assert_eq!((smtp.port, smtp.tls, smtp.login.is_none()), (587, Tls::Starttls, true));
    assert_eq!(notify.dead_man.unwrap().every, Duration::from_secs(300));
    for (tls, port) in [("implicit", 465), ("none", 25)] {
        let config = format!("{{:smtp {{:host \"m\" :from \"a@b\" :tls :{tls}}}}}");
        assert_eq!(World::new(&config, "{}").loaded().config.notify.smtp.unwrap().port, port);
    }
    let clear = "{:smtp {:host \"m\" :from \"a@b\" :tls :none :user \"u\" :password \"p\"}}";
    assert_eq!(World::new(clear, "{}").loaded().warnings.findings().count(), 1);
}

#[test]
fn every_fault_has_words_of_its_own() {
    for (config, want) in [
        (
            "{:notify {:webhook \"https://x\"}}".to_owned(),
            "config 1:10 `:notify` has the wrong kind of value | expected a vector like [{:webhook \"…\"}], found a map",
        ),
        (
            "{:notify [{:email \"ops@example.com\"}]}".to_owned(),
            "config 1:11 `:email` needs a mail server, and there is no `:smtp` | expected `:smtp` in config.edn | add \
             :smtp {:host \"mail.example.com\" :from \"airplanes@example.com\"} beside :notify",
        ),
        (
            format!("{{:notify [{{:email \"ops@example.com, x@y\"}}] {SMTP}}}"),
            "config 1:19 `:email` is no mail address | expected an address like \"ops@example.com\"",
        ),
        (
            "{:notify [{:webhook \"ftp://x\"}]}".to_owned(),
            "config 1:21 `:webhook` is no url | expected http:// or https://, a host and a path",
        ),
        (
            "{:notify [{:webhook \"https://x\" :secret \"whsec_?\"}]}".to_owned(),
            "config 1:41 `:secret` is no key of Standard Webhooks | expected base64 after `whsec_`, or a secret that \
             does not begin so",
        ),
        (
            "{:notify [{:webhook \"https://x\" :command [\"y\"]}]}".to_owned(),
            "config 1:11 an entry of `:notify` is one way | expected one of :webhook, :email and :command | give each \
             an entry of its own: [{:webhook \"…\"} {:email \"…\"}]",
        ),
        (
            "{:notify [{:command \"page --app\"}]}".to_owned(),
            "config 1:21 `:command` has the wrong kind of value | expected a vector of strings like \
             [\"/usr/local/bin/page\" \"--app\"], found a string | it is run as it is, without a shell",
        ),
        (
            "{:notify [{:command []}]}".to_owned(),
            "config 1:21 `:command` has the wrong kind of value | expected a vector of strings like \
             [\"/usr/local/bin/page\" \"--app\"], found none",
        ),
        (
            "{:notify [{}]}".to_owned(),
            "config 1:11 an entry of :notify has no `:webhook` | expected `:webhook \"https://…\"` or `:email \"…\"` \
             or `:command [\"…\"]` in this map",
        ),
        (
            "{:smtp {:host \"m\"}}".to_owned(),
            "config 1:8 :smtp has no `:from` | expected `:from \"airplanes@example.com\"` in this map",
        ),
        (
            "{:smtp {:host \"m\" :from \"a@b\" :user \"u\"}}".to_owned(),
            "config 1:37 `:user` has no `:password` | expected `:password` beside it",
        ),
        (
            "{:smtp {:host \"m\" :from \"a@b\" :tls :startls}}".to_owned(),
            "config 1:36 unknown value `:startls` for `:tls` | expected one of :starttls :implicit :none | did you \
             mean `:starttls`?",
        ),
        (
            "{:dead-man {:every \"5m\"}}".to_owned(),
            "config 1:12 :dead-man has no `:url` | expected `:url \"https://…\"` in this map",
        ),
        (
            "{:dead-man {:url \"https://x\" :every \"5ms\"}}".to_owned(),
            "config 1:37 `:every` is too short | expected 1s or more",
        ),
    ] {
        assert_eq!(config_faults(&config), [want], "{config}");
    }
}

#[test]
fn a_webhook_s_url_is_not_shown_where_it_is_at_fault() {
    let config = "{:notify [{:webhook \"htps://hooks.example.com/T0/SECRET\"}]}";
    let faults = World::new(config, "{}").load().unwrap_err().render(false);
    assert!(!faults.contains("SECRET"), "{faults}");
}
