//! Which forges used to call and have gone silent. Pure but for the calls that it is given.
//!
//! The rule: a forge that has sent five calls or more, and then nothing for longer than three days and longer than
//! three times its longest pause of the last thirty days, is silent. Whether a branch has moved meanwhile is not
//! known without asking the forge.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Delivery, DeliveryId, Forge};

/// How far back pauses count.
pub(super) const WINDOW: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Pauses shorter than this don't matter: three of them are below the floor.
const PAUSE: SignedDuration = SignedDuration::from_hours(24);
/// How many calls make a habit.
const HABIT: usize = 5;

/// What is heard of a delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    id: DeliveryId,
    at: Timestamp,
    forge: Forge,
}

impl Call {
    pub fn of(delivery: &Delivery) -> Self {
        Self { id: delivery.id, at: delivery.at, forge: delivery.forge }
    }
}

/// What was heard of each forge.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// The newest delivery that was heard.
    newest: Option<DeliveryId>,
    forges: BTreeMap<Forge, Heard>,
}

#[derive(Debug)]
struct Heard {
    last: Timestamp,
    calls: usize,
    /// Long pauses and when each ended.
    pauses: Vec<(Timestamp, SignedDuration)>,
}

impl Hearing {
    /// The newest delivery that it knows: what is older need not be read again.
    pub fn newest(&self) -> Option<DeliveryId> {
        self.newest
    }

    /// Takes in deliveries, oldest first.
    pub fn hear(&mut self, deliveries: impl IntoIterator<Item = Call>) {
        for delivery in deliveries {
            if self.newest.is_some_and(|newest| delivery.id <= newest) {
                continue;
            }
            self.newest = Some(delivery.id);
            let new = Heard { last: delivery.at, calls: 0, pauses: Vec::new() };
            let heard = self.forges.entry(delivery.forge).or_insert(new);
            let pause = delivery.at.duration_since(heard.last);
            if pause > PAUSE {
                heard.pauses.push((delivery.at, pause));
            }
            heard.pauses.retain(|(end, _)| delivery.at.duration_since(*end) < WINDOW);
            heard.last = heard.last.max(delivery.at);
            heard.calls += 1;
        }
    }

    /// How long a forge has been silent, if that is too long. None if nothing is known of it.
    /// `floor` is the shortest silence that counts.
    pub fn silence(
        &self,
        forge: Forge,
        now: Timestamp,
        floor: SignedDuration,
    ) -> Option<Result<(), (Timestamp, SignedDuration)>> {
        let heard = self.forges.get(&forge)?;
        let longest = heard.pauses.iter().map(|(_, pause)| *pause).max().unwrap_or(SignedDuration::ZERO);
        let allowed = floor.max(longest.saturating_mul(3));
        let silent = now.duration_since(heard.last);
        Some(if heard.calls >= HABIT && silent > allowed { Err((heard.last, silent)) } else { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(hours: &[i64]) -> Vec<Call> {
        let call = |hour: &i64| Call {
            id: DeliveryId(*hour as u64 + 1),
            at: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(*hour),
            forge: Forge::Github,
        };
        hours.iter().map(call).collect()
    }
    const FLOOR: SignedDuration = SignedDuration::from_hours(72);

    fn silent(hours: &[i64], now: i64) -> bool {
        let mut hearing = Hearing::default();
        hearing.hear(calls(hours));
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(now);
        hearing.silence(Forge::Github, now, FLOOR).is_some_and(|heard| heard.is_err())
    }

    #[test]
    fn a_forge_is_silent_after_three_days_or_three_of_its_own_pauses() {
        let daily: Vec<i64> = (0..10).map(|day| day * 24).collect();
        assert!(!silent(&daily, 216 + 72));
        assert!(silent(&daily, 216 + 73));
        // A team that rests for four days is missed after twelve.
        let weekly = [0, 1, 2, 98, 99, 100];
        assert!(!silent(&weekly, 100 + 12 * 24 - 1));
        assert!(silent(&weekly, 100 + 12 * 24 + 1));
        // Four calls are no habit, and a forge that was never heard is not missed.
        assert!(!silent(&[0, 1, 2, 3], 10_000));
        assert!(Hearing::default().silence(Forge::Gitea, Timestamp::UNIX_EPOCH, FLOOR).is_none());
        // A pause of long ago no longer counts.
        let mut long_ago = vec![0, 1, 2, 3, 200];
        long_ago.extend((0..40).map(|day| 200 + day * 24));
        assert!(silent(&long_ago, 200 + 39 * 24 + 73));
    }

    #[test]
    fn a_page_that_was_heard_is_not_heard_again() {
        let mut hearing = Hearing::default();
        hearing.hear(calls(&[0, 1, 2]));
        hearing.hear(calls(&[0, 1, 2]));
        assert_eq!((hearing.newest(), hearing.forges[&Forge::Github].calls), (Some(DeliveryId(3)), 3));
    }
}
