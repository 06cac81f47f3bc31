//! `host trust`: a host's keys, shown to a person and recorded once confirmed.

use std::path::Path;

use clap::Args;

use super::place::{self, find};
use crate::cli::Globals;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::keys::{add_entries, load};
use crate::cli::output::{Paint, can_ask, say, says_yes};
use crate::git::known_hosts::HostKey;
use crate::ssh;

pub(in crate::cli) use place::Place;

/// `host trust`.
#[derive(Debug, Clone, Args)]
pub struct TrustArgs {
    /// A name of :hosts, a git host, or an address with a port if that is not 22.
    #[arg(value_name = "HOST")]
    host: String,
    /// Take the keys that it shows, without asking.
    #[arg(long)]
    yes: bool,
    /// Take the key with this fingerprint, and no other, without asking. Can be repeated.
    #[arg(long = "fingerprint", value_name = "SHA256:…", conflicts_with = "yes", value_parser = fingerprint)]
    fingerprints: Vec<String>,
    /// Forget the keys that are on record for it first: for a host that was set up anew.
    #[arg(long)]
    replace: bool,
}

/// What the files say of what a host shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// The same key.
    Trusted,
    /// Nothing.
    New,
    /// Another key, or only types that it does not show.
    Changed,
}

pub(super) async fn trust(globals: &Globals, args: TrustArgs) -> Result<Exit, CliError> {
    let path = std::path::absolute(&globals.config).map_err(|e| CliError::io("there is no current folder", &e))?;
    let loaded = load(globals, &path)?;
    let (place, entries) = find(&args.host, &loaded, path.parent().unwrap_or(Path::new("/")))?;
    let shown = scan(&place).await?;
    let (standing, on_record) = standing(&place, &shown)?;
    let paint = Paint::stderr(globals.color);
    let chosen = confirmed_by_fingerprint(&place, &shown, &args.fingerprints)?;
    if standing == Standing::Changed && !args.replace {
        return Err(changed(&args.host, &place, &on_record, &shown, paint));
    }
    if standing == Standing::Trusted {
        say(&format!("{} is trusted already, with this key", label(&args.host, &place)));
        say(&lines(&shown, "  ", paint));
        configured(&path, &entries, globals)?;
        return Ok(Exit::Done);
    }
    let published = place.published();
    let keys = match chosen {
        Some(chosen) => chosen,
        None if !published.is_empty() => as_published(&place, &published, &shown)?,
        None => {
            say(&format!("{} shows:", label(&args.host, &place)));
            say(&lines(&shown, "  ", paint));
            if !args.yes && !agreed(&args.host)? {
                return Err(CliError::Refused { message: "nothing was recorded".to_owned(), hint: None });
            }
            shown
        }
    };
    if args.replace {
        place.forget()?;
    }
    place.record(&keys)?;
    for file in &place.files {
        say(&format!("{} {} in {}", paint.green("recorded:"), place.name(), file.display()));
    }
    say(&lines(&keys, "  ", paint));
    configured(&path, &entries, globals)?;
    if entries.iter().any(|entry| entry.path == ["ssh"]) {
        // Up to now ssh's own files were asked, which may have known the others.
        let hosts = loaded.config.hosts.values();
        let others =
            hosts.map(|host| Place { host: host.address.to_string(), port: host.port, files: place.files.clone() });
        for other in others.filter(|other| other.name() != place.name()) {
            if !other.is_known()? {
                say(&format!("still to do: airplanes host trust {}", other.argument()));
            }
        }
    }
    Ok(Exit::Done)
}

/// Shows a host's keys, asks a person and records them. False if the person does not agree.
pub(in crate::cli) async fn ask(place: &Place, globals: &Globals) -> Result<bool, CliError> {
    let shown = match scan(place).await {
        Ok(shown) => shown,
        Err(error) => {
            say(&error.to_string());
            return Ok(false);
        }
    };
    let paint = Paint::stderr(globals.color);
    say(&format!("{} shows:", place.argument()));
    say(&lines(&shown, "  ", paint));
    if !agreed(&place.argument())? {
        return Ok(false);
    }
    place.record(&shown)?;
    Ok(true)
}

