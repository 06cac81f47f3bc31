//! What is done on a host (by a rollout, to set it up, to put units and sites there), each a constant script run over ssh and a typed reading of its answer.
//!
//! Every operation looks first and acts only on what is missing, so it can be run again after a crash anywhere, of
//! this daemon, of the connection or of the host. What a host is in the middle of stands in its own marker,
//! `.git/airplanes.json`: `moving` (written to the disk before the tree moves) or `live` (after restart and
//! verification), so that a host never looks done when it is not.
//!
//! Must never: throw away a change or a commit that is not the daemon's own, restart what it was not asked to, put
//! text from outside into a script, or decide about a rollout (that is `pipeline`'s).

pub mod calls;
mod error;
pub mod install;
pub mod instances;
pub mod lock;
pub mod migration;
mod ops;
mod readiness;
pub mod setup;
mod ship;
mod state;

pub use error::Error;
pub use ops::{Brought, Check, Remote, Restart, Restarted};
pub use readiness::{Folder, HostFacts, Readiness, unit_of};
pub use ship::{Release, Source};
pub use state::{HostState, Marker, MarkerState, Probe, UnitState};
