//! The operator's token, which opens the HTTP API.
//!
//! Must never show it, or leave it readable by another user.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

use crate::model::Secret;

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
    let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let new = state.join("operator-token.new");
    let written = || -> std::io::Result<()> {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        std::fs::File::open(state)?.sync_all()
    };
    written().with_context(|| format!("{} can't be written", path.display()))?;
    Ok(Secret::new(name, token))
}
