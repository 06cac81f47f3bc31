//! The store's keys: one tree, a prefix byte for each kind of row, big-endian numbers so that keys sort by time.

use crate::model::{
    AppName, Branch, CredentialName, DeliveryId, EnvName, EventId, Forge, JobId, Lib, RepoId, ServerId, Sha, Topic,
};

/// What the names of tags begin with where they stand beside those of branches.
pub(super) const TAGS: &str = "refs/tags/";
/// The format's version.
pub(super) const VERSION: &[u8] = b"m/version";
/// The number of the log's last frame whose rows sled has. Of this folder's files, not of what the rows say.
pub(super) const MERGED: &[u8] = b"m/merged";
/// Prefix of delivery rows.
pub(super) const DELIVERY: u8 = b'd';
/// Prefix of event rows.
pub(super) const EVENT: u8 = b'e';
/// Prefix of ended jobs' states.
pub(super) const JOB: u8 = b'j';
/// Prefix of the marks of events that are not closed.
pub(super) const OPEN_EVENT: u8 = b'o';
/// Prefix of the marks of jobs that have not ended.
pub(super) const OPEN_JOB: u8 = b'O';
/// Prefix of each app's jobs.
pub(super) const APP_JOB: u8 = b'a';
/// Prefix of each app's jobs again, by when they began to bring something to hosts.
pub(super) const ROLLOUT: u8 = b'R';
/// Prefix of the marks of jobs that have ended and were not looked at by who tells people.
pub(super) const ENDED: u8 = b'E';
/// Prefix of troubles that people were told of.
pub(super) const TROUBLE: u8 = b'n';
/// Prefix of notices on their way.
pub(super) const OUTGOING: u8 = b'N';
/// A sign of life.
pub(super) const ALIVE: &[u8] = b"m/alive";
/// Prefix of holds.
pub(super) const HOLD: u8 = b'H';
/// Prefix of the apps' secrets, sealed.
pub(super) const SECRET: u8 = b'S';
/// Prefix of the apps that plans may lack.
pub(super) const MISSED: u8 = b'M';
/// Prefix of the marks of jobs whose commits' statuses are due.
pub(super) const STATUS: u8 = b's';
/// Prefix of servers' journals.
pub(super) const SERVER: u8 = b'v';
/// Prefix of what is known of apps' dependencies.
pub(super) const INDEX: u8 = b'x';

fn with(prefix: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.iter().map(|r| r.len()).sum::<usize>());
    key.push(prefix);
    for part in rest {
        key.extend_from_slice(part);
    }
    key
}

