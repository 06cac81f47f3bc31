//! What is put on an app's hosts: its systemd unit, and the sites of nginx.
//!
//! Each file begins with [`OURS`], by which a file that somebody else made is told from ours. A user's own template is
//! given the same context as ours.

use serde::Serialize;

use super::{RenderError, render};
use crate::model::rollout::MIGRATION;
use crate::model::{App, Certificate, CredentialName, Host, Service, Site, UnitName};

/// What every file of ours begins with, also one of a user's template.
pub const OURS: &str = "# Made by airplanes";
/// Where each unit has a folder of its credentials on a host, root's alone.
const CREDENTIALS: &str = "/etc/credstore/airplanes";
/// Where what is known of each unit's last migration lies there, root's alone; its credentials too while it runs.
const MIGRATIONS: &str = "/var/lib/airplanes-migrate";
/// The files that name the instance which has an app's requests.
const SERVERS: &str = "/etc/nginx/airplanes";
/// Where certbot puts what Let's Encrypt asks for.
const ACME: &str = "/var/lib/airplanes-acme";
/// The password of an app's database as a credential, and the file for libpq and JDBC with it.
pub const PG_CREDENTIALS: [&str; 2] = ["postgres-password", "pgpass"];

/// What `service.tera` is given.
#[derive(Debug, Clone, Serialize)]
struct ServiceFile<'a> {
    app: &'a str,
    name: &'a str,
    description: &'a str,
    /// As it is written, in systemd's own syntax.
    exec_start: String,
    user: Option<&'a str>,
    working_directory: &'a str,
    /// Whether it is in a folder that `ProtectHome=` hides.
    in_home: bool,
    /// `"NAME=value"`, quoted.
    environment: Vec<String>,
    credentials: Vec<Credential>,
    /// Its folder below /var/lib.
    state: String,
    write: Vec<String>,
    memory: Option<u64>,
    restart: &'static str,
    postgres: bool,
    /// Whether it is a template, whose instances each have a port: `%i`.
    instances: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Credential {
    name: String,
    file: String,
}

/// What `site.tera` is given.
#[derive(Debug, Clone, Serialize)]
struct SiteFile<'a> {
    app: &'a str,
    acme: &'static str,
    sites: Vec<OneSite>,
}

#[derive(Debug, Clone, Serialize)]
struct OneSite {
    /// Its host and aliases.
    names: Vec<String>,
    /// The name of its upstream.
    upstream: String,
    /// Where the app listens: `127.0.0.1:7000`; nothing where it has two instances.
    server: String,
    /// Where it has two: the file that names the one which has the requests.
    server_file: Option<String>,
    websocket: bool,
    max_body: Option<u64>,
    tls: Option<TlsFiles>,
}

#[derive(Debug, Clone, Serialize)]
struct TlsFiles {
    certificate: String,
    key: String,
    /// Whether the certificate is there.
    ready: bool,
}

/// What `migration.tera` is given.
#[derive(Debug, Clone, Serialize)]
struct Once<'a> {
    app: &'a str,
    /// Quoted.
    command: String,
    folder: &'a str,
    /// Where it tells of itself.
    at: &'a str,
    seconds: u64,
}

/// What `http.tera` is given.
#[derive(Debug, Clone, Serialize)]
struct Nothing {}

/// The unit of an app on one of its hosts, by our template or the user's; none if it is not ours to make.
pub fn unit(app: &App, host: &Host, template: Option<&str>) -> Result<Option<String>, RenderError> {
    let Some((service, exec_start)) = app.service.as_ref().and_then(|s| Some((s, s.exec_start.as_deref()?))) else {
        return Ok(None);
    };
    let folder = service.working_directory.as_deref().map(|folder| host.fill_in(folder));
    let folder = folder.or_else(|| app.folder_on(host)).unwrap_or_else(|| "/".to_owned());
    service_file(app, host, template, (service, exec_start), &folder, CREDENTIALS).map(Some)
}

