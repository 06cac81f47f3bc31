//! The shell scripts that a competent person would write for what we do: with the same keys, and nothing of this
//! machine's configuration. Ours and theirs take turns.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::stats::{median, time};
use crate::support::world::World;
use crate::table::{Table, Target};

/// A script of this folder with what it is given.
pub struct Script {
    pub file: &'static str,
    pub env: Vec<(&'static str, String)>,
}

impl Script {
    /// A program in the script's environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.env.iter().map(|(key, value)| (key, value))).stdin(Stdio::null());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "script").env(format!("GIT_{who}_EMAIL"), "script@example.com");
        }
        command
    }

    /// Seconds that it takes.
    pub fn run(&self) -> Result<f64> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench").join(self.file);
        let began = Instant::now();
        let status = self.command("sh").arg(file).status()?;
        let took = began.elapsed().as_secs_f64();
        ensure!(status.success(), "{} failed with {status}", self.file);
        Ok(took)
    }
}

/// What ssh is told to be in a world.
pub fn ssh_options(world: &World, key: &Path) -> String {
    format!(
        "-i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes -o BatchMode=yes",
        key.display(),
        world.path("known_hosts").display()
    )
}

/// Takes so many turns, each of which gives the seconds that ours and theirs took, and a row of their medians.
pub fn compare(
    table: &mut Table,
    what: &str,
    target: f64,
    turns: usize,
    mut turn: impl FnMut(usize) -> Result<(f64, f64)>,
) -> Result<()> {
    let (mut ratios, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..turns {
        let (own, peer) = turn(n)?;
        // The first is a warm-up: mirrors are made.
        if n > 0 {
            ratios.push(own / peer);
            ours.push(own);
            theirs.push(peer);
        }
    }
    let shown = |seconds: &[f64]| time(Duration::from_secs_f64(median(seconds)));
    table.compare(what, shown(&ours), shown(&theirs), median(&ratios), Some(Target::AtMost(target)));
    Ok(())
}
