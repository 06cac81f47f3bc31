//! The real files and environment, for `config`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::config::Source;

/// Reads files from the disk and variables from the process's environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct FsSource;

/// How long a file of the configuration may be, in bytes.
const LARGEST: u64 = 4 << 20;

impl Source for FsSource {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is over 4 MB: no configuration is that long"));
        }
        Ok(bytes)
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
