//! How much room the disk of the state directory has. Below `:disk {:min-free}` no job starts and no build begins;
//! they wait and go on by themselves. Deliveries, pushes and rollouts that are under way never wait.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::waits::{Wait, Waiting};
use super::{Inner, Pipeline};
use crate::model::JobId;
use crate::model::upkeep::{Bytes, DiskView};

/// How often one that waits looks again.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Pipeline {
    /// The disk of the state directory; an error in words if it can't be asked.
    pub fn disk(&self) -> Result<DiskView, String> {
        self.inner.disk()
    }
}

impl Inner {
    fn disk(&self) -> Result<DiskView, String> {
        let min_free = self.rooms.load().min_free;
        let path = self.state.display().to_string();
        let (free, total) = room(&self.state).map_err(|e| format!("how much is free in {path} can't be told: {e}"))?;
        let low = (free < min_free).then(|| {
            format!(
                "less than {} free in {path}: {} left; builds go on once there is room (`airplanes gc`, or lower :disk {{:min-free}})",
                Bytes(min_free),
                Bytes(free)
            )
        });
        Ok(DiskView { path, free, total, min_free, low })
    }

    /// Why nothing that needs room may begin. A disk that can't be asked is not taken for a full one.
    pub(super) fn low(&self) -> Option<String> {
        self.disk().ok()?.low
    }

    /// How many bytes may be filled. A disk that can't be asked is not taken for a full one.
    pub(super) fn spare(&self) -> u64 {
        self.disk().map_or(u64::MAX, |disk| disk.free.saturating_sub(disk.min_free))
    }

    /// Returns once there is room, at once if there is; false if `stop` came or `give_up` said so before.
    pub(super) async fn await_room(&self, job: JobId, stop: &CancellationToken, give_up: impl Fn() -> bool) -> bool {
        let mut ticks = self.ticks.subscribe();
        let mut waits: Option<Waiting<'_>> = None;
        while let Some(why) = self.low() {
            if waits.is_none() {
                tracing::warn!(%job, "waits: {why}");
            }
            match &waits {
                Some(waits) => waits.says(Wait::Room(why)),
                None => waits = Some(self.waits.begin(job, Wait::Room(why))),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                // A new configuration may ask for less.
                _ = ticks.changed() => {}
                () = stop.cancelled() => return false,
                () = self.ending.cancelled() => return false,
            }
            if give_up() {
                return false;
            }
        }
        if waits.is_some() {
            tracing::info!(%job, "goes on: there is room again");
        }
        true
    }
}

/// Free and all bytes of the disk that `path` is on.
fn room(path: &Path) -> nix::Result<(u64, u64)> {
    let disk = nix::sys::statvfs::statvfs(path)?;
    // The block counts are of other widths on other machines.
    #[allow(clippy::useless_conversion, reason = "they are u64 on this one")]
    let bytes = |blocks: nix::libc::fsblkcnt_t| u64::from(blocks).saturating_mul(disk.fragment_size());
    Ok((bytes(disk.blocks_available()), bytes(disk.blocks())))
}
