//! The real files and environment, for `config`.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::Source;

/// Reads files from the disk and variables from the process's environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct FsSource;

impl Source for FsSource {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
    fn real(&self, path: &Path) -> PathBuf {
        real(path)
    }
}

/// A path without links, as far as it exists.
pub fn real(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), path.strip_prefix(above)) {
            // Joined to nothing, a path would get a slash at its end.
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}
