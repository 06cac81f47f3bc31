//! `airplanes check`: the two files, as the daemon reads them.

use super::Globals;
use super::error::CliError;
use super::exit::Exit;
use super::output::{Paint, print, say};
use crate::config;
use crate::watch::FsSource;

pub(super) fn check(globals: &Globals) -> Result<Exit, CliError> {
    let colour = Paint::stderr(globals.color);
    match config::load(&FsSource, &globals.config) {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                say(loaded.warnings.render(colour.is_on()).trim_end());
            }
            let mut names: Vec<String> = Vec::new();
            for file in &loaded.files {
                // Secrets are files too, and not worth naming.
                if file.extension().is_some_and(|e| e == "edn") {
                    names.extend(file.file_name().map(|name| name.to_string_lossy().into_owned()));
                }
            }
            let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            let apps = count(loaded.apps.len(), "app");
            let mut hosts: Vec<_> = loaded.apps.values().flat_map(|app| app.hosts.iter().map(|h| &h.name)).collect();
            hosts.extend(loaded.config.hosts.keys());
            hosts.sort();
            hosts.dedup();
            let hosts = count(hosts.len(), "host");
            let mark = Paint::stdout(globals.color).green("✔");
            print(&format!("{mark} {}: {apps}, {hosts}\n", names.join(", ")))?;
            Ok(Exit::Done)
        }
        Err(faults) => {
            say(faults.render(colour.is_on()).trim_end());
            Ok(Exit::Usage)
        }
    }
}
