//! What a caller can meet.

use crate::cloud::CloudError;
use crate::model::{Provider, ServerName, ServerSpec};
use crate::store::StoreError;

/// Why nothing is done about a server.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// The provider is not set up.
    #[error("there is no :{0} in :providers of config.edn; add :providers {{:{0} {{:token …}}}}")]
    NoProvider(Provider),
    /// There is no key to log in with.
    #[error(
        "no key is named by :ssh {{:identity}} in config.edn, so a new server could not be given one; `airplanes keys` makes it"
    )]
    NoIdentity,
    /// It is not there.
    #[error("there is no server {0}; `airplanes server list` has all that were made here")]
    None(ServerName),
    /// One of that name is there, and is another.
    #[error("there is a server {} already: {} at {}, {} in {}; give the new one another name, or destroy that one first", .0.name, .0.kind, .0.provider, .0.image, .0.region)]
    Other(Box<ServerSpec>),
    /// Another host has its name.
    #[error(
        "config.edn has a host {name} already, at {address}, which is no server that was made here; give the new one another name, \
         or take that one out of :hosts"
    )]
    Named {
        /// The name.
        name: ServerName,
        /// Where that host is.
        address: String,
    },
    /// It is on its way out.
    #[error("the server {0} is being destroyed; ask again once it is gone")]
    Going(ServerName),
    /// The provider has one of that name that is not ours.
    #[error(
        "{provider} has a server {name} already ({id}), which was not made here, and no two can have one name; give the new one another name"
    )]
    Foreign {
        /// The name.
        name: ServerName,
        /// Who has it.
        provider: Provider,
        /// The provider's id of it.
        id: u64,
    },
    /// The provider.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}
