//! Bitbucket Cloud. One call can move several refs, and gives no clone url: it is made of the repository's name.

use std::borrow::Cow;

use serde::Deserialize;

use super::Refused;
use super::payload::{self, Maybe, Meaning, Ref};
use super::signature::Call;
use crate::model::{Branch, ForgeSecrets, Push, RepoUrl, TagPush};

pub(super) const EVENT: [&str; 1] = ["X-Event-Key"];
pub(super) const DELIVERY: [&str; 1] = ["X-Request-UUID"];
/// At GitHub the header of this name is SHA-1; here it is SHA-256.
pub(super) const SIGNATURE: &str = "X-Hub-Signature";

pub(super) fn verify<'b>(call: Call<'_, 'b>, secrets: &ForgeSecrets) -> Result<Cow<'b, [u8]>, Refused> {
    call.check_hex(SIGNATURE, "sha256=", call.body, &secrets.secrets)?;
    Ok(Cow::Borrowed(call.body))
}

#[derive(Deserialize)]
struct Payload {
    push: Changes,
    repository: Repository,
    #[serde(default)]
    actor: Maybe<Actor>,
}

#[derive(Deserialize)]
struct Changes {
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    old: Option<State>,
    new: Option<State>,
}

#[derive(Deserialize)]
struct State {
    r#type: String,
    name: String,
    target: Target,
}

#[derive(Deserialize)]
struct Target {
    hash: String,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Actor {
    nickname: Option<String>,
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Other {
    #[serde(default)]
    repository: Maybe<Repository>,
}

#[derive(Deserialize)]
struct Repository {
    full_name: Option<String>,
    links: Option<Links>,
}

#[derive(Deserialize)]
struct Links {
    html: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: Option<String>,
}

impl Repository {
    /// `full_name` is what identifies a repository there; the page's url is beside it.
    fn urls(self) -> Vec<RepoUrl> {
        let page = self.links.and_then(|links| links.html).and_then(|html| html.href);
        let cloud = page.as_ref().is_none_or(|url| {
            RepoUrl::new(url.as_str())
                .is_ok_and(|url| matches!(url.parts().host, "bitbucket.org" | "api.bitbucket.org"))
        });
        let named = self.full_name.filter(|_| cloud).map(|name| format!("https://bitbucket.org/{name}"));
        payload::urls([&named, &page])
    }
}

pub(super) fn parse(event: &str, text: &str) -> Result<Meaning, Refused> {
    if event != "repo:push" {
        let payload: Other = payload::read(&format!("bitbucket {event}"), text)?;
        let urls = payload.repository.known().map(Repository::urls).unwrap_or_default();
        return Ok(Meaning::ignored(&urls, format!("the event is {event}; only repo:push is acted on")));
    }
    let payload: Payload = payload::read("bitbucket push", text)?;
    let urls = payload.repository.urls();
    let actor = payload.actor.known().and_then(|actor| actor.nickname.or(actor.display_name));
    let pusher = actor.map(|name| payload::clean(&name, 100));
    let (mut pushes, mut tags, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for change in payload.push.changes {
        match judge(&change)? {
            Ref::Ignored { reason } => reasons.push(reason),
            Ref::Tag { tag, after } => {
                tags.push(TagPush {
                    urls: payload::some(urls.clone())?,
                    tag,
                    after,
                    commit: None,
                    pusher: pusher.clone(),
                });
            }
            Ref::Branch { branch, before, after } => pushes.push(Push {
                urls: payload::some(urls.clone())?,
                branch,
                before,
                after,
                default_branch: None,
                pusher: pusher.clone(),
                subject: change.new.and_then(|new| new.target.message).map(|message| payload::subject(&message)),
            }),
        }
    }
    if !pushes.is_empty() || !tags.is_empty() {
        return Ok(Meaning::moved(&urls, pushes, tags));
    }
    let reason = if reasons.is_empty() { "the push changed nothing".to_owned() } else { reasons.join("; ") };
    Ok(Meaning::ignored(&urls, payload::clean(&reason, 500)))
}

fn judge(change: &Change) -> Result<Ref, Refused> {
    let Some(state) = change.new.as_ref().or(change.old.as_ref()) else {
        return Err(Refused::malformed("the bitbucket push payload has a change with neither `old` nor `new`"));
    };
    let hash = |state: &Option<State>| state.as_ref().map(|state| payload::sha(&state.target.hash)).transpose();
    match state.r#type.as_str() {
        "branch" => {}
        "tag" | "annotated_tag" => return payload::tag(&state.name, hash(&change.new)?.flatten()),
        kind => {
            let (name, kind) = (payload::clean(&state.name, 200), payload::clean(kind, 50));
            return Ok(Ref::Ignored { reason: format!("{name} is a {kind}; only branches and tags are followed") });
        }
    }
    let branch = Branch::new(state.name.as_str()).map_err(|e| Refused::malformed(e.to_string()))?;
    match (hash(&change.old)?.flatten(), hash(&change.new)?.flatten()) {
        (_, None) => Ok(Ref::Ignored { reason: format!("the branch {branch} was deleted") }),
        (before, Some(after)) => Ok(Ref::Branch { branch, before, after }),
    }
}
