//! The real files and environment, for `config`.

use std::io;
use std::path::Path;

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
}
