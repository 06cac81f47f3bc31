//! Why a provider did not do what was asked, told apart by what may have happened and by who can mend it.

use std::time::Duration;

use crate::model::Provider;
use crate::net::NetError;

/// Why a call did not do what it should.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CloudError {
    /// It was not answered.
    #[error(transparent)]
    Net(#[from] NetError),
    /// It may go better later.
    #[error("{provider} does not take calls now: it answered {status}{said}")]
    Busy {
        /// Who.
        provider: Provider,
        /// The status.
        status: u16,
        /// What it said, after a colon.
        said: String,
        /// How long it wants to be left alone.
        wait: Option<Duration>,
    },
    /// The token does not let us in, or not this far.
    #[error(
        "{provider} answered {status} to the token {token}{said}; see in its control panel that the token is valid and \
         may read and write servers and ssh keys, and give that to :providers {{:{provider} {{:token …}}}}"
    )]
    Token {
        /// Who.
        provider: Provider,
        /// The status.
        status: u16,
        /// The token's name.
        token: String,
        /// What it said, after a colon.
        said: String,
    },
    /// It was understood and refused.
    #[error("{provider} refused this with {status}{said}")]
    Refused {
        /// Who.
        provider: Provider,
        /// The status.
        status: u16,
        /// What it said, after a colon.
        said: String,
    },
    /// What is wanted can't be had there.
    #[error("{provider} {what}; {hint}")]
    NotOffered {
        /// Who.
        provider: Provider,
        /// What it does not have.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// It is not what that API answers.
    #[error("{provider} answered {path} with what its API does not: {why}; see that :api in :providers is right")]
    Odd {
        /// Who.
        provider: Provider,
        /// What was asked.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl CloudError {
    /// Whether what was asked for may have been done all the same.
    pub fn may_have_happened(&self) -> bool {
        match self {
            CloudError::Net(error) => matches!(error, NetError::Unreachable { .. }),
            // Too many calls are turned away at the door.
            CloudError::Busy { status, .. } => *status != 429,
            CloudError::Odd { .. } => true,
            CloudError::Token { .. } | CloudError::Refused { .. } | CloudError::NotOffered { .. } => false,
        }
    }
    /// Whether the same call may be answered otherwise in a while, with nothing mended.
    pub fn is_passing(&self) -> bool {
        matches!(self, CloudError::Net(NetError::Unreachable { .. }) | CloudError::Busy { .. })
    }
    /// How long the provider wants to be left alone.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            CloudError::Busy { wait, .. } => *wait,
            _ => None,
        }
    }
}
