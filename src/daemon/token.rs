//! The operator's token, which opens the HTTP API.
//!
//! Must never show it, or leave it readable by another user.

use std::path::Path;

use anyhow::{Context, bail};

use crate::files;
use crate::model::{Secret, hex};

/// The operator's token: made at first start, mode 0600, on disk before anyone needs it.
pub(super) fn operator_token(state: &Path) -> anyhow::Result<Secret> {
    let path = state.join("operator-token");
    let name = format!("the operator's token in {}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= 32 => return Ok(Secret::new(name, text.trim())),
        Ok(_) => bail!("{} is too short to be a token: remove it, and a new one is made", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{} can't be read", path.display())),
    }
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).context("the system gives no random bytes")?;
    let token = hex(bytes);
    let written = files::write(&path, format!("{token}\n").as_bytes());
    written.with_context(|| format!("{} can't be written", path.display()))?;
    Ok(Secret::new(name, token))
}
