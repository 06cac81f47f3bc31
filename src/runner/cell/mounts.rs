//! The other names of a hidden place: a folder that is mounted in several places is the same folder in each.
//!
//! Arithmetic on the text of /proc/self/mountinfo (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A mounted part of a file system.
struct Mount {
    /// Which file system.
    device: String,
    /// Which folder of it.
    root: PathBuf,
    /// Where it is to be seen.
    point: PathBuf,
}

/// Where else these places, or what lies in them, can be found.
pub(super) fn elsewhere(places: &[PathBuf], mountinfo: &str) -> Vec<PathBuf> {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(read).collect();
    let mut found = Vec::new();
    for place in places {
        // Of mounts one over the other the last one counts.
        let seen = mounts.iter().filter(|mount| place.starts_with(&mount.point));
        let Some(seen) = seen.max_by_key(|mount| mount.point.components().count()) else { continue };
        let Ok(below) = place.strip_prefix(&seen.point) else { continue };
        let inside = join(&seen.root, below);
        for mount in mounts.iter().filter(|mount| mount.device == seen.device) {
            if let Ok(rest) = inside.strip_prefix(&mount.root) {
                found.push(join(&mount.point, rest));
            } else if mount.root.starts_with(&inside) {
                found.push(mount.point.clone());
            }
        }
    }
    found.retain(|path| !places.contains(path));
    found.sort();
    found.dedup();
    found
}

/// `PathBuf::join`, but nothing joined is nothing added.
fn join(folder: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { folder.to_owned() } else { folder.join(rest) }
}

fn read(line: &str) -> Option<Mount> {
    let fields: Vec<&str> = line.split(' ').collect();
    let path = |field: &str| PathBuf::from(OsString::from_vec(unescaped(field)));
    Some(Mount { device: (*fields.get(2)?).to_owned(), root: path(fields.get(3)?), point: path(fields.get(4)?) })
}

/// Blanks and the like stand as `\040`.
fn unescaped(field: &str) -> Vec<u8> {
    let bytes = std::ffi::OsStr::new(field).as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = (bytes[at] == b'\\').then(|| field.get(at + 1..at + 4)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 27 0:21 / /proc rw - proc proc rw
30 27 254:0 / /mnt/all\\040of\\040it rw - ext4 /dev/vda rw
31 27 254:0 /var/lib/airplanes/store /srv/store rw - ext4 /dev/vda rw
32 27 254:0 /var /old-var rw - ext4 /dev/vda rw
33 27 254:1 / /home rw - ext4 /dev/vdb rw
34 27 254:1 /deploy /export rw - ext4 /dev/vdb rw
";

    fn found(places: &[&str]) -> Vec<String> {
        let places: Vec<PathBuf> = places.iter().map(PathBuf::from).collect();
        elsewhere(&places, MOUNTS).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_place_is_found_under_its_other_names() {
        assert_eq!(
            found(&["/var/lib/airplanes"]),
            ["/mnt/all of it/var/lib/airplanes", "/old-var/lib/airplanes", "/srv/store"]
        );
        assert_eq!(found(&["/home/deploy/.ssh"]), ["/export/.ssh"]);
        assert_eq!(found(&["/home/deploy"]), ["/export"]);
    }

    #[test]
    fn what_is_mounted_once_has_one_name() {
        assert_eq!(found(&["/proc/1"]), Vec::<String>::new());
    }
}