/// The unit that an app's `:migrate` is run by on a host, once and in `folder`, and what is its alone: what it runs, and where
/// it tells how it ended. It is the app's own unit but for that: its user, environment and secrets, and what it may do. None
/// if the app's is not ours to make.
pub fn migration(
    app: &App,
    host: &Host,
    template: Option<&str>,
    folder: &str,
    command: &str,
) -> Result<Option<(String, String)>, RenderError> {
    let mut app = app.clone();
    if let (Some(zero), Some(service)) = (app.zero_downtime.take(), &mut app.service) {
        // It listens nowhere, and is no instance.
        let port = zero.ports[0].to_string();
        service.environment.entry("PORT".to_owned()).or_insert_with(|| port.clone());
        service.environment.values_mut().for_each(|value| *value = value.replace("{port}", &port));
    }
    let Some((service, exec_start)) = app.service.as_ref().and_then(|s| Some((s, s.exec_start.as_deref()?))) else {
        return Ok(None);
    };
    let at = format!("{MIGRATIONS}/{}", service.name);
    let unit = service_file(&app, host, template, (service, exec_start), folder, MIGRATIONS)?;
    let file = Once { app: app.name.as_str(), command: word(command), folder, at: &at, seconds: MIGRATION.as_secs() };
    let once = made("migration.tera", "once.service", include_str!("templates/migration.tera"), &file)?;
    Ok(Some((unit, once)))
}

/// A word of a command, in systemd's own syntax.
fn word(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{}\"", text.replace('\n', "\\n").replace('\t', "\\t"))
}

fn service_file(
    app: &App,
    host: &Host,
    template: Option<&str>,
    (service, exec_start): (&Service, &str),
    folder: &str,
    credentials_in: &str,
) -> Result<String, RenderError> {
    let file = ServiceFile {
        app: app.name.as_str(),
        name: service.name.as_str(),
        description: service.description.as_deref().unwrap_or(app.name.as_str()),
        exec_start: filled(app, &host.fill_in(exec_start)),
        user: service.user.as_deref(),
        working_directory: folder,
        in_home: ["/home/", "/root/", "/run/user/"].iter().any(|home| format!("{folder}/").starts_with(home)),
        environment: environment(app, service, host),
        credentials: credentials(app).iter().map(|name| credential(credentials_in, &service.name, name)).collect(),
        state: state(&service.name),
        write: service.write.iter().map(|folder| host.fill_in(folder)).collect(),
        memory: service.memory,
        restart: service.restart.as_str(),
        postgres: app.postgres.is_some(),
        instances: app.zero_downtime.is_some(),
    };
    made("service.tera", "unit.service", template.unwrap_or(include_str!("templates/service.tera")), &file)
}

/// The sites of an app; none if it has none. `ready`: whether certificates that certbot gets are there.
pub fn sites(app: &App, host: &Host, template: Option<&str>, ready: bool) -> Result<Option<String>, RenderError> {
    if app.nginx.is_empty() {
        return Ok(None);
    }
    let sites = app.nginx.iter().map(|site| one_site(app, site, host, ready)).collect();
    let file = SiteFile { app: app.name.as_str(), acme: ACME, sites };
    made("site.tera", "site.conf", template.unwrap_or(include_str!("templates/site.tera")), &file).map(Some)
}

/// What all sites of a host share.
pub fn shared(template: Option<&str>) -> Result<String, RenderError> {
    made("http.tera", "http.conf", template.unwrap_or(include_str!("templates/http.tera")), &Nothing {})
}

/// All credentials that an app's unit gets, those of its database included.
pub fn credentials(app: &App) -> Vec<String> {
    let own = app.service.iter().flat_map(|service| &service.secrets).map(CredentialName::to_string);
    let postgres = app.postgres.iter().flat_map(|_| PG_CREDENTIALS).map(str::to_owned);
    own.chain(postgres).collect()
}

