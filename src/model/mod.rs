//! Plain types that every other room speaks: names, ids, events, apps, plans and jobs.
//!
//! Must never do I/O, read a clock or depend on another module of this crate. A name from outside (a branch, a
//! sha, a host) is parsed here once, at the edge, and trusted inside.

pub mod app;
pub mod event;
pub mod id;
pub mod names;
pub mod secret;
pub mod url;

pub use app::{App, BuildStep, Health, Host, Runner, Service, Trigger};
pub use event::{Delivery, Event, EventKind, Forge, Push};
pub use id::{DeliveryId, EventId, JobId, PlanId};
pub use names::{AppName, Branch, HostName, InvalidName, Lib, Sha, UnitName};
pub use secret::Secret;
pub use url::{RepoId, RepoUrl};
