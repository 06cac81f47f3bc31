//! How what an app's jobs commit gets onto its branch: `:publish` and `:auto-merge?` of an app in deploy.edn.

use super::diagnostic::Fault;
use super::section::{Context, Section};
use super::settings::Config;
use crate::model::{Publish, RepoUrl, Updates};

/// Whether by a pull request, for which its git host's API is needed, and whether that is merged by us.
pub(super) fn publish(
    updates: Updates,
    section: &mut Section<'_>,
    git_url: Option<&RepoUrl>,
    config: &Config,
    context: &mut Context,
) -> Updates {
    let publish = section.read::<Publish>("publish", context);
    let auto_merge = section.read::<bool>("auto-merge?", context);
    let by_request = publish.as_ref().is_some_and(|publish| publish.value == Publish::PullRequest);
    if let (Some(publish), Some(repo), true) = (&publish, git_url.map(RepoUrl::id), by_request)
        && config.forges.longest(repo.as_str()).is_none()
    {
        let host = repo.as_str().split('/').next().filter(|host| !host.is_empty()).unwrap_or("git.example.com");
        let message = format!("`:publish :pull-request` of {} needs the API of its git host", section.what);
        let help = format!("add :forges {{\"{host}\" {{:token …}}}} to config.edn");
        let label = format!("expected an entry for {repo} in `:forges`");
        context.fault(Fault::new(publish.span, message, label).help(help));
    }
    if let Some(merge) = auto_merge.as_ref().filter(|merge| merge.value && !by_request) {
        let message = format!("{} makes no pull requests, so its `:auto-merge?` does nothing", section.what);
        let help = "give it `:publish :pull-request`";
        context.fault(Fault::new(merge.span, message, "never used").help(help).warning());
    }
    Updates {
        publish: publish.map(|publish| publish.value).unwrap_or_default(),
        auto_merge: auto_merge.is_some_and(|merge| merge.value),
        ..updates
    }
}
