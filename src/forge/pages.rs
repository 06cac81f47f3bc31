//! Where on a git host's pages a key or a webhook of a repository is pasted.

use crate::model::{Forge, RepoId};

/// A repository's host.
pub fn host_of(repo: &RepoId) -> &str {
    repo.as_str().split('/').next().unwrap_or_default()
}

/// Where a public key goes so that it may read, or also write, one repository. `forge` is what runs its host.
pub fn key_page(repo: &RepoId, forge: Option<Forge>, write: bool) -> String {
    let web = format!("https://{repo}");
    let tick = |name: &str| match write {
        true => format!("tick \"{name}\""),
        false => format!("leave \"{name}\" empty"),
    };
    match forge {
        Some(Forge::Github) => format!("{web}/settings/keys, Add deploy key; {}", tick("Allow write access")),
        Some(Forge::Gitlab) => format!(
            "{web}/-/settings/repository#js-deploy-keys-settings, Add new key; {}",
            tick("Grant write permissions to this key")
        ),
        Some(Forge::Gitea) => format!("{web}/settings/keys, Add deploy key; {}", tick("Enable write access")),
        Some(Forge::Bitbucket) if write => {
            "https://bitbucket.org/account/settings/ssh-keys/ of an account that may write it (its access keys only read)"
                .to_owned()
        }
        Some(Forge::Bitbucket) => format!("{web}/admin/access-keys/, Add key"),
        None if host_of(repo) == "git.sr.ht" => "https://meta.sr.ht/keys of an account that may use it".to_owned(),
        None => {
            format!("the deploy keys of {repo} on its git host, {}", if write { "to read and write" } else { "to read" })
        }
    }
}

/// Where a webhook of one repository is made.
pub fn hook_page(repo: &RepoId, forge: Forge) -> String {
    let web = format!("https://{repo}");
    match forge {
        Forge::Github => format!("{web}/settings/hooks/new"),
        Forge::Gitlab => format!("{web}/-/hooks"),
        Forge::Gitea => format!("{web}/settings/hooks"),
        Forge::Bitbucket => format!("{web}/admin/webhooks"),
    }
}

/// What to choose on a forge's page for a new webhook.
pub fn hook_choices(forge: Forge) -> &'static str {
    match forge {
        Forge::Github => "content type application/json, just the push event",
        Forge::Gitlab => "the secret as the secret token, push events",
        Forge::Gitea => "POST, application/json, push events",
        Forge::Bitbucket => "repository push",
    }
}
