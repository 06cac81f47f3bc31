//! What the demo's git server does after a push, as a forge would: it posts a signed webhook, GitHub's. Run by the
//! bare repositories' `post-receive` as `airplanes demo-hook FILE`; what it prints, git shows to who pushed.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::DemoError;
use crate::forge;
use crate::model::inbox::HookAnswer;
use crate::model::{Branch, Forge, RepoUrl, Secret, Sha};

/// Where a repository's webhook goes and how it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hook {
    /// The daemon's `/hooks/github`.
    pub url: String,
    /// The file with the secret.
    pub secret: PathBuf,
    /// The repository.
    pub repo: RepoUrl,
}

impl Hook {
    /// As the file that `demo-hook` is given.
    pub fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// A branch that moved, as git tells a hook: `OLD NEW refs/heads/BRANCH`. Tags and deletions are none.
fn moved(line: &str) -> Option<(Option<Sha>, Sha, Branch)> {
    let mut words = line.split_whitespace();
    let (before, after, name) = (words.next()?, words.next()?, words.next()?);
    let branch = Branch::new(name.strip_prefix("refs/heads/")?).ok()?;
    Some((before.parse().ok(), after.parse().ok()?, branch))
}

/// The daemon's answer for a person.
fn in_words(answer: &str) -> String {
    match serde_json::from_str::<HookAnswer>(answer) {
        Ok(HookAnswer { status, reason: Some(reason), .. }) => format!("{status}, {reason}"),
        Ok(HookAnswer { status, event: Some(event), .. }) => format!("{status}, on disk as event {event}"),
        _ => answer.trim().to_owned(),
    }
}

/// Posts a webhook for each branch that standard input names. A webhook that is not taken is said, and is an error:
/// the push has happened all the same.
pub async fn post(file: &Path) -> Result<(), DemoError> {
    let text = std::fs::read_to_string(file).map_err(DemoError::io(file))?;
    let hook: Hook = serde_json::from_str(&text)
        .map_err(|why| DemoError::Own { what: "webhook settings", why: format!("{}: {why}", file.display()) })?;
    let secret = std::fs::read(&hook.secret).map_err(DemoError::io(&hook.secret))?;
    let secret = Secret::new("webhook-secret", secret);
    let client = super::client();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Some((before, after, branch)) = moved(&line) else { continue };
        let body = forge::push_payload(Forge::Github, &hook.repo, &branch, before, after);
        let mut call = client.post(&hook.url).timeout(Duration::from_secs(10));
        // Each push is a delivery of its own, even if it brings a commit back.
        let delivery = format!("demo-{}-{}", after.short(), jiff::Timestamp::now().as_millisecond());
        let signature = forge::sign(Forge::Github, &secret, &body);
        for (name, value) in forge::push_headers(Forge::Github, &delivery).into_iter().chain(signature) {
            call = call.header(name, value);
        }
        let failed = |why: String| DemoError::Http { url: hook.url.clone(), why, log: file.to_owned() };
        let answer = call.body(body).send().await.map_err(|why| failed(why.to_string()))?;
        let status = answer.status();
        let said = answer.text().await.map_err(|why| failed(why.to_string()))?;
        println!("POST {} -> {status}: {}", hook.url, in_words(&said));
        if !status.is_success() {
            return Err(failed(format!("{status} {said}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_branches_that_are_still_there_are_told() {
        let (one, two, none) = ("1".repeat(40), "2".repeat(40), "0".repeat(40));
        let (before, after, branch) = moved(&format!("{one} {two} refs/heads/main")).unwrap();
        assert_eq!((before, after), (one.parse().ok(), two.parse().unwrap()));
        assert_eq!(branch.as_str(), "main");
        assert!(moved(&format!("{none} {two} refs/heads/new")).unwrap().0.is_none());
        assert!(moved(&format!("{one} {none} refs/heads/main")).is_none());
        assert!(moved(&format!("{one} {two} refs/tags/v1")).is_none());
    }
}
