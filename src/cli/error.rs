//! What a command can meet, in words for its user, and the code that it then ends with.

use super::exit::Exit;
use crate::model::InvalidName;
use crate::model::api::ErrorView;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nothing listens there, or it hangs up.
    #[error("the daemon at {url} does not answer: {why}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// The system's words.
        why: String,
    },
    /// It answered with an error.
    #[error("{}", .error.message)]
    Answer {
        /// The HTTP status.
        status: u16,
        /// What it said.
        error: ErrorView,
    },
    /// It answered with what this program does not understand.
    #[error("the daemon at {url} answered something unexpected: {why}")]
    Strange {
        /// Where it is.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// What was typed, or what a config file says.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// It is not to be done, for a reason that a person has to look at.
    #[error("{message}")]
    Refused {
        /// What was refused, and why.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// Something else, in whole.
    #[error("{message}")]
    Other {
        /// What happened, to what.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
}

impl CliError {
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }
    pub(super) fn other(message: impl Into<String>) -> Self {
        Self::Other { message: message.into(), hint: None }
    }
    pub(super) fn io(what: &str, error: &std::io::Error) -> Self {
        Self::other(format!("{what}: {error}"))
    }

    /// The code that the command ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Usage { .. } => Exit::Usage,
            Self::Refused { .. } => Exit::Refused,
            Self::Answer { status: 400 | 405 | 416, .. } => Exit::Usage,
            Self::Answer { status: 401 | 403 | 409 | 423, .. } => Exit::Refused,
            // A proxy without the daemon behind it, or a daemon on its way out.
            Self::Answer { status: 502 | 504, .. } => Exit::Unreachable,
            Self::Answer { error, .. } if error.code == "ending" => Exit::Unreachable,
            Self::Answer { .. } | Self::Strange { .. } | Self::Other { .. } => Exit::Error,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "is `airplanes serve` running there? --url or AIRPLANES_URL says where it is, else :listen of the \
                 config file"
                    .to_owned(),
            ),
            Self::Answer { error, .. } => error.hint.clone(),
            Self::Strange { .. } => Some("is that an airplanes daemon, and of this version?".to_owned()),
            Self::Usage { hint, .. } | Self::Refused { hint, .. } | Self::Other { hint, .. } => hint.clone(),
        }
    }
}

impl From<InvalidName> for CliError {
    fn from(error: InvalidName) -> Self {
        Self::Usage { message: error.to_string(), hint: None }
    }
}
