//! Airplanes: a deploy daemon for repositories that depend on each other by commit.
//!
//! Someone pushes to a library; every app that depends on it by git sha is updated, built, committed, pushed and live
//! on its hosts, in the right order, each app once, with every step visible, and nothing lost if the power goes out
//! half-way. One binary is the daemon and its command line. This page is the map of the house.
//!
//! # What flows
//! ```text
//!  POST /hooks/FORGE ─▶ http ─▶ forge: verify raw bytes, parse ─▶ Push ─(on disk)─▶ 202
//!                                                                  │
//!            planner: which apps, in which waves ◀─── Event ◀──────┘    deploy (CLI, API) makes Events too, and so
//!                        │                                              does reconcile of what no webhook told
//!                        │ Plan: stored with its jobs, all or nothing
//!                        ▼
//!  pipeline: one Job an app:  prepare ▶ update ▶ build ▶ publish ▶ rollout (host, host, …)
//!                        │ every transition is a journal entry, on disk before and after its effect
//!                        ▼
//!  store (log, sled) ─▶ http: status, jobs, logs, live events         cli: the same, through the HTTP API
//! ```
//!
//! # Rooms and layers
//! A module imports only from layers below it, or from its own layer to its left; `tests/it/tidy.rs` reads the `use`
//! lines.
//!
//! | layer | rooms |
//! |---|---|
//! | 5 | [`daemon`] composes all of it · [`demo`] shows it on one machine · `main` |
//! | 4 | [`http`] the door · [`cli`] the commands |
//! | 3 | [`host`] what is done on a server · [`bumps`] which commit a dependency may move to · [`pipeline`] from events to ended jobs · [`report`] commit statuses · [`reconcile`] remotes as they are · [`servers`] servers made, waited for and destroyed · [`upkeep`] a year without care · [`notify`] who is told when it matters · [`doctor`] what works and what does not |
//! | 2, I/O, one concern each | [`files`] [`store`] [`process`] [`watch`] [`net`] [`git`] [`ssh`] [`cloud`] [`runner`] |
//! | 1, pure | [`edn`] lossless EDN · [`deps`] what deps.edn means · [`config`] the user's files · [`forge`] webhooks and APIs of git hosts · [`planner`] events to plans · [`render`] text files from templates |
//! | 0 | [`model`] plain types: names, events, apps, plans, jobs and the fold that is their state |
//!
//! `http` never touches git, ssh or a runner. The command line talks to the daemon over HTTP, since the store admits
//! one process, but for what is local by nature (`serve demo check render update init keys host`, and `restore` while
//! no daemon runs).
//!
//! # Invariants
//! 1. **Nothing accepted is lost.** A delivery is on disk (fdatasync, shared by a group) before 2xx; if it can't be,
//!    503. The door refuses or ignores only what needs no knowledge of the apps; `/deliveries` shows what became of
//!    each.
//! 2. **Event: accepted, planned, closed.** An event's plan, its jobs and its joins change in one frame of the store's
//!    log, with ids derived from the event: a crash makes neither two nor none.
//! 3. **State is a fold.** A job is its entries; [`model::JobState::apply`] refuses impossible orders, and the store's
//!    one writer thread lets nothing in that it refuses. Final is final: what comes later is a new job.
//! 4. **A plan never changes.** A job that has not started can gain causes and then waits for the upstreams of all its
//!    plans; an edge that would close a circle isn't waited for. A failed upstream takes that plan's cause from every
//!    job downstream; a job with no cause left is skipped. What a job lost so is taken up by the app's next one, once
//!    who had failed has taken it in: never half of a set. At most one job an app is not yet started, but for those
//!    that differ in whether people have to merge something before or after ([`model::Merges`]): what need not wait
//!    for a merge never joins what does, so that a person's push or deploy goes its way meanwhile. Apps that could
//!    not be read when a plan was made stand in the store with it, and are run once for what they missed.
//!    A hold keeps an app, or one library of it, where it is; its end and the run that makes up for it are one write,
//!    and that run waits for what is under way of the apps that it follows, but for what people have to merge, and for what
//!    its own app is about to begin. A person's deploy of an app that waits for a push looks for that first.
//! 5. **Observe, then act.** A step that was begun runs again after a crash and first looks whether its effect is
//!    there: publish asks the remote, the same input makes the same commit; a host has a marker
//!    (`.git/airplanes.json`: `moving` before its tree moves, `live` after restart and verification), and the unit's
//!    InvocationID is journaled before a restart. A user's own `:restart` command is at least once. What a host ran is
//!    journaled before it is touched; a rollout that may fail goes back to that, by the same journal, and then it is held.
//!    Unit, site and credentials that it replaces there the host itself keeps, by the job's id, until another installs some.
//!    What a build made for hosts is kept, and its sum journaled, before the build is journaled as done: later hosts,
//!    rollbacks and promotions get those bytes, and a host has a folder for each sum.
//!    An app's `:migrate` is begun once a job (of each environment): the host itself notes its begin and its end, and runs
//!    it on its own; only where the host can't say how it ended the job fails and says so.
//!    A provider is asked for a server only once that is journaled; what may have come of a call that was not answered is
//!    looked for by the server's own tag before it is asked again, and only what carries that tag is destroyed.
//! 6. **Leases are values** that the worker holds: one for the app, one for (repository, branch) from prepare to
//!    publish. They end with the process. Who waits for people to merge has neither: it takes the app's again for what
//!    was merged, and the branch's if that has to be built.
//! 7. **Never force-push; never publish what was not built.** Someone who was faster is fetched, the edit made again
//!    on their head, and built again unless the tree is the one that was built. A refusal by policy is an error at once.
//!    A pull request's merge is what was built if it is the same tree; else it is built before it goes live.
//!    What is only tried out (who would break by a merge, which commit broke a build) is committed in folders of its
//!    own, shown to its builds by repositories that stand in for mirrors, and pushed nowhere.
//! 8. **An edit of deps.edn changes sha and tag bytes and nothing else.**
//! 9. **Success is said last.** `succeeded` means that every host reports the sha and is well. Nothing stays running
//!    without an owner.
//! 10. **Own commits are known by sha** from our own journal, merges of our pull requests too. Their
//!     webhooks do nothing if every dependent of today was in the plan that made them. One that a person merges after
//!     its job ended without that is a person's.
//! 11. **Duplicates**: a known delivery id with the same (repository, ref, after), or an `after` that is the ref's last
//!     accepted head; only while that event is open or ended well. Otherwise the apps that did not end well run again.
//!     What was answered stays answered when `:keep` has let go of its jobs: events, heads and own commits remember.
//! 12. **Secrets have their own type** ([`model::Secret`]): no Display, no serialisation; masked in logs and errors. A build
//!     gets nothing of the daemon's environment, and is kept from its state, keys, connections and other apps' files by
//!     [`runner::cell`]; nothing of a clone is used once a build has been in it.
//!     An app's own secrets are sealed in the store, handed to its unit on a host as credentials, and shown to nobody;
//!     what reads one on a host reads it from a pipe, never from a command line.
//! 13. **argv, never shell strings**, except the user's own commands. Names from outside are validated newtypes; what
//!     runs on a host is a constant script with arguments.
//! 14. **Errors are capped** at 3 attempts a step, but for those while the disk is full, which is waited for;
//!     interruptions at 10 with no step done in between. Ids are monotonic whatever the clock does; time-outs use the
//!     monotonic clock.
//! 15. **There is always one whole store.** Another takes its place (restored, migrated, compacted) by renames that a
//!     start finishes if they were interrupted; what an operator may still want is kept aside, never removed. One that
//!     can't be read, lacks a numbered write of its log or has lost what sled took over is said to be damaged, with the
//!     backup to restore: a new one is never begun in its place, and it is never opened with the rest.
//!
//! # Where the code went another way than the first design
//! - The plan's entries of apps are kept inside the jobs' `created` and `joined` entries, where they are needed, and
//!   the plan itself is a head and one small row an app: values stay small however many apps there are.
//! - The lease on (repository, branch) is taken in prepare, before the base is chosen, so that the second of two apps
//!   on one repository stands on what the first one published.
//! - Of the apps of one repository the first that has the branch makes the bumps of all that the plan runs there and that
//!   wait for nothing more; the others find them in its commit. What a push touches is compared with what each app's last
//!   job saw too, so that a push nobody told of is not passed over.
//! - The planner knows for each coordinate what moves it (a branch, tags, nothing, not known yet), and an app is run by
//!   what may move it and waits only for those whose commit it would take: a pin or a tag is no reason to wait. What
//!   nobody knows is planned: to run once more does no harm, to miss does.
//! - Rows are JSON with a version in each entry: a person can read a journal, and old formats stay readable.
//! - sled does not sync, and costs a webhook more than all else when it is made to: writes go to a log of our own first,
//!   one sync a group, and sled takes them over when there is time. The log also shows what sled would not: a loss.
//! - What only brings a commit to hosts that was built before (a rollback by hand, hosts that were away, a promotion) is a job of one
//!   step, `rollout`, that names the job which built it. It joins no other and none joins it.
//! - A job that waits for a pull request has neither slot nor lease: own pushes go live meanwhile, as they are. It takes
//!   the app's lease again once it was merged, and what goes live is the branch's head, which others may have moved.
//! - A job that waits for a window of time has neither slot nor lease either. It never comes to that if something newer did.
//! - An app with two instances (`:zero-downtime`) keeps nothing of a switch but on the host: it is asked after each move which
//!   instance nginx sends requests to and which run, and that names the next one, forwards and on the way back. A host
//!   where it fails before the switch is put back there and then: what has the requests would be started anew by its files.
//! - Servers have journals of their own beside those of jobs: they have no app, commit, steps or lease, live for months,
//!   and are taken back by being destroyed. The store keeps them by the same rules (a fold that refuses, one writer).
//! - Half a build is none: a build that was interrupted begins again with its first command, in a fresh clone.
//! - `{host}` and `{address}` may stand in `:working-directory` and in the health url, for hosts that share a file
//!   system and apps that listen on the host's own address.

pub mod bumps;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod deps;
pub mod doctor;
pub mod edn;
pub mod files;
pub mod forge;
pub mod git;
pub mod host;
pub mod http;
pub mod model;
pub mod net;
pub mod notify;
pub mod pipeline;
pub mod planner;
pub mod process;
pub mod reconcile;
pub mod render;
pub mod report;
pub mod runner;
pub mod servers;
pub mod ssh;
pub mod store;
pub mod upkeep;
pub mod watch;