pub(super) fn delivery(id: DeliveryId) -> Vec<u8> {
    with(DELIVERY, &[&id.0.to_be_bytes()])
}
/// One of the pushes of a webhook call: a call can bring several, and several of one branch.
pub(super) fn forge_id(forge: Forge, id: &str, repo: &RepoId, branch: &Branch, after: &Sha) -> Vec<u8> {
    let (forge, repo, branch) = (forge.as_str().as_bytes(), repo.as_str().as_bytes(), branch.as_str().as_bytes());
    with(b'k', &[forge, b"\0", id.as_bytes(), b"\0", repo, b"\0", branch, b"\0", after.as_bytes()])
}
/// As `forge_id`, for a new tag. No branch's name begins so.
pub(super) fn forge_id_of_tag(forge: Forge, id: &str, repo: &RepoId, tag: &str, after: &Sha) -> Vec<u8> {
    let (forge, repo, tag) = (forge.as_str().as_bytes(), repo.as_str().as_bytes(), tag.as_bytes());
    let parts: [&[u8]; 9] = [forge, b"\0", id.as_bytes(), b"\0", repo, b"\0refs/tags/", tag, b"\0", after.as_bytes()];
    with(b'k', &parts)
}
/// The last that was accepted for a tag, beside those for branches.
pub(super) fn tag_head(repo: &RepoId, tag: &str) -> Vec<u8> {
    with(b'h', &[repo.as_str().as_bytes(), b"\0", TAGS.as_bytes(), tag.as_bytes()])
}
/// A tag that is known to be there.
pub(super) fn seen_tag(repo: &RepoId, tag: &str) -> Vec<u8> {
    with(b't', &[repo.as_str().as_bytes(), b"\0", tag.as_bytes()])
}
pub(super) fn seen_tags(repo: &RepoId) -> Vec<u8> {
    with(b't', &[repo.as_str().as_bytes(), b"\0"])
}
pub(super) fn heads(repo: &RepoId) -> Vec<u8> {
    with(b'h', &[repo.as_str().as_bytes(), b"\0"])
}
pub(super) fn head(repo: &RepoId, branch: &Branch) -> Vec<u8> {
    with(b'h', &[repo.as_str().as_bytes(), b"\0", branch.as_str().as_bytes()])
}
pub(super) fn hold(app: &AppName, lib: Option<&Lib>) -> Vec<u8> {
    with(HOLD, &[app.as_str().as_bytes(), b"\0", lib.map_or("", Lib::as_str).as_bytes()])
}
pub(super) fn server(id: ServerId, seq: u64) -> Vec<u8> {
    with(SERVER, &[&id.0.to_be_bytes(), &seq.to_be_bytes()])
}
pub(super) fn secrets(app: &AppName) -> Vec<u8> {
    with(SECRET, &[app.as_str().as_bytes(), b"\0"])
}
pub(super) fn secret(app: &AppName, name: &CredentialName) -> Vec<u8> {
    with(SECRET, &[app.as_str().as_bytes(), b"\0", name.as_str().as_bytes()])
}
pub(super) fn missed(app: &AppName) -> Vec<u8> {
    with(MISSED, &[app.as_str().as_bytes()])
}
pub(super) fn closure(job: JobId) -> Vec<u8> {
    with(b'u', &[&job.to_key()])
}
pub(super) fn closure_part(job: JobId, index: u16) -> Vec<u8> {
    with(b'u', &[&job.to_key(), &index.to_be_bytes()])
}
pub(super) fn status(job: JobId) -> Vec<u8> {
    with(STATUS, &[&job.to_key()])
}
pub(super) fn last_seen(repo: &RepoId) -> Vec<u8> {
    with(b'l', &[repo.as_str().as_bytes()])
}
pub(super) fn event(id: EventId) -> Vec<u8> {
    with(EVENT, &[&id.0.to_be_bytes()])
}
pub(super) fn open_event(id: EventId) -> Vec<u8> {
    with(OPEN_EVENT, &[&id.0.to_be_bytes()])
}
pub(super) fn plan(id: EventId) -> Vec<u8> {
    with(b'p', &[&id.0.to_be_bytes()])
}
pub(super) fn plan_rows(id: EventId) -> Vec<u8> {
    with(b'q', &[&id.0.to_be_bytes()])
}
pub(super) fn plan_row(id: EventId, index: u16) -> Vec<u8> {
    with(b'q', &[&id.0.to_be_bytes(), &index.to_be_bytes()])
}
pub(super) fn job(id: JobId) -> Vec<u8> {
    with(JOB, &[&id.to_key()])
}
pub(super) fn open_job(id: JobId) -> Vec<u8> {
    with(OPEN_JOB, &[&id.to_key()])
}
pub(super) fn records(id: JobId) -> Vec<u8> {
    with(b'r', &[&id.to_key()])
}
pub(super) fn record(id: JobId, seq: u64) -> Vec<u8> {
    with(b'r', &[&id.to_key(), &seq.to_be_bytes()])
}
pub(super) fn app_jobs(app: &AppName) -> Vec<u8> {
    with(APP_JOB, &[app.as_str().as_bytes(), b"\0"])
}
pub(super) fn app_job(app: &AppName, id: JobId) -> Vec<u8> {
    with(APP_JOB, &[app.as_str().as_bytes(), b"\0", &id.to_key()])
}
pub(super) fn rollouts(app: &AppName) -> Vec<u8> {
    with(ROLLOUT, &[app.as_str().as_bytes(), b"\0"])
}
pub(super) fn rollout(app: &AppName, place: u64, id: JobId) -> Vec<u8> {
    with(ROLLOUT, &[app.as_str().as_bytes(), b"\0", &place.to_be_bytes(), &id.to_key()])
}
pub(super) fn own_commit(sha: &Sha) -> Vec<u8> {
    with(b'c', &[sha.as_bytes()])
}
pub(super) fn last_good(app: &AppName) -> Vec<u8> {
    with(b'g', &[app.as_str().as_bytes()])
}
/// What the environments of an app were left at.
pub(super) fn last_goods(app: &AppName) -> Vec<u8> {
    with(b'g', &[app.as_str().as_bytes(), b"\0"])
}
pub(super) fn last_good_in(app: &AppName, environment: &EnvName) -> Vec<u8> {
    with(b'g', &[app.as_str().as_bytes(), b"\0", environment.as_str().as_bytes()])
}
pub(super) fn index(app: &AppName) -> Vec<u8> {
    with(INDEX, &[app.as_str().as_bytes(), b"\0"])
}
pub(super) fn index_part(app: &AppName, part: u16) -> Vec<u8> {
    with(INDEX, &[app.as_str().as_bytes(), b"\0", &part.to_be_bytes()])
}
pub(super) fn ended(mark: u64) -> Vec<u8> {
    with(ENDED, &[&mark.to_be_bytes()])
}
pub(super) fn trouble(topic: &Topic) -> Vec<u8> {
    with(TROUBLE, &[topic.to_string().as_bytes()])
}
pub(super) fn outgoing(place: u64) -> Vec<u8> {
    with(OUTGOING, &[&place.to_be_bytes()])
}

/// The job id at the end of a key.
pub(super) fn job_at_end(key: &[u8]) -> Option<JobId> {
    JobId::from_key(key.get(key.len().checked_sub(10)?..)?)
}
/// The place before the job id at the end of a key.
pub(super) fn place_of_rollout(key: &[u8]) -> Option<u64> {
    let at = key.len().checked_sub(18)?;
    Some(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?))
}
/// A record's place in its journal.
pub(super) fn seq(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(11..19)?.try_into().ok()?))
}
/// The event (or delivery) number after the prefix.
pub(super) fn number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}
