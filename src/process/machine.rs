//! How much machine there is: processors and memory, as far as a container or a unit leaves them to us.

use std::fs;
use std::path::Path;

/// What builds can share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// How many processors.
    pub cores: usize,
    /// How many bytes of memory.
    pub memory: u64,
}

/// With how much memory a build of a Clojure app can be expected to get by.
const FOR_A_BUILD: u64 = 2_000_000_000;
/// A machine of "2 GB" has a little less for programs.
const NEARLY: u64 = FOR_A_BUILD - FOR_A_BUILD / 8;

impl Machine {
    /// This one.
    pub fn here() -> Self {
        // Heeds the affinity and the cgroup's quota.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)).unwrap_or(FOR_A_BUILD);
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let limits =
            limit_files(&own).into_iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
        Self { cores, memory: limits.fold(total, u64::min) }
    }

    /// How many builds it is enough for at once.
    pub fn builds(self) -> usize {
        let by_memory = usize::try_from(self.memory / NEARLY).unwrap_or(usize::MAX);
        self.cores.min(by_memory).max(1)
    }

    /// How much memory each of so many builds may take: together four fifths, so that the daemon and the machine live.
    pub fn memory_for_each(self, builds: usize) -> u64 {
        self.memory / 5 * 4 / builds.max(1) as u64
    }
}

/// The total of /proc/meminfo, in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Where the limits on memory of our cgroup and of those above it are, in either version's hierarchy. The root has none.
fn limit_files(own: &str) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // In a container the path may be the host's, and the mount shows our own cgroup as its root.
        for above in Path::new(path.trim_start_matches('/')).ancestors() {
            files.push(Path::new(mount).join(above).join(file));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_share_cores_and_memory() {
        let machine = |cores, gigabytes: f64| Machine { cores, memory: (gigabytes * 1e9) as u64 };
        for (cores, gigabytes, builds) in
            [(1, 2.0, 1), (2, 1.93, 1), (4, 3.9, 2), (8, 16.0, 8), (2, 64.0, 2), (1, 0.5, 1)]
        {
            assert_eq!(machine(cores, gigabytes).builds(), builds, "{cores} {gigabytes}");
        }
        assert_eq!(machine(2, 5.0).memory_for_each(2), 2_000_000_000);
    }

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(total("MemFree:  1 kB\nMemTotal:       24576 kB\n"), Some(24576 * 1024));
        let files = limit_files("4:memory:/a/b\n2:cpu:/\n0::/x.slice\n");
        let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        assert_eq!(
            names,
            [
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/x.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
    }
}
