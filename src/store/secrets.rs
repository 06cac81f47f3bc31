//! The apps' secrets. Each is sealed before it reaches the disk (AES-256-GCM), so neither the store's files nor a backup
//! show it; the key is a file of its own in the state folder, `secrets.key`, made with the first secret and part of no
//! backup.
//!
//! Must never log a secret, or give one out but to who brings it to the app's hosts.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::tx::{Tx, decode, get};
use super::{Store, StoreError, keys, writer};
use crate::files;
use crate::model::{AppName, CredentialName, Secret};

/// How long a secret may be, in bytes: a row holds 16 KB, and it is sealed and in base64 there.
pub const LONGEST_SECRET: usize = 8 << 10;

/// A secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    nonce: String,
    text: String,
    at: Timestamp,
}

/// What may be told of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretHead {
    /// Its name.
    pub name: CredentialName,
    /// When it was set.
    pub at: Timestamp,
}

impl Store {
    /// Keeps a secret of an app, in place of one that is there; whether there was one. On disk when this returns.
    pub async fn put_secret(&self, app: &AppName, secret: (CredentialName, Secret)) -> Result<bool, StoreError> {
        let (name, secret) = secret;
        let key = self.secrets_key(true)?;
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|e| self.sealing(&format!("no randomness: {e}")))?;
        let mut text = Zeroizing::new(secret.expose().to_vec());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), place(app, &name), &mut *text)
            .map_err(|_| self.sealing("it could not be sealed"))?;
        let sealed =
            Sealed { nonce: STANDARD.encode(nonce), text: STANDARD.encode(text.as_slice()), at: Timestamp::now() };
        self.ask(|reply| writer::Command::Secret(app.clone(), name, Some(sealed), reply)).await
    }

    /// Forgets a secret; whether there was one.
    pub async fn remove_secret(&self, app: &AppName, name: CredentialName) -> Result<bool, StoreError> {
        self.ask(|reply| writer::Command::Secret(app.clone(), name, None, reply)).await
    }

    /// The secrets of an app, without themselves.
    pub fn secrets(&self, app: &AppName) -> Result<Vec<SecretHead>, StoreError> {
        let prefix = keys::secrets(app);
        let mut heads = Vec::new();
        for row in self.table()?.prefix(&prefix) {
            let (key, value) = row?;
            let name = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            heads.push(SecretHead { name: CredentialName::new(name)?, at: decode::<Sealed>(&key, &value)?.at });
        }
        Ok(heads)
    }

    /// A secret, for who brings it to the app's hosts.
    pub fn secret(&self, app: &AppName, name: &CredentialName) -> Result<Option<Secret>, StoreError> {
        let row = keys::secret(app, name);
        let Some(sealed) = get::<Sealed>(&*self.table()?, &row)? else { return Ok(None) };
        let key = self.secrets_key(false)?;
        let other = "it was sealed with another secrets.key, or is damaged; set it again";
        let nonce = STANDARD.decode(&sealed.nonce).ok().and_then(|nonce| <[u8; NONCE_LEN]>::try_from(nonce).ok());
        let (nonce, mut text) = match (nonce, STANDARD.decode(&sealed.text)) {
            (Some(nonce), Ok(text)) => (nonce, Zeroizing::new(text)),
            _ => return Err(self.sealing(other)),
        };
        let open = key
            .open_in_place(Nonce::assume_unique_for_key(nonce), place(app, name), &mut text)
            .map_err(|_| self.sealing(&format!("the secret {name} of {app} can't be opened: {other}")))?;
        Ok(Some(Secret::new(format!("secret {name}"), &*open)))
    }

    fn secrets_key(&self, make: bool) -> Result<LessSafeKey, StoreError> {
        let path = self.shared.folder.secrets_key();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
                made(&path).map_err(|e| self.sealing(&format!("{} can't be made: {e}", path.display())))?
            }
            Err(error) => {
                let why = format!("{} can't be read: {error}; put it back, or set the secrets again", path.display());
                return Err(self.sealing(&why));
            }
        };
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).unwrap_or_default());
        let key = UnboundKey::new(&AES_256_GCM, &bytes);
        key.map(LessSafeKey::new).map_err(|_| self.sealing(&format!("{} is no key", path.display())))
    }

    fn sealing(&self, why: &str) -> StoreError {
        StoreError::Sealing { why: why.to_owned() }
    }
}

/// A new key. Two makers at once end with the same one: the second finds the first's.
fn made(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *bytes).map_err(io::Error::other)?;
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*bytes)));
    let part = tempfile::NamedTempFile::new_in(files::folder_of(path))?;
    io::Write::write_all(&mut part.as_file(), text.as_bytes())?;
    part.as_file().sync_all()?;
    match part.persist_noclobber(path) {
        Ok(_) => files::sync(files::folder_of(path)).map(|()| text),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::read_to_string(path).map(Zeroizing::new)
        }
        Err(error) => Err(error.error),
    }
}

/// A secret is sealed with its place: it can't be taken for another's.
fn place(app: &AppName, name: &CredentialName) -> Aad<Vec<u8>> {
    Aad::from(format!("{app}\0{name}").into_bytes())
}

/// Whether there was one.
pub(super) fn put(
    tx: &mut Tx,
    app: &AppName,
    name: &CredentialName,
    sealed: Option<&Sealed>,
) -> Result<bool, StoreError> {
    let key = keys::secret(app, name);
    let was = tx.has(&key)?;
    match sealed {
        Some(sealed) => tx.put(key, sealed)?,
        None if was => tx.delete(key),
        None => {}
    }
    Ok(was)
}
