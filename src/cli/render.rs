//! `render`: what will be put on an app's hosts, as text. Touches nothing.

use clap::{Args, Subcommand};

use super::Globals;
use super::error::CliError;
use super::exit::Exit;
use super::keys::load;
use super::output::print_page;
use crate::config::Loaded;
use crate::model::{App, Host};
use crate::render::hosts;

/// `render`.
#[derive(Debug, Clone, Args)]
pub struct RenderArgs {
    #[command(subcommand)]
    command: RenderCommand,
}

/// What is made.
#[derive(Debug, Clone, Subcommand)]
pub enum RenderCommand {
    /// The unit that an app runs as.
    #[command(
        long_about = "Print the systemd unit that an app runs as: /etc/systemd/system/NAME.service, of its :service with an \
        :exec-start.\n\n  airplanes render systemd shop\n  airplanes render systemd shop --host web-2 >shop.service \
        && systemd-analyze security --offline=true ./shop.service"
    )]
    Systemd(AppOnHost),
    /// The sites that nginx serves an app as.
    #[command(
        long_about = "Print what nginx is given for an app's :nginx: /etc/nginx/conf.d/airplanes-NAME.conf, and with \
        --shared /etc/nginx/conf.d/airplanes.conf, which all sites of a host have in common.\n\n  \
        airplanes render nginx shop\n  airplanes render nginx shop --shared"
    )]
    Nginx(NginxArgs),
}

/// An app on one of its hosts.
#[derive(Debug, Clone, Args)]
pub struct AppOnHost {
    /// The app.
    #[arg(value_name = "APP")]
    pub app: String,
    /// One of its hosts; by default the first.
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
}

/// `render nginx`.
#[derive(Debug, Clone, Args)]
pub struct NginxArgs {
    #[command(flatten)]
    on: AppOnHost,
    /// The file that all sites share.
    #[arg(long)]
    shared: bool,
}

pub(super) fn render(globals: &Globals, args: RenderArgs) -> Result<Exit, CliError> {
    let path = std::path::absolute(&globals.config).map_err(|e| CliError::io("there is no current folder", &e))?;
    let loaded = load(globals, &path)?;
    let templates = &loaded.config.templates;
    let wrong = |error: crate::render::RenderError| CliError::other(error.to_string());
    let text = match &args.command {
        RenderCommand::Systemd(on) => {
            let (app, host) = find(&loaded, on)?;
            let hint = "give its :service an :exec-start, and it is; config.example.edn shows all of it";
            let none = || CliError::usage(format!("the unit of {} is not made by airplanes", app.name), hint);
            hosts::unit(app, host, templates.service.as_deref()).map_err(wrong)?.ok_or_else(none)?
        }
        RenderCommand::Nginx(args) => {
            let (app, host) = find(&loaded, &args.on)?;
            let hint = "give it :nginx {:host \"example.com\" :port 7000}";
            let none = || CliError::usage(format!("{} has no :nginx", app.name), hint);
            let sites = hosts::sites(app, host, templates.site.as_deref(), true).map_err(wrong)?.ok_or_else(none)?;
            if args.shared { hosts::shared(templates.http.as_deref()).map_err(wrong)? } else { sites }
        }
    };
    print_page(&text)?;
    Ok(Exit::Done)
}

/// The app and the host that are meant.
pub(super) fn find<'l>(loaded: &'l Loaded, on: &AppOnHost) -> Result<(&'l App, &'l Host), CliError> {
    let app = find_app(loaded, &on.app)?;
    let host = match &on.host {
        Some(name) => app.hosts.iter().find(|host| host.name.as_str() == name),
        None => app.hosts.first(),
    };
    host.map(|host| (app, host)).ok_or_else(|| no_host(app, on.host.as_deref()))
}

/// The app of deploy.edn with that name.
pub(super) fn find_app<'l>(loaded: &'l Loaded, name: &str) -> Result<&'l App, CliError> {
    loaded.apps.values().find(|app| app.name.as_str() == name).ok_or_else(|| {
        let known: Vec<&str> = loaded.apps.keys().map(AsRef::as_ref).collect();
        CliError::usage(
            format!("there is no app {} in deploy.edn", name.escape_debug()),
            format!("its apps are: {}", known.join(", ")),
        )
    })
}

pub(super) fn no_host(app: &App, name: Option<&str>) -> CliError {
    let known: Vec<&str> = app.hosts.iter().map(|host| host.name.as_str()).collect();
    match name {
        Some(name) if !known.is_empty() => CliError::usage(
            format!("{} is no host of {}", name.escape_debug(), app.name),
            format!("its hosts are: {}", known.join(", ")),
        ),
        _ => CliError::usage(format!("{} has no hosts", app.name), "give it :hosts [:web-1], or :ip"),
    }
}
