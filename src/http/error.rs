//! What can go wrong with the door itself, rather than with one call.

/// Why the daemon can't be reached over HTTP.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The listening socket can't be asked for its address.
    #[error("the listening socket is not usable: {0}. Check :listen in config.edn")]
    Listener(#[source] std::io::Error),
}
