//! `:providers`: what it may say, and the words where it does not.

use airplanes::model::Provider;

use super::{World, config_faults};

#[test]
fn providers_have_their_own_apis_unless_others_are_named() {
    let config = "{:providers {:linode {:token \"l\"} :digitalocean {:token \"d\" :api \"http://127.0.0.1:80/\"}}}";
    let loaded = World::new(config, "{}").loaded();
    assert_eq!(loaded.config.secrets().count(), 2);
    let of = |provider| &loaded.config.providers[&provider];
    assert_eq!(of(Provider::Linode).api, "https://api.linode.com");
    assert_eq!(of(Provider::Digitalocean).api, "http://127.0.0.1:80");
    assert_eq!(of(Provider::Digitalocean).token.expose(), b"d");
}

#[test]
fn every_fault_has_words_of_its_own() {
    for (config, want) in [
        (
            "{:providers {:linode {}}}",
            "config 1:22 :linode has no `:token` | expected `:token #credential linode` in this map",
        ),
        (
            "{:providers {:digitalocean {:token \"t\" :api \"http://api.acme.io\"}}}",
            "config 1:45 `:api` would send the token in the clear | expected https://, or an address of this machine \
             itself",
        ),
        (
            "{:providers {:digitalocan {:token \"t\"}}}",
            "config 1:14 unknown key `:digitalocan` in :providers | did you mean `:digitalocean`? | known here: :linode \
             :digitalocean",
        ),
    ] {
        assert_eq!(config_faults(config), [want], "{config}");
    }
    let strayed = World::new("{:providers {:linode \"tok-1234567\"}}", "{}").load().unwrap_err().render(false);
    assert!(!strayed.contains("tok-1234567"), "{strayed}");
}
