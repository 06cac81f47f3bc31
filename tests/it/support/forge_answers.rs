//! What the stand-ins of git hosts' APIs answer to calls that are well formed.

use axum::http::Method;
use serde_json::{Value, json};

use super::forge_api::{Call, ForgeApi, Kind, Told};
use super::world::git;

/// Status and body.
pub type Answer = (u16, Value);

pub fn answer(api: &ForgeApi, call: &Call) -> Answer {
    if let Some(sha) = call.rest.strip_prefix("statuses/")
        && call.method == Method::POST
    {
        return status(api, call, sha);
    }
    super::forge_pulls::answer(api, call).unwrap_or_else(|| wrong(api, call, "no such path"))
}

/// 422 for what is not as it should be; the test hears of it.
pub fn wrong(api: &ForgeApi, call: &Call, words: &str) -> Answer {
    api.heard().wrong.push(format!("{} {} {:?}: {words}: {}", call.method, call.rest, call.query, call.body));
    (422, json!({ "message": words }))
}

fn status(api: &ForgeApi, call: &Call, sha: &str) -> Answer {
    let gitlab = api.kind == Kind::Gitlab;
    let text = |key: &str| call.body.get(key).and_then(Value::as_str).map(str::to_owned);
    let (states, name): (&[&str], &str) = match gitlab {
        true => (&["pending", "running", "success", "failed", "canceled"], "name"),
        false => (&["pending", "success", "failure", "error"], "context"),
    };
    let known = ["state", name, "description", "target_url"];
    let stray = call.body.as_object().and_then(|body| body.keys().find(|key| !known.contains(&key.as_str())));
    if let Some(stray) = stray {
        return wrong(api, call, &format!("unknown key {stray}"));
    }
    let (Some(state), Some(context), Some(description)) = (text("state"), text(name), text("description")) else {
        return wrong(api, call, "a key is missing");
    };
    if !states.contains(&state.as_str()) || description.chars().count() > 140 || description.is_empty() {
        return wrong(api, call, "a bad value");
    }
    let bare = api.repos.join(format!("{}.git", call.repo));
    if git(&bare, &["cat-file", "-t", sha]) != "commit" {
        return wrong(api, call, "no such commit");
    }
    let told =
        Told { repo: call.repo.clone(), sha: sha.to_owned(), context, state, description, url: text("target_url") };
    let mut heard = api.heard();
    let same = |old: &&Told| (&old.repo, &old.sha, &old.context) == (&told.repo, &told.sha, &told.context);
    let last = heard.told.iter().rfind(same).map(|old| old.state.clone());
    if gitlab && last.as_ref() == Some(&told.state) {
        return (400, json!({ "message": format!("Cannot transition status via :enqueue from :{}", told.state) }));
    }
    heard.told.push(told);
    (201, json!({ "id": 1 }))
}
