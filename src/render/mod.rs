//! Text files made from templates: tera, with a typed context for each file.
//!
//! The templates are part of the program; those of what is put on hosts ([`hosts`]) a user may have of their own, which
//! `config` has read. Whatever a context holds is escaped on its way into the text, by the rules of the file's own
//! language: in `*.edn.tera` as the content of an EDN string, which also keeps it from ending a comment; in units and in
//! what nginx reads as a value of a line. So a template writes `"{{ name }}"` and needs no filter; only what is in that
//! language already, as [`EdnKey`] is, is marked `safe`.
//!
//! Must never do I/O, or put an unescaped text from outside into a file.

pub mod hosts;

use std::io::Write;

use serde::Serialize;
use tera::{Context, Tera};

use crate::edn;
use crate::model::{RepoId, RepoUrl};

/// Why a text was not made: a fault of the user's own template, or of this program.
#[derive(Debug, thiserror::Error)]
#[error("{file} could not be made from its template: {}; correct it, or report it if it is not yours", words(.source))]
pub struct RenderError {
    /// The template.
    file: &'static str,
    /// tera's words.
    source: tera::Error,
}

/// tera's words with those of its causes, on one line.
fn words(error: &tera::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A name as it stands as a key of an EDN map: `:shop`, or `"1 a"` where no keyword can say it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct EdnKey(String);

impl EdnKey {
    /// The key that reads back as `name`.
    pub fn new(name: &str) -> Self {
        Self(edn::map_key(name))
    }
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first config.edn.
#[derive(Debug, Clone, Serialize)]
pub struct ConfigFile {
    /// How the daemon is reached from outside, if that was told.
    pub url: Option<String>,
    /// The address behind the name of the bumps' author, if one can be told.
    pub email: Option<String>,
    /// The state folder where it is not the usual one.
    pub state: Option<String>,
    /// The forges that will call.
    pub forges: Vec<&'static str>,
    /// The file of the webhooks' secret, beside this one.
    pub secret_file: &'static str,
    /// The credential that systemd makes of it.
    pub secret_credential: &'static str,
    /// known_hosts, beside this file.
    pub known_hosts: &'static str,
    /// The key for hosts, beside this file.
    pub identity: &'static str,
    /// The repositories that are spoken to over ssh, and the key of each, beside this file.
    pub keys: Vec<RepoKey>,
    /// The hosts of repositories that are spoken to over https.
    pub https_hosts: Vec<String>,
}

/// A repository and its key.
#[derive(Debug, Clone, Serialize)]
pub struct RepoKey {
    /// `github.com/acme/shop`
    pub repo: RepoId,
    /// `keys/github.com-acme-shop`
    pub file: String,
    /// What it is for.
    pub note: String,
}

/// The first deploy.edn.
#[derive(Debug, Clone, Serialize)]
pub struct DeployFile {
    /// Its apps, in the order they are written.
    pub apps: Vec<AppEntry>,
    /// Libraries that need no entry.
    pub libraries: Vec<LibraryNote>,
}

/// An app, or a library that has git dependencies of its own.
#[derive(Debug, Clone, Serialize)]
pub struct AppEntry {
    /// Its key.
    pub key: EdnKey,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub git_url: RepoUrl,
    /// Whether others depend on it.
    pub is_library: bool,
    /// Whether its git dependencies are bumped.
    pub update: bool,
    /// The repositories among the user's own that it depends on.
    pub own: Vec<RepoId>,
    /// The other repositories that it depends on.
    pub foreign: Vec<RepoId>,
    /// The guess at its build.
    pub build: Option<BuildGuess>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A guess at a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildGuess {
    /// The command.
    pub command: String,
    /// What it was guessed from.
    pub why: String,
}

/// A library without git dependencies.
#[derive(Debug, Clone, Serialize)]
pub struct LibraryNote {
    /// Which.
    pub repo: RepoId,
    /// The names of those that depend on it.
    pub used_by: Vec<String>,
}

/// config.edn, commented.
pub fn config_edn(file: &ConfigFile) -> Result<String, RenderError> {
    render("config.edn", "config.edn", include_str!("templates/config.edn.tera"), file)
}

/// deploy.edn, commented.
pub fn deploy_edn(file: &DeployFile) -> Result<String, RenderError> {
    render("deploy.edn", "deploy.edn", include_str!("templates/deploy.edn.tera"), file)
}

/// The text of `template`, whose name is told in errors. What is escaped, and how, the file's own name says.
fn render(
    told: &'static str,
    name: &'static str,
    template: &str,
    values: &impl Serialize,
) -> Result<String, RenderError> {
    let text = || {
        let mut tera = Tera::default();
        tera.autoescape_on([".edn", ".service", ".conf"]);
        tera.set_escape_fn(match name.rsplit('.').next() {
            Some("service") => hosts::unit_text,
            Some("conf") => hosts::nginx_text,
            _ => edn_string_content,
        });
        tera.add_raw_template(name, template)?;
        tera.render(name, &Context::from_serialize(values)?)
    };
    text().map_err(|source| RenderError { file: told, source })
}

/// As it stands between the quotes of an EDN string.
fn edn_string_content(text: &str, out: &mut dyn Write) -> std::io::Result<()> {
    let literal = edn::string_literal(text);
    out.write_all(&literal.as_bytes()[1..literal.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edn::{SourceId, read_node};

    const NASTY: &str = "\"}\n;; \\ \u{0} {{ x }} #_";

    fn config(url: Option<&str>) -> ConfigFile {
        ConfigFile {
            url: url.map(str::to_owned),
            email: None,
            state: None,
            forges: vec!["github", "gitlab"],
            secret_file: "secrets/webhook",
            secret_credential: "secret_webhook",
            known_hosts: "known_hosts",
            identity: "keys/hosts",
            keys: Vec::new(),
            https_hosts: Vec::new(),
        }
    }

    #[test]
    fn what_comes_from_outside_stays_inside_its_string_or_comment() {
        let mut file = config(Some(NASTY));
        let repo = RepoUrl::new("git@github.com:a\"}/b\\c.git").unwrap().id();
        file.keys = vec![RepoKey { repo: repo.clone(), file: NASTY.into(), note: NASTY.into() }];
        file.https_hosts = vec![NASTY.into()];
        let text = config_edn(&file).unwrap();
        let node = read_node(&text, SourceId::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(node.get("url").unwrap().as_str(), Some(NASTY));
        let keys = node.get("git").unwrap().get("keys").unwrap();
        assert!(matches!(&keys.value, edn::Value::Map(entries) if entries.len() == 1
            && entries[0].0.as_str() == Some(repo.as_str()) && entries[0].1.as_str() == Some(NASTY)));
        let app = AppEntry {
            key: EdnKey::new("1 a"),
            name: NASTY.into(),
            git_url: RepoUrl::new("git@h:a\"b\\c").unwrap(),
            is_library: false,
            update: true,
            own: vec![repo.clone()],
            foreign: vec![repo.clone()],
            build: Some(BuildGuess { command: NASTY.into(), why: NASTY.into() }),
            notes: vec![NASTY.into()],
        };
        let libraries = vec![LibraryNote { repo, used_by: vec![NASTY.into()] }];
        let text = deploy_edn(&DeployFile { apps: vec![app], libraries }).unwrap();
        let node = read_node(&text, SourceId::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let edn::Value::Map(entries) = &node.value else { panic!("{text}") };
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].1.get("git-url").unwrap().as_str(), Some("git@h:a\"b\\c"));
        assert_eq!(entries[0].1.get("build").unwrap().as_str(), Some(NASTY));
    }

    #[test]
    fn the_barest_files_are_edn() {
        let text = config_edn(&config(None)).unwrap();
        assert!(read_node(&text, SourceId::default()).is_ok(), "{text}");
        let text = deploy_edn(&DeployFile { apps: Vec::new(), libraries: Vec::new() }).unwrap();
        assert!(read_node(&text, SourceId::default()).is_ok(), "{text}");
    }
}
