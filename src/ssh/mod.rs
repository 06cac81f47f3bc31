//! Hosts over ssh: one multiplexed connection a host, and constant scripts run through it.
//!
//! What runs on a host is a [`Call`]: a script that is part of this program, with positional arguments. Nothing from
//! outside is ever put into a script's text. A script's standard output is its answer to the program; its standard
//! error is for people, and goes to the caller's log as it comes. A run that is out of time or canceled ends on the
//! host too, with its whole process group, and says whether that was seen.
//!
//! The programs beside ssh, ssh-keygen and ssh-keyscan, are run here too, for a person who sets hosts up.
//!
//! Must never: accept a host key that is not in known_hosts, ask anyone anything, know what the scripts mean (that is
//! `host`'s), or hand a host more than [`SESSIONS`] sessions at once, since sshd's defaults admit ten a connection.

mod error;
mod hosts;
mod run;
mod stream;
mod talk;
mod tools;

pub use error::{Cause, Error};
pub use hosts::{Hosts, SESSIONS, Settings};
pub use run::{Call, Output};
pub use tools::{ToolError, make_key, public_key, scan};
