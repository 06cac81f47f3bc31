//! What the figures were taken on: machine, load, profile and the peers' versions, for the lines above the table.

use std::process::Command;

/// The lines.
pub fn words() -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let memory = memory.split(' ').next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default() / 1024.0 / 1024.0;
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    vec![
        format!(
            "{}: {} cores of {}, {memory:.0} GiB, Linux {}; load before the run {load}",
            jiff::Timestamp::now().strftime("%F %H:%M UTC"),
            cores,
            field(&read("/proc/cpuinfo"), "model name"),
            read("/proc/sys/kernel/osrelease").trim(),
        ),
        format!(
            "airplanes {} ({}); webhook {}; clojure {} on java {}; clush {}; ansible {}; {}",
            env!("CARGO_PKG_VERSION"),
            if cfg!(debug_assertions) { "debug build: the figures mean nothing" } else { "optimised build" },
            package("webhook"),
            package("clojure"),
            package("openjdk-*-jre-headless"),
            package("clustershell"),
            package("ansible-core"),
            first_line("git", &["--version"]),
        ),
    ]
}

/// The version of a Debian package.
fn package(name: &str) -> String {
    let lines = output("dpkg-query", &["-W", "-f", "${db:Status-Abbrev} ${Version}\\n", name]);
    let installed = lines.lines().find_map(|line| line.strip_prefix("ii ")).map(str::trim);
    installed.unwrap_or("of no Debian package").to_owned()
}

fn first_line(program: &str, args: &[&str]) -> String {
    output(program, args).lines().next().unwrap_or("unknown").to_owned()
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
}
