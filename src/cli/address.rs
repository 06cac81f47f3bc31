//! Where the daemon is, and the token for it.
//!
//! config.edn says both, and often names secrets that only the daemon can read. So only `:listen` and `:state` are
//! taken from it here; the whole of it is loaded only where one of these is a tag.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Globals;
use super::error::CliError;
use crate::config;
use crate::edn::{Node, SourceId, Value, read_node};
use crate::model::Secret;
use crate::watch::FsSource;

/// The daemon's url and what opens it.
pub(super) struct Address {
    /// `http://127.0.0.1:8787`.
    pub url: String,
    /// The operator's token.
    pub token: Option<Secret>,
    /// What to do about there being none.
    pub why_no_token: String,
}

/// What config.edn says of it.
struct Place {
    listen: SocketAddr,
    state: PathBuf,
}

impl Address {
    /// From `--url` and `AIRPLANES_TOKEN`, else from the configuration.
    pub fn find(globals: &Globals) -> Result<Self, CliError> {
        let place = Place::read(&globals.config);
        let url = match (&globals.url, &place) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Ok(place)) => format!("http://{}", reachable(place.listen)),
            (None, Err(why)) => {
                let hint = "give --url (or AIRPLANES_URL) for a daemon elsewhere, or --config for its config.edn";
                return Err(CliError::usage(format!("where the daemon listens is not known: {why}"), hint));
            }
        };
        let (token, why_no_token) = match std::env::var("AIRPLANES_TOKEN") {
            Ok(token) if !token.trim().is_empty() => {
                (Some(Secret::new("AIRPLANES_TOKEN", token.trim().as_bytes())), String::new())
            }
            _ => match place.and_then(|place| token(&place.state)) {
                Ok(token) => (Some(token), String::new()),
                Err(why) => (None, format!("set AIRPLANES_TOKEN, or be the daemon's user: {why}")),
            },
        };
        Ok(Self { url, token, why_no_token })
    }
    /// Whether the daemon is asked over loopback.
    pub fn is_this_machine(&self) -> bool {
        let url = reqwest::Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
        let address: Option<std::net::IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }
}

/// The state folder of the daemon with that config file.
pub(super) fn state_folder(config: &Path) -> Result<PathBuf, String> {
    Place::read(config).map(|place| place.state)
}

/// The token that the daemon made at its first start.
fn token(state: &Path) -> Result<Secret, String> {
    let path = state.join("operator-token");
    match std::fs::read(&path) {
        Ok(bytes) if !bytes.trim_ascii().is_empty() => Ok(Secret::new(path.display().to_string(), bytes.trim_ascii())),
        Ok(_) => Err(format!("{} is empty", path.display())),
        Err(error) => Err(format!("{} can't be read: {error}", path.display())),
    }
}

impl Place {
    /// With port 0 the system chose one, which the daemon wrote down.
    fn new(listen: SocketAddr, state: PathBuf) -> Self {
        let chosen = || std::fs::read_to_string(state.join("address")).ok()?.trim().parse().ok();
        Self { listen: if listen.port() == 0 { chosen().unwrap_or(listen) } else { listen }, state }
    }

    fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| format!("{shown} can't be read: {e}"))?;
        let root = read_node(&text, SourceId::default()).map_err(|e| format!("{shown}: {e}"))?;
        let is_tagged = |name: &str| root.get(name).is_some_and(|node| matches!(node.value, Value::Tagged(..)));
        if matches!(root.value, Value::Tagged(..)) || is_tagged("listen") || is_tagged("state") {
            let loaded = config::load(&FsSource, path).map_err(|faults| {
                let first = faults.findings().next().map(|finding| finding.message);
                format!("{shown}: {}", first.unwrap_or_else(|| "it has faults".to_owned()))
            })?;
            return Ok(Self::new(loaded.config.listen, loaded.config.state));
        }
        let text_of = |name: &str, default: &str| match root.get(name).map(Node::as_str) {
            None => Ok(default.to_owned()),
            Some(Some(text)) => Ok(text.to_owned()),
            Some(None) => Err(format!("{shown}: `:{name}` is no string")),
        };
        let listen = text_of("listen", "127.0.0.1:8787")?;
        let listen = listen.parse().map_err(|_| format!("{shown}: `:listen` \"{listen}\" is no address"))?;
        let state = text_of("state", "/var/lib/airplanes")?;
        Ok(Self::new(listen, path.parent().unwrap_or(Path::new("")).join(state)))
    }
}

/// An address to connect to: one that listens everywhere listens on loopback too.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if address.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
