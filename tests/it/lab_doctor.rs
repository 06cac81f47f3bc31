//! `airplanes doctor` on real hosts: sudo, units and folders are judged as a rollout would meet them, and nothing of
//! them changes.
//!
//! Skipped unless a lab is up; see `lab`.

use serde_json::Value;

use super::support::lab_world::{FOLDER, HOSTS, LabWorld, inside, invocation};

const SUDOERS: &str = "/etc/sudoers.d/deploy";

fn check<'v>(up: &'v Value, group: &str, name: &str) -> &'v Value {
    let mut checks = up["checks"].as_array().unwrap_or_else(|| panic!("{up:#}")).iter();
    checks.find(|c| c["group"] == group && c["name"] == name).unwrap_or_else(|| panic!("no {group} {name}: {up:#}"))
}

#[track_caller]
fn failed(check: &Value, detail: &str, mend: &str) {
    let has = |key: &str, text: &str| check[key].as_str().unwrap_or_default().contains(text);
    assert!(check["finding"] == "failed" && has("detail", detail) && has("mend", mend), "{check:#}");
}

/// The rules as they were, put back whatever happens.
struct Rules(String);

impl Drop for Rules {
    fn drop(&mut self) {
        inside("host2", &format!("printf '%s\\n' '{}' >{SUDOERS}", self.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_units_and_folders_of_real_hosts_are_judged_without_touching_them() {
    let Some(lab) = LabWorld::live().await else { return };
    let before = HOSTS.map(invocation);
    let up = lab.world.get("/doctor").await;
    assert_eq!(up["well"], true, "{up:#}");
    for host in HOSTS {
        let group = format!("host {host}");
        assert_eq!(check(&up, &group, "app unit")["detail"], "shop is active");
        for name in ["ssh", "clock", "git", "app folder", "app fetch", "app sudo", "app health"] {
            assert_eq!(check(&up, &group, name)["finding"], "ok", "{up:#}");
        }
    }
    let rules = Rules(inside("host2", &format!("cat {SUDOERS}")));
    let sudo = async |rules: &str| {
        inside("host2", &format!("printf '%b' '{rules}' >{SUDOERS}"));
        let up = lab.world.get("/doctor").await;
        check(&up, "host host2", "app sudo").clone()
    };
    let line = "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart shop";
    failed(&sudo("").await, "without a password", line);
    // Allowed, but it asks: `sudo -l` alone would say yes, since some other rule needs no password.
    let asks = "deploy ALL=(root) /usr/bin/systemctl restart shop\\ndeploy ALL=(root) NOPASSWD: /usr/bin/true\\n";
    failed(&sudo(asks).await, "without a password", line);
    let exact = sudo(&format!("{line}\\n")).await;
    assert_eq!(exact["finding"], "ok", "{exact:#}");
    let defaults = sudo("Defaults:deploy !authenticate\\ndeploy ALL=(root) /usr/bin/systemctl restart shop\\n").await;
    assert_eq!(defaults["finding"], "ok", "{defaults:#}");
    drop(rules);

    inside("host2", &format!("chown root {FOLDER} {FOLDER}/.git"));
    inside("host1", &format!("echo by hand >>{FOLDER}/app.pl"));
    let up = lab.world.get("/doctor").await;
    inside("host2", &format!("chown deploy {FOLDER} {FOLDER}/.git"));
    inside("host1", &format!("git -C {FOLDER} checkout -q app.pl"));
    failed(check(&up, "host host2", "app folder"), FOLDER, "chown -R deploy");
    failed(check(&up, "host host1", "app folder"), "app.pl", "git -C");
    assert_eq!(HOSTS.map(invocation), before, "a unit was restarted");
}
