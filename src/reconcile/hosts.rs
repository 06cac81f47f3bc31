//! Hosts that were away: now and again it is tried whether one is back, and what it missed is brought to it by a job of
//! its own. Must never do anything on a host itself but log in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Inner;
use crate::model::HostName;
use crate::pipeline::Away;

/// How often it is tried, at least and at most: a tenth of `:poll` in between.
const EVERY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// How long one may take to let us in.
const WITHIN: Duration = Duration::from_secs(30);

impl Inner {
    /// Looks after hosts that were away, until the end. Not while `:poll` is false.
    pub(super) async fn watch_hosts(self: Arc<Self>) {
        loop {
            let poll = self.in_force.load().config.poll;
            let every = poll.map_or(super::IDLE, |poll| (poll / 10).clamp(EVERY.0, EVERY.1));
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.stop.cancelled() => return,
            }
            if poll.is_none() {
                continue;
            }
            match self.pipeline.away().await {
                Ok(away) => {
                    for away in away {
                        self.look_for(&away).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "which hosts were away is not known"),
            }
        }
    }

    async fn look_for(&self, away: &Away) {
        let rooms = self.pipeline.rooms();
        let mut looks = FuturesUnordered::new();
        for host in &away.hosts {
            let rooms = &rooms;
            looks.push(async move {
                let warm = tokio::time::timeout(WITHIN, rooms.hosts.warm(host, &self.stop)).await;
                matches!(warm, Ok(Ok(()))).then(|| host.name.clone())
            });
        }
        let mut back: Vec<HostName> = Vec::new();
        while let Some(host) = looks.next().await {
            back.extend(host);
        }
        if back.is_empty() || self.stop.is_cancelled() {
            return;
        }
        back.sort();
        if let Err(error) = self.pipeline.catch_up(away, back).await {
            tracing::warn!(app = %away.app, %error, "hosts that are back can't catch up yet");
        }
    }
}
