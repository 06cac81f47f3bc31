//! The ways: a mail server that is strict, a command, and `airplanes notify test`, which tries them all.

use airplanes::process::{Command, call};
use serde_json::Value;
use std::time::Duration;

use super::{APP, push, world_with};
use crate::support::receiver::{Next, Receiver};
use crate::support::smtp::{Mode, PASSWORD, Smtp};
use crate::support::world::folder;

#[tokio::test(flavor = "multi_thread")]
async fn mails_are_right_and_a_recovery_answers_its_failure() {
    let keys = folder();
    let smtp = Smtp::start(keys.path(), Mode::Starttls).await;
    let notify = format!(":notify [{{:email \"ops@example.com\"}}] {}", smtp.config());
    let ca = vec![("SSL_CERT_FILE".to_owned(), smtp.ca.display().to_string())];
    let world = world_with(APP, &notify, &["app"], ca).await;
    push(&world, "app", "no").await;
    smtp.has(1).await;
    push(&world, "app", "yes").await;
    let mails = smtp.has(2).await;
    for mail in &mails {
        assert!(mail.encrypted && mail.authenticated);
        assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("air@example.com", &["ops@example.com".to_owned()][..]));
        assert_eq!(mail.headers["auto-submitted"], "auto-generated");
        assert!(mail.headers["content-type"].starts_with("text/plain; charset=utf-8"), "{mail:#?}");
        assert!(mail.headers["from"].contains("<air@example.com>") && mail.headers["to"].contains("ops@example.com"));
        assert!(jiff::fmt::rfc2822::parse(&mail.headers["date"]).is_ok(), "{mail:#?}");
        let id = &mail.headers["message-id"];
        assert!(id.starts_with("<msg_") && id.ends_with("@example.com>"), "{id}");
    }
    let (failed, recovered) = (&mails[0], &mails[1]);
    assert!(failed.body.starts_with("app failed in build/test\n"), "{}", failed.body);
    assert!(failed.body.contains("it is not ok") && failed.body.contains("What to do: "), "{}", failed.body);
    assert!(!failed.headers.contains_key("in-reply-to"));
    assert!(recovered.body.starts_with("app recovered\n"), "{}", recovered.body);
    assert_eq!(recovered.headers["in-reply-to"], failed.headers["message-id"]);
    assert_eq!(recovered.headers["references"], failed.headers["message-id"]);
    assert_ne!(recovered.headers["message-id"], failed.headers["message-id"]);
    assert!(!world.log().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_test_tries_each_way_and_says_what_each_answered() {
    let keys = folder();
    let (implicit, receiver) = (Smtp::start(keys.path(), Mode::Implicit).await, Receiver::start().await);
    let notify = format!(
        ":notify [{} {{:email \"ops@example.com\"}} {{:email \"nobody@example.com\"}} {{:command [\"sh\" \"-c\" \"cat > $0; env > $0.env; echo paged\" \"{}\"]}} {{:command [\"false\"]}}] {}",
        receiver.entry(),
        keys.path().join("paged").display(),
        implicit.config()
    );
    let env = vec![
        ("SSL_CERT_FILE".to_owned(), implicit.ca.display().to_string()),
        ("A_SECRET_OF_THE_DAEMON".to_owned(), "hunter22".to_owned()),
    ];
    let world = world_with(APP, &notify, &["app"], env).await;

    let dry = world.call(&["notify", "test", "--dry-run"]).await;
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert!(dry.out.contains("Subject: ") && dry.out.contains("\"event\":\"test\""), "{}", dry.out);
    assert!(receiver.calls().is_empty() && !keys.path().join("paged").exists(), "something was sent");

    let said = world.call(&["notify", "test"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(lines.len(), 5, "{}", said.out);
    assert!(lines[0].starts_with("✔ webhook 127.0.0.1:") && lines[0].contains("200 said the receiver"), "{}", lines[0]);
    assert!(lines[1].starts_with("✔ email ops@example.com") && lines[1].contains("kept"), "{}", lines[1]);
    assert!(lines[2].starts_with("✘ email nobody@example.com") && lines[2].contains("no such user"), "{}", lines[2]);
    assert!(lines[3].starts_with("✔ command sh") && lines[3].contains("paged"), "{}", lines[3]);
    assert!(lines[4].starts_with("✘ command false") && lines[4].contains("code 1"), "{}", lines[4]);
    let mail = implicit.has(1).await.remove(0);
    assert!(mail.encrypted && mail.headers["subject"].len() > 10, "{mail:#?}");
    assert_eq!(receiver.notices()[0]["event"], "test");
    let paged: Value = serde_json::from_slice(&std::fs::read(keys.path().join("paged")).unwrap()).unwrap();
    assert_eq!((&paged["event"], &paged["version"]), (&Value::from("test"), &Value::from(1)));
    let env = std::fs::read_to_string(keys.path().join("paged.env")).unwrap();
    assert!(env.contains("AIRPLANES_EVENT=test\n") && env.contains("AIRPLANES_TITLE="), "{env}");
    assert!(!env.contains("hunter22"), "the daemon's environment: {env}");
    assert!(world.log().contains("a notice's command printed"), "its output is in the log");

    receiver.will([Next::Status(404)]);
    let json = world.call(&["notify", "test", "--json"]).await;
    let view: Value = serde_json::from_str(&json.out).unwrap();
    assert!(view["ways"][0]["error"].as_str().unwrap().contains("404"), "{view:#}");
}

#[tokio::test]
async fn a_short_command_ends_within_its_time_and_its_output_is_bounded() {
    let command = |script: &str| Command {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        dir: "/".into(),
        env: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
        cgroup: None,
    };
    let input = vec![b'x'; 1 << 20];
    let limit = Duration::from_secs(20);
    let called = call(command("head -c 3; yes | head -c 1000000; exit 4"), input.clone(), limit).await.unwrap();
    assert_eq!((called.code, called.timed_out), (Some(4), false));
    assert!(called.output.starts_with(b"xxx") && called.output.len() <= 16 << 10);
    let began = std::time::Instant::now();
    let called = call(command("sleep 600 & sleep 600"), input, Duration::from_millis(300)).await.unwrap();
    assert!(called.timed_out && began.elapsed() < Duration::from_secs(10));
    let gone = Command { program: "/no/such/program".into(), ..command("") };
    let error = call(gone, Vec::new(), limit).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/program"), "{error}");
}
