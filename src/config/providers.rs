//! `:providers`: who makes servers, and how their APIs let us in.

use std::collections::BTreeMap;

use super::forges::api;
use super::section::{Context, Section};
use crate::model::{Provider, Secret};

/// A provider's API, and how it lets us in.
#[derive(Debug, Clone)]
pub struct ProviderApi {
    /// `:api`, without a trailing slash; by default the provider's own.
    pub api: String,
    /// `:token`
    pub token: Secret,
}

pub(super) fn read(root: &mut Section<'_>, context: &mut Context) -> BTreeMap<Provider, ProviderApi> {
    let mut providers = BTreeMap::new();
    let Some(mut section) = root.section("providers", context) else { return providers };
    for provider in Provider::ALL {
        let name = provider.as_str();
        let Some(mut one) = section.section(name, context) else { continue };
        let token = one.node("token").map(|node| context.secret(node, &format!(":providers :{name} :token")));
        if token.is_none() {
            one.missing("token", &format!("#credential {name}"), context);
        }
        let own = match provider {
            Provider::Linode => "https://api.linode.com",
            Provider::Digitalocean => "https://api.digitalocean.com",
        };
        let named = one.read::<String>("api", context).map(|text| api(text, context));
        one.finish(context);
        if let (Some(Some(token)), Some(api)) = (token, named.unwrap_or_else(|| Some(own.to_owned()))) {
            providers.insert(provider, ProviderApi { api, token });
        }
    }
    section.finish(context);
    providers
}
