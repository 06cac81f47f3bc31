//! Git, through libgit2: one bare mirror per repository under the state directory, private clones for jobs, pushes.
//!
//! In the flow: `watch` and the planner ask for heads, the update step fetches and reads, a job works in a
//! [`WorkClone`], the publish step pushes. All of libgit2's work runs on blocking threads, each call under a deadline.
//!
//! What this module must never do: push by force; remove an object from a mirror (job clones and builds read them
//! through alternates); accept an ssh host that known_hosts does not name; let a caller wait on a hung remote.

mod adopt;
mod ask;
mod asked;
mod bundle;
mod clone;
mod config;
mod error;
mod folder;
mod instead_of;
pub mod known_hosts;
mod line;
mod maintain;
mod message;
mod mirror;
mod origin;
mod push;
mod read;
mod remote;
mod sha1;
mod stand_in;
mod task;
mod tree;

pub use ask::Right;
pub use clone::{Stamp, WorkClone};
pub use config::{Author, GitConfig};
pub use error::{GitError, PushError};
pub use maintain::HeldMirror;
pub use message::message;
pub use mirror::{Fetched, Mirrors};
pub use origin::{Origin, origin};
pub use push::Pushed;
pub use read::{Begins, CommitInfo, Merging, Rev};
pub use remote::Heads;
pub use stand_in::Merged;
