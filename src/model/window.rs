//! When a rollout that nobody asked for may begin: days of the week and hours of the day, at a place. Pure: the time and
//! the place's rules are given to it.

use std::fmt;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::names::EnvName;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    /// All of them.
    pub const ALL: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

    fn is(self, day: Weekday) -> bool {
        Day::ALL.iter().position(|other| *other == self) == usize::try_from(day.to_monday_zero_offset()).ok()
    }
    fn word(self) -> &'static str {
        match self {
            Day::Mon => "mon",
            Day::Tue => "tue",
            Day::Wed => "wed",
            Day::Thu => "thu",
            Day::Fri => "fri",
            Day::Sat => "sat",
            Day::Sun => "sun",
        }
    }
}

/// `:window`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// On these days. Never empty.
    pub days: Vec<Day>,
    /// From this minute of the day.
    pub from: u16,
    /// Up to this one, 1440 for its end; of the next day where that is not after `from`.
    pub to: u16,
    /// The place, as the time zone database names it.
    pub tz: String,
}

/// How long a day is, in minutes.
pub const DAY: u16 = 24 * 60;

impl Window {
    /// When it opens next; none if it is open. Days begin and end by the zone's own rules.
    pub fn opens(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = now.to_zoned(zone.clone()).date();
        let at = |day: Date, minute: u16| {
            let time = day.to_datetime(jiff::civil::Time::midnight());
            let time = time.checked_add(Span::new().minutes(i64::from(minute))).ok()?;
            zone.to_ambiguous_timestamp(time).compatible().ok()
        };
        // One that began yesterday may go on; in a week and a day each day has come, also where one lacks the hour.
        let mut next = None;
        for offset in -1..=15 {
            let Some(day) = today.checked_add(Span::new().days(offset)).ok() else { continue };
            if !self.days.iter().any(|wanted| wanted.is(day.weekday())) {
                continue;
            }
            let last = if self.to > self.from { Some(day) } else { day.tomorrow().ok() };
            let (Some(start), Some(end)) = (at(day, self.from), last.and_then(|last| at(last, self.to))) else {
                continue;
            };
            if start <= now && now < end {
                return None;
            }
            if start > now && start < end {
                next = Some(start);
                break;
            }
        }
        // A zone in which it never opens keeps nobody waiting.
        next
    }
}

/// `mon tue 09:00-16:30 Europe/Zurich`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days.len() < Day::ALL.len() {
            let days: Vec<&str> = self.days.iter().map(|day| day.word()).collect();
            write!(f, "{} ", days.join(" "))?;
        }
        let (from, to) = (self.from, self.to);
        write!(f, "{:02}:{:02}-{:02}:{:02} {}", from / 60, from % 60, to / 60, to % 60, self.tz)
    }
}

/// A job that waits for a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The environment whose window it is; none where the app has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvName>,
    /// When it opens.
    pub until: Timestamp,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.environment {
            Some(name) => write!(f, "for the window of {name}")?,
            None => write!(f, "for its window")?,
        }
        write!(f, ", which opens at {}", self.until.strftime("%Y-%m-%d %H:%MZ"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_by_the_days_and_hours_of_its_place() {
        let zone = TimeZone::get("Europe/Zurich").unwrap();
        let week = vec![Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri];
        let office = Window { days: week.clone(), from: 9 * 60, to: 16 * 60 + 30, tz: "Europe/Zurich".into() };
        let night = Window { days: vec![Day::Sat], from: 22 * 60, to: 4 * 60, tz: "Europe/Zurich".into() };
        let always = Window { days: Day::ALL.to_vec(), from: 0, to: DAY, tz: "Europe/Zurich".into() };
        let lost = Window { days: vec![Day::Sun], from: 2 * 60, to: 3 * 60, tz: "Europe/Zurich".into() };
        for (window, now, opens) in [
            // Monday; in winter an hour, in summer two ahead of UTC.
            (&office, "2026-11-23T07:59:59Z", Some("2026-11-23T08:00:00Z")),
            (&office, "2026-11-23T08:00:00Z", None),
            (&office, "2026-11-23T15:29:59Z", None),
            (&office, "2026-11-23T15:30:00Z", Some("2026-11-24T08:00:00Z")),
            (&office, "2026-07-03T14:30:00Z", Some("2026-07-06T07:00:00Z")),
            // Friday evening before the clocks change.
            (&office, "2026-10-23T20:00:00Z", Some("2026-10-26T08:00:00Z")),
            // It began on Saturday, and goes on on Sunday.
            (&night, "2026-11-29T02:59:00Z", None),
            (&night, "2026-11-29T03:00:00Z", Some("2026-12-05T21:00:00Z")),
            (&always, "2026-11-23T00:00:00Z", None),
            (&always, "2026-11-22T23:00:00Z", None),
            // That hour is not there on the day when the clocks go forward.
            (&lost, "2026-03-28T12:00:00Z", Some("2026-04-05T00:00:00Z")),
        ] {
            let opens = opens.map(|text: &str| text.parse::<Timestamp>().unwrap());
            assert_eq!(window.opens(now.parse().unwrap(), &zone), opens, "{window} at {now}");
        }
        assert_eq!(office.to_string(), "mon tue wed thu fri 09:00-16:30 Europe/Zurich");
    }
}
