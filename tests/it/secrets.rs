//! `airplanes secret`: kept sealed, listed by names, never shown again. What a unit gets of it: `lab_hosts`.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::acts::given;
use crate::support::world::World;

/// Whether a file below a folder holds a text.
fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => holds(&path, text),
        false => std::fs::read(&path).is_ok_and(|all| all.windows(text.len()).any(|part| part == text.as_bytes())),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_kept_sealed_listed_by_its_name_and_never_shown_again() {
    const VALUE: &str = "correct-horse-battery-staple";
    let mut world = World::new(0);
    world.by_file = true;
    world.commit("app", &[("README", "an app")]);
    world.deploy_edn(
        ":app {:git-url \"{repo:app}\" :working-directory \"/srv/app\" :ip \"192.0.2.7\" :service {:name \"app\" :exec-start \"/bin/x\" :secrets [\"api-key\" \"other\"]}}",
    );
    world.start().await;
    let (code, out, err) = given(&world, &["secret", "set", "app", "api-key"], &format!("{VALUE}\n"));
    assert!(code == 0 && out == "set: api-key of app\n" && err.contains("airplanes deploy app"), "{out}{err}");
    let (_, out, err) = given(&world, &["secret", "set", "app", "unused"], "x");
    assert!(out == "set: unused of app\n" && err.contains(":secrets [\"unused\"]"), "{out}{err}");
    let (_, out, _) = given(&world, &["secret", "set", "app", "api-key"], VALUE);
    assert_eq!(out, "replaced: api-key of app\n");

    let (_, out, _) = given(&world, &["secret", "list", "app"], "");
    let lines: Vec<&str> = out.lines().skip(1).collect();
    assert!(lines[0].starts_with("api-key") && lines[1].contains("not in :secrets"), "{out}");
    assert!(lines[2].starts_with("other") && lines[2].contains("not set"), "{out}");
    let (_, json, _) = given(&world, &["secret", "list", "app", "--json"], "");
    assert!(!out.contains(VALUE) && !json.contains(VALUE));

    for (args, input, code, words) in [
        (["secret", "set", "nobody", "x"].as_slice(), "1", 1, "there is no app `nobody`"),
        (&["secret", "set", "app", "x"], "", 2, "1 to 8192 bytes"),
        (&["secret", "set", "app", "x"], &"1".repeat(9000), 2, "1 to 8192 bytes"),
        (&["secret", "set", "app", "../x"], "1", 2, "not a valid secret's name"),
        (&["secret", "remove", "app", "nothing"], "", 1, "app has no secret nothing"),
    ] {
        let (was, _, err) = given(&world, args, input);
        assert!(was == code && err.contains(words), "{args:?}: {was} {err}");
    }

    // Who thinks better of it at a terminal has one that shows again what is typed.
    let line = "trap : INT; $AIRPLANES secret set app other; echo code $?; stty -a | grep -oE -- '-?\\becho\\b'";
    let mut person = tokio::process::Command::new("script")
        .args(["-qec", line, "/dev/null"])
        .envs([("AIRPLANES", env!("CARGO_BIN_EXE_airplanes")), ("SHELL", "/bin/sh")])
        .envs([("AIRPLANES_URL", world.base()), ("AIRPLANES_TOKEN", world.token())])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut types, mut shows, mut shown) = (person.stdin.take().unwrap(), person.stdout.take().unwrap(), Vec::new());
    let talk = async {
        while !String::from_utf8_lossy(&shown).contains("it is not shown") {
            assert_ne!(shows.read_buf(&mut shown).await.unwrap(), 0, "{}", String::from_utf8_lossy(&shown));
        }
        types.write_all(b"\x03").await.unwrap();
        shows.read_to_end(&mut shown).await.unwrap();
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), talk).await.unwrap();
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(shown.contains("nothing was set") && shown.contains("code 6\r\necho\r\n"), "{shown}");

    let backup = world.path("run").join("backup");
    let (code, ..) = given(&world, &["backup", backup.to_str().unwrap()], "");
    assert_eq!(code, 0);
    let plain = |path: &Path| std::fs::read(path).unwrap().windows(VALUE.len()).any(|part| part == VALUE.as_bytes());
    assert!(!plain(&backup), "a backup shows it");
    assert!(!holds(&world.state(""), VALUE), "the state folder shows it");
    assert!(!world.log().contains(VALUE), "the log shows it");

    // It is there after a restart, and can be read by the daemon that has the key.
    assert_eq!(world.stop(), Some(0));
    {
        let store = airplanes::store::Store::open(&world.state("")).unwrap();
        let app = airplanes::model::AppName::new("app").unwrap();
        let name = airplanes::model::CredentialName::new("api-key").unwrap();
        assert!(store.secret(&app, &name).unwrap().unwrap().matches(VALUE.as_bytes()));
        let key = world.state("secrets.key");
        let text = std::fs::read_to_string(&key).unwrap();
        std::fs::write(&key, text.chars().rev().collect::<String>().trim()).unwrap();
        let error = store.secret(&app, &name).unwrap_err().to_string();
        assert!(error.contains("set it again") || error.contains("is no key"), "{error}");
        std::fs::write(&key, text).unwrap();
    }
    world.start().await;
    // A key that is another one is told in words, and nothing is done on a host.
    given(&world, &["secret", "set", "app", "other"], "another one");
    let (key, text) = (world.state("secrets.key"), std::fs::read_to_string(world.state("secrets.key")).unwrap());
    std::fs::write(&key, text.chars().rev().collect::<String>().trim()).unwrap();
    world.post("/apps/app/deploy").await;
    let job = world.job("app").await;
    assert!(job["reason"].as_str().unwrap().contains("is no key: `airplanes secret set app api-key`"), "{job:#}");
    assert_eq!((&job["state"], &job["hosts"][0]["state"]), (&"failed".into(), &"skipped".into()), "{job:#}");
    std::fs::write(&key, text).unwrap();
    let (_, out, _) = given(&world, &["secret", "remove", "app", "unused"], "");
    assert_eq!(out, "removed: unused of app\n");
    let (_, out, _) = given(&world, &["secret", "list", "app"], "");
    assert!(out.contains("api-key") && !out.contains("unused"), "{out}");
}
