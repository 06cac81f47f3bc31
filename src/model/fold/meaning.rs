//! What a job is for and waits for, as its causes and entries have it: what others ask of it before they go their way.
//! Must never change one.

use super::JobState;
use crate::model::job::Cause;
use crate::model::plan::{BY_ITSELF, Why};
use crate::model::rollout::Because;
use crate::model::updates::Publish;

impl JobState {
    /// Whether it bumps every dependency that is due.
    pub fn bumps_all(&self) -> bool {
        self.live_causes().any(|cause| self.bumps_all_for(cause))
    }
    /// Whether it does so for this cause. A person's push goes live at once, and not when somebody merges what is due
    /// besides.
    pub fn bumps_all_for(&self, cause: &Cause) -> bool {
        match cause.why {
            Why::OwnPush { .. } => self.app.updates.publish == Publish::Push,
            Why::Asked { .. } => true,
            Why::Dependency | Why::Rollout(_) => false,
        }
    }
    /// Whether it waits for somebody to merge its pull request, and so for nothing that the daemon has.
    pub fn waits_for_merge(&self) -> bool {
        self.ended.is_none() && self.requested.is_some() && self.published.is_none()
    }
    /// Whether it waits for a window, and so for nothing that the daemon has.
    pub fn waits_for_window(&self) -> bool {
        self.ended.is_none() && self.waiting.is_some()
    }
    /// Whether the app's other jobs go their way meanwhile.
    pub fn lets_others(&self) -> bool {
        self.waits_for_merge() || self.waits_for_window()
    }
    /// Whether a person said that it goes to its hosts now.
    pub fn is_asked(&self) -> bool {
        self.live_causes().any(|cause| match &cause.why {
            Why::Asked { by } => !by.starts_with(BY_ITSELF),
            Why::Rollout(carried) => carried.because != Because::CatchUp,
            Why::OwnPush { .. } | Why::Dependency => false,
        })
    }
}
