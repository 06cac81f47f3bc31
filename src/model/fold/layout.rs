//! What a job has to do: its steps and its hosts, from its app's entry and from why it is there. Must never change a job
//! that has started.

use super::JobState;
use crate::model::job::Step;
use crate::model::names::HostName;
use crate::model::plan::Why;
use crate::model::progress::{HostState, Progress, StepState};
use crate::model::rollout::Carried;

impl JobState {
    /// What a rollout without a build brings to hosts; none of a job that builds.
    pub fn carried(&self) -> Option<&Carried> {
        self.causes.iter().find_map(|cause| match &cause.why {
            Why::Rollout(carried) => Some(carried),
            _ => None,
        })
    }
    /// Steps and hosts anew from the app's entry: only before the job has started.
    pub(super) fn lay_out(&mut self) {
        let pending = |step| StepState {
            step,
            state: Progress::Pending,
            attempt: 0,
            errors: 0,
            started_at: None,
            finished_at: None,
            error: None,
            exit_code: None,
        };
        let carried = self.carried().cloned();
        let steps = if carried.is_some() { vec![Step::Rollout] } else { Step::all(&self.app) };
        self.steps = steps.into_iter().map(pending).collect();
        let host = |name: &HostName| HostState {
            name: name.clone(),
            state: Progress::Pending,
            previous: None,
            previous_sum: None,
            restarting: None,
            prepared: None,
            installed: false,
            changed: false,
            touched: false,
            locked: false,
            back: None,
            error: None,
        };
        let is_meant = |name: &HostName| match &carried {
            Some(carried) => carried.hosts.is_empty() || carried.hosts.contains(name),
            None => self.app.is_automatic(name),
        };
        self.hosts = self.app.hosts.iter().filter(|h| is_meant(&h.name)).map(|h| host(&h.name)).collect();
        if let Some(carried) = carried {
            (self.published, self.base) = (Some(carried.commit), Some((carried.branch, carried.commit)));
            self.sum = carried.sum;
        }
    }
}
