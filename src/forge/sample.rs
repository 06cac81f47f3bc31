//! The other side: signed calls as the forges make them, for the demo, `airplanes hook test` and the tests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::signature::hmac;
use super::{bitbucket, gitea, github, gitlab, standard};
use crate::model::url::Transport;
use crate::model::{Branch, Forge, RepoUrl, Secret, Sha};

/// The headers that authenticate `body`, by the forge's usual way (GitLab's is its plain token).
pub fn sign(forge: Forge, secret: &Secret, body: &[u8]) -> Vec<(&'static str, String)> {
    let hex = || crate::model::hex(hmac(secret.expose(), &[body]).finalize().into_bytes());
    match forge {
        Forge::Github => vec![(github::SIGNATURE, format!("sha256={}", hex()))],
        Forge::Gitlab => vec![(gitlab::TOKEN, String::from_utf8_lossy(secret.expose()).into_owned())],
        Forge::Gitea => vec![(gitea::SIGNATURE[0], hex())],
        Forge::Bitbucket => vec![(bitbucket::SIGNATURE, format!("sha256={}", hex()))],
    }
}

/// The Standard Webhooks headers of GitLab's signing tokens; none if `token` is not of the form `whsec_<base64>`.
pub fn sign_standard(token: &Secret, id: &str, at: Timestamp, body: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let key = token.signing_key().ok()?;
    let at = at.as_second().to_string();
    let mac = hmac(&key, &[id.as_bytes(), b".", at.as_bytes(), b".", body]).finalize().into_bytes();
    let signature = format!("v1,{}", STANDARD.encode(mac));
    Some(vec![(standard::ID, id.to_owned()), (standard::TIMESTAMP, at), (standard::SIGNATURE, signature)])
}

/// The headers beside the signature of a push posted as JSON: what it is, and the delivery's id.
pub fn push_headers(forge: Forge, delivery: &str) -> Vec<(&'static str, String)> {
    let event = match forge {
        Forge::Github | Forge::Gitea => "push",
        Forge::Gitlab => "Push Hook",
        Forge::Bitbucket => "repo:push",
    };
    event_headers(forge, event, delivery)
}

/// The headers beside the signature of a ping: of a call that means nothing. GitHub has one; the others' is made up.
pub fn ping_headers(forge: Forge, delivery: &str) -> Vec<(&'static str, String)> {
    let event = match forge {
        Forge::Github | Forge::Gitea => "ping",
        Forge::Gitlab => "Ping Hook",
        Forge::Bitbucket => "diagnostics:ping",
    };
    event_headers(forge, event, delivery)
}

fn event_headers(forge: Forge, event: &str, delivery: &str) -> Vec<(&'static str, String)> {
    let (event_header, id_header) = match forge {
        Forge::Github => (github::EVENT[0], github::DELIVERY[0]),
        Forge::Gitlab => (gitlab::EVENT[0], gitlab::DELIVERY[0]),
        Forge::Gitea => (gitea::EVENT[0], gitea::DELIVERY[0]),
        Forge::Bitbucket => (bitbucket::EVENT[0], bitbucket::DELIVERY[0]),
    };
    vec![
        ("Content-Type", "application/json".to_owned()),
        (event_header, event.to_owned()),
        (id_header, delivery.to_owned()),
    ]
}

/// The forge's payload of a ping about a repository.
pub fn ping_payload(forge: Forge, url: &RepoUrl) -> Vec<u8> {
    let payload = match forge {
        Forge::Gitlab => json!({ "object_kind": "ping", "project": repository(forge, url) }),
        _ => json!({ "zen": "Nothing is built by this.", "repository": repository(forge, url) }),
    };
    payload.to_string().into_bytes()
}

/// The forge's payload for a branch that moved from `before` to `after`: only what it means, nothing made up.
pub fn push_payload(forge: Forge, url: &RepoUrl, branch: &Branch, before: Option<Sha>, after: Sha) -> Vec<u8> {
    let payload = match forge {
        Forge::Github | Forge::Gitea => json!({
            "ref": format!("refs/heads/{branch}"),
            "before": or_zero(before),
            "after": after,
            "repository": repository(forge, url),
        }),
        Forge::Gitlab => json!({
            "object_kind": "push",
            "event_name": "push",
            "ref": format!("refs/heads/{branch}"),
            "before": or_zero(before),
            "after": after,
            "checkout_sha": after,
            "project": repository(forge, url),
        }),
        Forge::Bitbucket => {
            let state = |sha: Sha| json!({ "type": "branch", "name": branch, "target": { "hash": sha } });
            json!({
                "push": { "changes": [{
                    "old": before.map(state),
                    "new": state(after),
                    "created": before.is_none(),
                    "closed": false,
                }] },
                "repository": repository(forge, url),
            })
        }
    };
    payload.to_string().into_bytes()
}

/// The forge's payload for a new tag that leads to `after`. At GitLab it comes as a `Tag Push Hook`.
pub fn tag_payload(forge: Forge, url: &RepoUrl, tag: &str, after: Sha) -> Vec<u8> {
    let payload = match forge {
        Forge::Github | Forge::Gitea => json!({
            "ref": format!("refs/tags/{tag}"),
            "before": or_zero(None),
            "after": after,
            "repository": repository(forge, url),
        }),
        Forge::Gitlab => json!({
            "object_kind": "tag_push",
            "event_name": "tag_push",
            "ref": format!("refs/tags/{tag}"),
            "before": or_zero(None),
            "after": after,
            "project": repository(forge, url),
        }),
        Forge::Bitbucket => json!({
            "push": { "changes": [{
                "old": null,
                "new": { "type": "tag", "name": tag, "target": { "hash": after } },
                "created": true,
                "closed": false,
            }] },
            "repository": repository(forge, url),
        }),
    };
    payload.to_string().into_bytes()
}

/// The repository as the forge describes it.
fn repository(forge: Forge, url: &RepoUrl) -> Value {
    let by_ssh = url.parts().transport == Transport::Ssh;
    let (name, full_name) = (url.id().short().to_owned(), full_name(url));
    match forge {
        Forge::Github | Forge::Gitea => {
            let key = if by_ssh { "ssh_url" } else { "clone_url" };
            json!({ "full_name": full_name, "name": name, key: url })
        }
        Forge::Gitlab => {
            let key = if by_ssh { "git_ssh_url" } else { "git_http_url" };
            json!({ "path_with_namespace": full_name, "name": name, key: url })
        }
        Forge::Bitbucket => json!({ "full_name": full_name, "name": name, "links": { "html": { "href": url } } }),
    }
}

fn or_zero(sha: Option<Sha>) -> Value {
    sha.map_or_else(|| Value::from("0".repeat(40)), |sha| json!(sha))
}

/// `acme/snow`: the identity without its host.
fn full_name(url: &RepoUrl) -> String {
    let id = url.id();
    let host = url.parts().host.to_ascii_lowercase();
    id.as_str().strip_prefix(host.as_str()).unwrap_or(id.as_str()).trim_start_matches('/').to_owned()
}
