//! Hosts side by side, so many at once: for preflight, `:prepare`, turns and the way back alike.
//!
//! What goes wrong for one host here (its log can't be made, git won't bundle for it) is that host's end and no other's.
//! Only the store's fault and somebody's wish end the beginning of more, and then too what is under way comes to its end.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::super::{StepError, Work, say};
use super::turn::Cut;
use crate::host::Error;
use crate::model::rollout::Unreachable;
use crate::model::{Host, HostResult};
use crate::process::LogFile;

/// What was made of those that came to an end, as they did; and why no more were begun, if so. `begin` says that a host is
/// next, in a line for the log; without one no more are begun. `told` is a line for what was made of one.
pub(super) async fn each<'h, T, F: Future<Output = Result<T, StepError>>>(
    mut log: Option<&mut LogFile>,
    hosts: &'h [Host],
    at_once: usize,
    begin: impl Fn(&Host) -> Result<Option<String>, StepError>,
    act: impl Fn(&'h Host) -> F,
    told: impl Fn(&T) -> Option<String>,
) -> (Vec<T>, Result<(), StepError>) {
    let (mut made, mut stopped) = (Vec::new(), None);
    let (mut waiting, mut under_way) = (hosts.iter(), FuturesUnordered::new());
    loop {
        while under_way.len() < at_once.max(1)
            && stopped.is_none()
            && let Some(host) = waiting.next()
        {
            let line = match begin(host) {
                Ok(Some(line)) => line,
                Ok(None) => {
                    waiting = [].iter();
                    break;
                }
                Err(error) => {
                    stopped = Some(error);
                    break;
                }
            };
            if let Some(log) = &mut log
                && let Err(error) = say(log, line).await
            {
                stopped = Some(error.into());
                break;
            }
            under_way.push(act(host));
        }
        let Some(ended) = under_way.next().await else { break };
        let said = match ended {
            Ok(one) => {
                let line = told(&one);
                made.push(one);
                match (&mut log, line) {
                    (Some(log), Some(line)) => say(log, line).await.map_err(StepError::from),
                    _ => Ok(()),
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = said {
            stopped.get_or_insert(error);
        }
    }
    (made, stopped.map_or(Ok(()), Err))
}

/// What was found of a host before its turn.
pub(super) enum Met {
    /// Its turn can come.
    Fit,
    /// It can't be reached, and is tried once more in its turn.
    Away(String),
    /// Its turn does not come; nothing was done to it.
    Ends(HostResult),
}

impl Met {
    /// What was found, also where it could not be looked from here.
    pub fn of(work: &Work, host: &Host, found: Result<(), Cut>) -> Result<Self, StepError> {
        match found {
            Ok(()) => Ok(Met::Fit),
            Err(Cut::Host(error)) => Ok(Self::by(work, host, &error)),
            Err(Cut::Step(StepError::Failed { error, .. } | StepError::Retry(error))) => {
                Ok(Met::Ends(HostResult::Refused { error: work.masked(&error), locked: false }))
            }
            Err(Cut::Step(error)) => Err(error),
        }
    }
    /// A host that said no, or nothing.
    pub fn by(work: &Work, host: &Host, error: &Error) -> Self {
        let text = work.masked(&error.to_string());
        match error.is_unreachable() {
            true if work.job.app.rollout_on(&host.name).unreachable == Unreachable::Skip => Met::Away(text),
            true => Met::Ends(HostResult::Unreachable { error: text }),
            false => Met::Ends(HostResult::Refused { error: text, locked: matches!(error, Error::Locked { .. }) }),
        }
    }
    /// Why its turn does not come now.
    pub fn why(&self) -> Option<&str> {
        match self {
            Met::Away(error) | Met::Ends(HostResult::Unreachable { error } | HostResult::Refused { error, .. }) => {
                Some(error)
            }
            Met::Fit | Met::Ends(_) => None,
        }
    }
}
