//! A store that the disk refuses: nothing is acknowledged that is not kept, and it goes on once there is room.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use airplanes::forge;
use airplanes::model::inbox::DeliveryList;
use airplanes::model::{Branch, Forge, RepoUrl, Secret};
use reqwest::{Client, Response};

const SECRET: &str = "a secret of tests, long enough";

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The real daemon, whose files may not grow beyond what a small limit allows: writes fail as on a full disk.
async fn start(folder: &Path) -> (Daemon, String) {
    let state = folder.join("state");
    let config = format!(
        "{{:listen \"127.0.0.1:0\" :state \"{}\" :webhooks {{:github {{:secret \"{SECRET}\"}}}} :deploy {{}}}}",
        state.display()
    );
    std::fs::write(folder.join("config.edn"), config).unwrap();
    let script = "trap '' XFSZ; ulimit -S -f 1400; exec \"$0\" serve --config \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_airplanes")]).arg(folder.join("config.edn"));
    let daemon = Daemon(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(address) = std::fs::read_to_string(state.join("address")) {
            return (daemon, format!("http://{}", address.trim()));
        }
        assert!(Instant::now() < deadline, "the daemon does not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn push(client: &Client, base: &str, number: usize) -> Response {
    let url = RepoUrl::new("https://github.com/acme/snow.git").unwrap();
    let after = format!("{:040x}", number + 1).parse().unwrap();
    let body = forge::push_payload(Forge::Github, &url, &Branch::new("main").unwrap(), None, after);
    let mut headers = forge::push_headers(Forge::Github, &number.to_string());
    headers.extend(forge::sign(Forge::Github, &Secret::new("test", SECRET), &body));
    let call = client.post(format!("{base}/hooks/github"));
    headers.into_iter().fold(call, |call, (name, value)| call.header(name, value)).body(body).send().await.unwrap()
}

#[tokio::test]
async fn what_cannot_be_stored_is_503_and_is_taken_once_there_is_room() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (daemon, base) = start(folder.path()).await;
    let client = Client::new();
    let mut accepted = 0;
    let refused = loop {
        let response = push(&client, &base, accepted).await;
        if response.status() != 202 {
            break response;
        }
        accepted += 1;
        assert!(accepted < 20_000, "the disk is never full");
    };
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    assert!(refused.text().await.unwrap().contains("not-stored"));
    let ready = async || client.get(format!("{base}/readyz")).send().await.unwrap().status().as_u16();
    assert_eq!(ready().await, 503);
    assert_eq!(client.get(format!("{base}/healthz")).send().await.unwrap().status(), 200);

    let pid = daemon.0.id().to_string();
    let room = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:unlimited"]).status().unwrap();
    assert!(room.success());
    let deadline = Instant::now() + Duration::from_secs(30);
    while ready().await != 200 {
        assert!(Instant::now() < deadline, "the store does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The refused one may have reached the disk after all: then it is known, which is as good.
    assert!(matches!(push(&client, &base, accepted).await.status().as_u16(), 202 | 200));
    accepted += 1;

    let token = std::fs::read_to_string(folder.path().join("state/operator-token")).unwrap();
    let (mut kept, mut before) = (0, String::new());
    loop {
        let url = format!("{base}/deliveries?limit=500{before}");
        let page: DeliveryList = client.get(url).bearer_auth(token.trim()).send().await.unwrap().json().await.unwrap();
        kept += page.deliveries.len();
        match page.next {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert!(kept == accepted || kept == accepted + 1, "{kept} of {accepted}");
}