fn agreed(host: &str) -> Result<bool, CliError> {
    if !can_ask() {
        let hint = format!(
            "compare the fingerprints with what the host's owner says, then: airplanes host trust {host} --fingerprint \
             SHA256:… (or --yes, if you trust the network between)"
        );
        return Err(CliError::usage("there is nobody to ask: this is no terminal", hint));
    }
    say("Compare with what the host itself says, on its console: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
    says_yes("Is it so?")
}

async fn scan(place: &Place) -> Result<Vec<HostKey>, CliError> {
    let failed = |error: ssh::ToolError| CliError::other(error.to_string());
    ssh::scan(&place.host, place.port).await.map_err(failed)
}

/// How what is shown stands to what is on record, and the latter with its places.
fn standing(place: &Place, shown: &[HostKey]) -> Result<(Standing, Vec<(String, HostKey)>), CliError> {
    let name = place.name();
    let mut worst = Standing::Trusted;
    let mut on_record = Vec::new();
    for file in &place.files {
        let known = place::read(file)?;
        for key in shown {
            if let Some(line) = known.revoked(&name, key) {
                return Err(CliError::Refused {
                    message: format!("{name} shows a key that {}:{line} revokes", file.display()),
                    hint: Some("that key is not to be trusted, whoever shows it".to_owned()),
                });
            }
        }
        let keys = known.keys_of(&name);
        let has = |key: &HostKey| keys.iter().any(|(_, known)| known == key);
        let of_its_kind = |key: &HostKey| keys.iter().any(|(_, known)| known.kind() == key.kind());
        worst = worst.max(match () {
            () if keys.is_empty() => Standing::New,
            () if shown.iter().any(has) && shown.iter().all(|key| has(key) || !of_its_kind(key)) => Standing::Trusted,
            () => Standing::Changed,
        });
        on_record.extend(keys.into_iter().map(|(line, key)| (format!("{}:{line}", file.display()), key)));
    }
    Ok((worst, on_record))
}

/// A fingerprint as ssh-keygen and ssh print it: `SHA256:` and 43 characters of base64, which may stand alone.
fn fingerprint(text: &str) -> Result<String, String> {
    let (text, bare) = (text.trim(), text.trim().trim_start_matches("SHA256:"));
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    let is_one = !bare.is_empty() && bare.chars().all(is_base64) && (bare.len() < text.len() || bare.len() >= 43);
    if is_one { Ok(text.to_owned()) } else { Err("no fingerprint like SHA256:nThbg6kX…".to_owned()) }
}

/// The keys with the fingerprints that were given; none if none was given.
fn confirmed_by_fingerprint(
    place: &Place,
    shown: &[HostKey],
    fingerprints: &[String],
) -> Result<Option<Vec<HostKey>>, CliError> {
    let bare = |text: &str| text.trim().trim_start_matches("SHA256:").trim_end_matches('=').to_owned();
    let mut chosen = Vec::new();
    for fingerprint in fingerprints {
        match shown.iter().find(|key| bare(&key.fingerprint()) == bare(fingerprint)) {
            Some(key) => chosen.push(key.clone()),
            None => {
                let shown: Vec<String> = shown.iter().map(words).collect();
                return Err(CliError::Refused {
                    message: format!(
                        "{} does not show a key with the fingerprint {}, but {}; nothing was recorded",
                        place.name(),
                        fingerprint.escape_debug(),
                        shown.join(", ")
                    ),
                    hint: Some("is the fingerprint of this host? If so, someone may be in between".to_owned()),
                });
            }
        }
    }
    Ok((!chosen.is_empty()).then_some(chosen))
}

/// What a forge publishes, if what it shows is that.
fn as_published(place: &Place, published: &[HostKey], shown: &[HostKey]) -> Result<Vec<HostKey>, CliError> {
    let strange: Vec<String> = shown.iter().filter(|key| !published.contains(key)).map(words).collect();
    if strange.is_empty() {
        say(&format!("{} shows the keys that it publishes", place.host));
        return Ok(published.to_vec());
    }
    Err(CliError::Refused {
        message: format!(
            "{} shows {}, which is not what it published when this airplanes was made; nothing was recorded",
            place.host,
            strange.join(", ")
        ),
        hint: Some(format!(
            "look up its fingerprints on its own pages; if they have changed: airplanes host trust {} --fingerprint SHA256:…",
            place.host
        )),
    })
}

fn changed(
    argument: &str,
    place: &Place,
    on_record: &[(String, HostKey)],
    shown: &[HostKey],
    paint: Paint,
) -> CliError {
    say(&paint.red(&format!("!! {} shows ANOTHER KEY than the one on record.", label(argument, place))));
    for (at, key) in on_record {
        say(&format!("   on record  {}  {at}", words(key)));
    }
    say(&lines(shown, "   shown now  ", paint));
    CliError::Refused {
        message: format!(
            "{argument} was set up anew, or someone is between it and this machine; nothing was changed, and it is \
             still not spoken to"
        ),
        hint: Some(format!("once its owner has confirmed the new key: airplanes host trust {argument} --replace")),
    }
}

/// Makes config.edn name the file, where it does not yet.
fn configured(path: &Path, entries: &[crate::cli::keys::Entry], globals: &Globals) -> Result<(), CliError> {
    let (added, to_add) = add_entries(path, entries, globals)?;
    added.iter().for_each(|entry| say(&format!("added to {}: {entry}", path.display())));
    to_add.iter().for_each(|entry| say(&format!("add to {} yourself: {entry}", path.display())));
    Ok(())
}

fn label(argument: &str, place: &Place) -> String {
    let place = place.argument();
    if argument == place { place } else { format!("{argument} ({place})") }
}

fn words(key: &HostKey) -> String {
    format!("{} {}", key.kind(), key.fingerprint())
}

fn lines(keys: &[HostKey], lead: &str, paint: Paint) -> String {
    let line = |key: &HostKey| format!("{lead}{} {}", key.kind(), paint.bold(&key.fingerprint()));
    keys.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::known_hosts::published;

    fn place(file: &Path) -> Place {
        Place { host: "github.com".into(), port: 22, files: vec![file.to_owned()] }
    }

    #[test]
    fn a_forge_that_shows_what_it_did_not_publish_is_refused() {
        let place = place(Path::new("/nonexistent"));
        let (own, strange) = (published("github.com"), published("gitlab.com"));
        assert_eq!(as_published(&place, &own, &own[..1]).unwrap(), own, "all that it publishes is recorded");
        let mixed = [own[0].clone(), strange[1].clone()];
        let error = as_published(&place, &own, &mixed).unwrap_err();
        assert_eq!(error.exit(), Exit::Refused);
        assert!(
            error.to_string().contains(&strange[1].fingerprint()) && error.hint().unwrap().contains("--fingerprint")
        );
    }

    #[test]
    fn what_is_shown_is_compared_with_each_file_and_the_worst_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let (own, strange) = (published("github.com"), published("gitlab.com"));
        let standing_of = |text: &[&HostKey], shown: &[HostKey]| {
            std::fs::write(&file, "").unwrap();
            place(&file).record(&text.iter().map(|key| (*key).clone()).collect::<Vec<_>>()).unwrap();
            standing(&place(&file), shown).map(|(standing, _)| standing)
        };
        assert_eq!(standing_of(&[], &own).unwrap(), Standing::New);
        assert_eq!(standing_of(&[&own[0]], &own).unwrap(), Standing::Trusted, "a type more is no change");
        assert_eq!(standing_of(&[&own[0], &own[1], &own[2]], &own[..1]).unwrap(), Standing::Trusted);
        assert_eq!(standing_of(&[&strange[0]], &own).unwrap(), Standing::Changed);
        assert_eq!(standing_of(&[&own[0], &strange[1]], &own).unwrap(), Standing::Changed, "one type is another key");
        assert_eq!(standing_of(&[&own[2]], &own[..1]).unwrap(), Standing::Changed, "the type on record is not shown");
        let both = Place { files: vec![file.clone(), folder.path().join("other")], ..place(&file) };
        std::fs::write(&file, "").unwrap();
        place(&file).record(&own).unwrap();
        assert_eq!(standing(&both, &own).unwrap().0, Standing::New, "the other file does not have it yet");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}@revoked {}", text.lines().next().unwrap())).unwrap();
        assert_eq!(standing(&place(&file), &own).unwrap_err().exit(), Exit::Refused);
    }
}
