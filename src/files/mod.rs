//! Files that are written whole or not at all, for whoever keeps one.
//!
//! Must never let a file have its name before its content is on disk.

pub mod crash;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes a file for its owner alone, or replaces it: by way of `NAME.new` beside it, which a crash may leave there.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    put(&file, &new, path)
}

/// What was written to `part` takes the name `path`, in the same folder.
pub fn put(file: &File, part: &Path, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(part, path)?;
    sync(folder_of(path))
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new name is there after a power cut only once its folder has been synced.
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pid");
        // As a crash left it.
        fs::write(folder.path().join("a.pid.new"), "half of something longer").unwrap();
        for content in ["one", "other"] {
            write(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let fresh = folder.path().join("b");
        write(&fresh, b"secret").unwrap();
        assert_eq!(fs::metadata(&fresh).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((folder_of(Path::new("a")), folder_of(Path::new("/x/a"))), (Path::new("."), Path::new("/x")));
    }
}
