//! Removing what builds leave: also folders that they made read-only, as Go's module cache and some tests do.

use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Removes a file, or a folder with all in it; one that is gone is fine. Links are removed, never followed.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                open_up(path);
                std::fs::remove_dir_all(path)
            }
            removed => removed,
        },
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Lets the owner change every folder below this one. What can't be changed shows when it is removed.
fn open_up(folder: &Path) {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if let Ok(meta) = folder.symlink_metadata() {
            let mode = meta.permissions().mode() | 0o700;
            let _ = std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode));
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        // A link to a folder is none: its kind is a link's.
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(below.map(|entry| entry.path()));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn read_only_folders_are_opened_up_and_links_are_not_followed() {
        let scene = tempfile::tempdir().unwrap();
        let (work, outside) = (scene.path().join("work"), scene.path().join("outside"));
        let deep = work.join("mod/cache");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(deep.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&outside, deep.join("link")).unwrap();
        for folder in [&outside, &deep, &work.join("mod")] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o555)).unwrap();
        }
        open_up(&work);
        assert_eq!((mode(&work.join("mod")), mode(&deep), mode(&outside)), (0o755, 0o755, 0o555));
        remove(&work).unwrap();
        assert!(!work.exists() && outside.exists());
        remove(&work).unwrap();
    }
}
