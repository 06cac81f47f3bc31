//! Files beside config.edn: written whole or not at all, never over another, for the daemon to read and for nobody else.
//!
//! In a folder of the group that the daemon runs as, as /etc/airplanes is, a file is that group's to read (0640); in any
//! other, and where a group may be many people's, it is for its owner alone (0600).

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, fchown};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};
use tempfile::NamedTempFile;

use super::error::CliError;
use crate::files::{self, folder_of, sync};

/// The group that a daemon of the package runs as.
const DAEMONS_GROUP: &str = "airplanes";

/// Whose group a folder's files are to be read by: the daemon's own, if that is another than the writer's.
fn readers(folder: &Path) -> io::Result<Option<u32>> {
    let group = fs::metadata(folder)?.gid();
    let is_other = group != 0 && group != Gid::effective().as_raw();
    Ok((is_other && is_a_daemons(Gid::from_raw(group))).then_some(group))
}

/// Whether a group can be one daemon's own: the package's, one user's alone, or one that has no name here, as in
/// containers. `staff` and the like are people's, and grow.
fn is_a_daemons(group: Gid) -> bool {
    match Group::from_gid(group) {
        Ok(Some(known)) if known.name == DAEMONS_GROUP => true,
        Ok(Some(known)) => {
            let user = User::from_name(&known.name).ok().flatten();
            user.is_some_and(|user| user.gid == group) && known.mem.iter().all(|member| *member == known.name)
        }
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Makes a file. False if there is one already, which stays as it is.
pub(super) fn create(path: &Path, content: &[u8]) -> Result<bool, CliError> {
    let folder = folder_of(path);
    let made = || -> io::Result<bool> {
        if fs::symlink_metadata(path).is_ok() {
            return Ok(false);
        }
        let group = readers(folder)?;
        let file = written(folder, content)?;
        if let Some(group) = group {
            give(file.as_file(), group)?;
            file.as_file().set_permissions(Permissions::from_mode(0o640))?;
        }
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => sync(folder).map(|()| true),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.error),
        }
    };
    made().map_err(|error| denied(path, &error))
}

/// Replaces a file's content, or makes it. It stays whose it was, and a link leads where it led.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let target = match path.canonicalize() {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return create(path, content).map(drop),
        Err(error) => return Err(denied(path, &error)),
    };
    let folder = folder_of(&target);
    let replaced = || -> io::Result<()> {
        let was = fs::metadata(&target)?;
        let file = written(folder, content)?;
        let is = file.as_file().metadata()?;
        if (is.uid(), is.gid()) != (was.uid(), was.gid()) {
            fchown(file.as_file(), Some(was.uid()), Some(was.gid()))?;
        }
        file.as_file().set_permissions(Permissions::from_mode(was.mode() & 0o7777))?;
        let (file, part) = file.into_parts();
        files::put(&file, &part, &target)
    };
    replaced().map_err(|error| denied(path, &error))
}

/// Makes a folder, and those above it, unless it is there: for the daemon's group where there is one.
pub(super) fn make_folder(path: &Path) -> Result<(), CliError> {
    let made = || -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let above = folder_of(path);
        fs::create_dir_all(above)?;
        let as_root = Uid::effective().is_root();
        let daemons = || Group::from_name(DAEMONS_GROUP).ok().flatten().map(|group| group.gid.as_raw());
        // Below a folder of the daemon's group it is that group's; root's first folder becomes it if there is such a group.
        let group = readers(above)?.or_else(|| if as_root { daemons() } else { None });
        fs::DirBuilder::new().mode(0o700).create(path)?;
        if let Some(group) = group {
            chown(path, None, Some(group))?;
            fs::set_permissions(path, Permissions::from_mode(0o2750))?;
        }
        sync(above)
    };
    made().map_err(|error| denied(path, &error))
}

/// A new file of nobody but its maker, with this content.
fn written(folder: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    Ok(file)
}

fn give(file: &File, group: u32) -> io::Result<()> {
    if file.metadata()?.gid() == group { Ok(()) } else { fchown(file, None, Some(group)) }
}

fn denied(path: &Path, error: &io::Error) -> CliError {
    let message = format!("{} can't be written: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => CliError::Other {
            message,
            hint: Some("run it with sudo, or name a folder of your own: --dir DIR or --config FILE".to_owned()),
        },
        _ => CliError::other(message),
    }
}
