//! `:forges`: what it may say, and the words where it does not.

use airplanes::config::ApiKind;
use airplanes::model::{Publish, RepoUrl};

use super::{World, config_faults};

#[test]
fn apis_are_found_by_the_longest_prefix_with_their_defaults() {
    let config = "{:forges {\"github.com\" {:token \"t\"} \"github.com/acme\" {:token \"a\" :statuses? false}
      \"ghe.acme.io\" {:kind :github :token \"t\"} \"gitlab.acme.io\" {:token \"t\"}
      \"git.acme.io:3000\" {:kind :gitea :token \"t\"} \"codeberg.org\" {:token \"t\" :api \"http://127.0.0.1:80/v1/\"}}}";
    let loaded = World::new(config, "{}").loaded();
    assert_eq!(loaded.config.secrets().count(), 6);
    let forge = |url: &str| loaded.config.forges.longest(RepoUrl::new(url).unwrap().id().as_str()).unwrap().1;
    for (url, kind, api) in [
        ("https://github.com/other/snow", ApiKind::Github, "https://api.github.com"),
        ("git@ghe.acme.io:a/b.git", ApiKind::Github, "https://ghe.acme.io/api/v3"),
        ("https://gitlab.acme.io/a/b/c", ApiKind::Gitlab, "https://gitlab.acme.io/api/v4"),
        ("ssh://git@git.acme.io:22/a/b", ApiKind::Gitea, "https://git.acme.io:3000/api/v1"),
        ("https://codeberg.org/a/b", ApiKind::Gitea, "http://127.0.0.1:80/v1"),
    ] {
        assert_eq!((forge(url).kind, forge(url).api.as_str(), forge(url).statuses), (kind, api, true), "{url}");
    }
    let own = forge("https://github.com/Acme/Snow.git");
    assert_eq!((own.token.expose(), own.statuses), (b"a".as_slice(), false));
}

#[test]
fn every_fault_has_words_of_its_own() {
    for (config, want) in [
        (
            "{:forges {\"git.acme.io\" {:token \"t\"}}}",
            "config 1:25 what runs git.acme.io can't be told by its name | expected `:kind :github`, `:gitlab` or \
             `:gitea` in this map",
        ),
        (
            "{:forges {\"bitbucket.org\" {:token \"t\"}}}",
            "config 1:27 the API of Bitbucket is not supported yet | expected a host that runs GitHub, GitLab, Gitea \
             or Forgejo",
        ),
        (
            "{:forges {\"github.com\" {}}}",
            "config 1:24 :forges github.com has no `:token` | expected `:token #credential NAME` in this map",
        ),
        (
            "{:forges {\"github.com\" {:token \"t\" :api \"http://api.acme.io\"}}}",
            "config 1:41 `:api` would send the token in the clear | expected https://, or an address of this machine \
             itself",
        ),
    ] {
        assert_eq!(config_faults(config), [want], "{config}");
    }
}

#[test]
fn pull_requests_need_the_api_of_their_host_and_merging_needs_pull_requests() {
    let app = |more: &str| format!("{{:shop {{:git-url \"git@github.com:acme/shop.git\" {more}}}}}");
    let faults = World::new("{}", &app(":publish :pull-request")).faults();
    let want = "deploy 1:58 `:publish :pull-request` of the app :shop needs the API of its git host | expected an entry \
                for github.com/acme/shop in `:forges` | add :forges {\"github.com\" {:token …}} to config.edn";
    assert_eq!(faults, [want]);
    let config = "{:forges {\"github.com\" {:token \"t\"}}}";
    let loaded = World::new(config, &app(":publish :pull-request :auto-merge? true")).loaded();
    let updates = &super::app(&loaded, "shop").updates;
    assert_eq!((updates.publish, updates.auto_merge, loaded.warnings.is_empty()), (Publish::PullRequest, true, true));
    let loaded = World::new(config, &app(":publish :push :auto-merge? true")).loaded();
    assert_eq!(loaded.warnings.findings().count(), 1);
}
