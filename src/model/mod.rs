//! Plain types that every other room speaks: names, ids, events, apps, plans and jobs.
//!
//! Must never do I/O, read a clock or depend on another module of this crate. A name from outside (a branch, a
//! sha, a host) is parsed here once, at the edge, and trusted inside.

pub mod api;
pub mod app;
pub mod bump;
pub mod check;
pub mod environment;
pub mod event;
pub mod explain;
pub mod fold;
pub mod graph;
pub mod hex;
pub mod hold;
pub mod id;
pub mod impact;
pub mod inbox;
pub mod job;
pub mod live;
pub mod merges;
pub mod names;
pub mod notice;
pub mod plan;
pub mod progress;
pub mod provenance;
pub mod repo;
pub mod rollout;
pub mod secret;
pub mod server;
pub mod service;
pub mod updates;
pub mod upkeep;
pub mod url;
pub mod window;

pub use app::{App, BuildStep, Health, Host, Runner, Trigger};
pub use bump::Bump;
pub use check::{Check, CheckUp, Finding};
pub use environment::Environment;
pub use event::{Delivery, Event, EventKind, Forge, Push, TagPush};
pub use fold::{FoldError, JobState};
pub use hex::hex;
pub use id::{DeliveryId, EventId, HoldId, ImpactId, JobId, PlanId, ServerId};
pub use job::{Cause, Entry, HostResult, Outcome, RECORD_VERSION, Record, Step, StepResult};
pub use merges::Merges;
pub use names::{
    AppName, Branch, CloudName, CredentialName, EnvName, FileSum, HostName, InvalidName, Lib, PgName, ServerName, Sha,
    UnitName,
};
pub use notice::{Happening, NOTICE_VERSION, Notice, Outgoing, Topic, Trouble};
pub use plan::{Draft, PlanHead, PlanRow, Planned, TagTarget, Target, Why};
pub use progress::{Back, Culprit, HostState, Migration, Narrowed, Progress, Request, StepState, Updated};
pub use secret::{ForgeSecrets, Secret};
pub use server::{Provider, ServerEntry, ServerSpec, ServerState};
pub use service::{Certificate, Postgres, RestartPolicy, Service, Site, ZeroDowntime};
pub use updates::{Follows, Publish, Track, Updates};
pub use url::{RepoId, RepoUrl};
pub use window::{Waiting, Window};
