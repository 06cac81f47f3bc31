//! `:templates` of config.edn: a folder with the user's own templates for what is put on hosts, in place of ours.

use std::path::PathBuf;

use super::diagnostic::Fault;
use super::tags::Files;
use crate::edn::de::Spanned;

/// The templates that the user has of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Templates {
    /// `service.tera`: the systemd unit.
    pub service: Option<String>,
    /// `site.tera`: what nginx serves of an app.
    pub site: Option<String>,
    /// `http.tera`: what all sites of a host share.
    pub http: Option<String>,
}

/// Reads what is in the folder.
pub(super) fn read(folder: &Spanned<PathBuf>, files: &mut Files<'_>) -> Templates {
    let mut text = |name| files.text(&folder.value.join(name), folder.span);
    let templates = Templates { service: text("service.tera"), site: text("site.tera"), http: text("http.tera") };
    if templates == Templates::default() {
        let message = format!("there is no template in {}", folder.value.display());
        let label = "expected service.tera, site.tera or http.tera in there";
        let help = "`airplanes render --help` says what they are given";
        files.faults.push(Fault::new(folder.span, message, label).help(help).warning());
    }
    templates
}