/// A file that says whose it is and ends with a line's end, whatever its template is like.
fn made(
    template_name: &'static str,
    name: &'static str,
    template: &str,
    file: &impl Serialize,
) -> Result<String, RenderError> {
    let text = render(template_name, name, template, file)?;
    let first = if text.starts_with(OURS) { String::new() } else { format!("{OURS}.\n") };
    Ok(format!("{first}{}\n", text.trim_end()))
}

fn credential(folder: &str, unit: &UnitName, name: &str) -> Credential {
    let of = if folder == MIGRATIONS { "/credentials" } else { "" };
    Credential { name: name.to_owned(), file: format!("{folder}/{unit}{of}/{name}") }
}

/// In `:exec-start` and `:environment` `{credentials}` stands for the folder that systemd gives the unit, and `{port}`, where
/// it has two instances, for the instance's own.
fn filled(app: &App, text: &str) -> String {
    let text = text.replace("{credentials}", "/run/credentials/%n");
    if app.zero_downtime.is_some() { text.replace("{port}", "%i") } else { text }
}

fn environment(app: &App, service: &Service, host: &Host) -> Vec<String> {
    let assign = |name: &str, value: &str| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
        format!("\"{name}={}\"", filled(app, &value))
    };
    let mut all: Vec<(&str, String)> =
        service.environment.iter().map(|(name, value)| (name.as_str(), host.fill_in(value))).collect();
    let mut default = |name: &'static str, value: String| {
        if !service.environment.contains_key(name) {
            all.push((name, value));
        }
    };
    if app.zero_downtime.is_some() {
        default("PORT", "{port}".to_owned());
    }
    if service.user.is_none() {
        default("HOME", format!("/var/lib/{}", state(&service.name)));
    }
    if let Some(postgres) = &app.postgres {
        default("PGHOST", "127.0.0.1".to_owned());
        default("PGDATABASE", postgres.database.to_string());
        default("PGUSER", postgres.role.to_string());
        default("PGPASSFILE", "{credentials}/pgpass".to_owned());
    }
    all.iter().map(|(name, value)| assign(name, value)).collect()
}

/// The folder below /var/lib of a unit, and of all instances of a template.
fn state(unit: &UnitName) -> String {
    let name = unit.as_str().split('@').next().unwrap_or_default();
    name.replace([':', '\\'], "-")
}

fn one_site(app: &App, site: &Site, host: &Host, ready: bool) -> OneSite {
    let bracketed = |name: &str| if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let tls = site.tls.as_ref().map(|tls| match tls {
        Certificate::Certbot { .. } => TlsFiles {
            certificate: format!("/etc/letsencrypt/live/{}/fullchain.pem", site.host),
            key: format!("/etc/letsencrypt/live/{}/privkey.pem", site.host),
            ready,
        },
        Certificate::Files { certificate, key } => {
            TlsFiles { certificate: certificate.clone(), key: key.clone(), ready: true }
        }
    });
    OneSite {
        names: std::iter::once(&site.host).chain(&site.aliases).map(|name| bracketed(name.as_str())).collect(),
        upstream: site.host.as_str().replace(':', "_"),
        server: site
            .port
            .map(|port| format!("{}:{port}", bracketed(&host.fill_in(site.ip.as_str()))))
            .unwrap_or_default(),
        server_file: app
            .service
            .as_ref()
            .filter(|_| app.zero_downtime.is_some())
            .map(|service| format!("{SERVERS}/{}.server", service.name)),
        websocket: site.websocket,
        max_body: site.max_body,
        tls,
    }
}

/// As a unit has it: `%` begins a specifier, and a backslash at the end takes the next line in.
pub(super) fn unit_text(text: &str, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    let text = text.replace('%', "%%").replace(char::is_control, " ");
    write!(out, "{text}{}", if text.ends_with('\\') { " " } else { "" })
}

/// As nginx has it where no quotes are around: all names and paths are such that nothing has to be done, and what is not
/// is taken out.
pub(super) fn nginx_text(text: &str, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    out.write_all(text.replace(|c: char| c.is_control() || " ;{}'\"$\\#".contains(c), "_").as_bytes())
}
