//! Debian's `webhook`, the peer of (a): a small server in Go that many use for the same end. It checks the same
//! signature over the same body and runs `/bin/true` for each; it puts nothing on disk, and answers before the command
//! has run.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::support::world::SECRET;

/// The path of its one hook.
pub const PATH: &str = "/hooks/push";

/// The server, until it is dropped.
pub struct Webhook {
    child: Child,
    pub address: SocketAddr,
}

impl Webhook {
    pub fn start(folder: &Path) -> Result<Self> {
        let hooks = json!([{
            "id": "push",
            "execute-command": "/bin/true",
            "trigger-rule": { "match": {
                "type": "payload-hmac-sha256",
                "secret": SECRET,
                "parameter": { "source": "header", "name": "X-Hub-Signature-256" },
            } },
        }]);
        let file = folder.join("hooks.json");
        std::fs::write(&file, hooks.to_string())?;
        // It can't choose a port itself; nobody else takes this one in between, or it does not answer and we say so.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new("webhook")
            .args(["-ip", "127.0.0.1", "-port", &address.port().to_string(), "-hooks"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("webhook does not start; scripts/bench installs it")?;
        let webhook = Self { child, address };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(began.elapsed() < Duration::from_secs(10), "webhook does not answer on {address}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(webhook)
    }

    /// Waits until it has run the commands of all that it has answered.
    pub fn settle(&self) -> Result<()> {
        let began = Instant::now();
        let mut idle = 0;
        while idle < 5 {
            ensure!(began.elapsed() < Duration::from_secs(60), "webhook does not come to rest");
            std::thread::sleep(Duration::from_millis(20));
            idle = if self.has_children() { 0 } else { idle + 1 };
        }
        Ok(())
    }

    fn has_children(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.child.id())) else { return false };
        let children = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children"));
        threads.flatten().filter_map(|thread| children(thread).ok()).any(|children| !children.trim().is_empty())
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
