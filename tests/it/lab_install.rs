//! The operator's first day on real hosts with systemd: `scripts/first-day`, which does what the README says and nothing
//! else, with this checkout's binary on the hosts of the lab that is up.
//!
//! Skipped unless a lab is up; see `lab`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::support::lab_world;

#[tokio::test(flavor = "multi_thread")]
async fn by_the_readme_a_private_app_is_deployed_and_a_power_cut_and_an_upgrade_lose_nothing() {
    let Some(_turn) = lab_world::turn().await else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/first-day");
    let run = tokio::process::Command::new(script)
        .args(["--here", env!("CARGO_BIN_EXE_airplanes")])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(300), run).await.expect("it takes about a minute").unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}");
    assert!(said.contains("== all of it was seen"), "{said}\n{wrong}");
}
