//! What strace saw the daemon ask the kernel, in order.

use std::path::Path;
use std::process::Command;

/// What is traced: all that writes or syncs, and what makes or renames files.
const CALLS: &str = "trace=write,pwrite64,writev,pwritev,sendto,sendmsg,fsync,fdatasync,sync_file_range,ftruncate,\
                     openat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat";

/// The files that hold the store's rows.
const FILES: [&str; 3] = ["db", "wal-0", "wal-1"];

/// Whether this machine lets a process be traced.
pub fn can() -> Result<(), String> {
    match Command::new("strace").args(["-D", "-f", "-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("strace is not allowed here: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("there is no strace: {error}")),
    }
}

/// What the daemon is run under. It stays a child of who starts it.
pub fn line(to: &Path) -> Vec<String> {
    let to = to.display().to_string();
    ["strace", "-D", "-f", "-y", "-xx", "-s", "8388608", "-e", CALLS, "-e", "signal=none", "-o", &to]
        .map(str::to_owned)
        .to_vec()
}

/// A call, and between which lines of the trace it ran.
pub struct Call {
    pub name: String,
    /// The file that its first argument is open on.
    pub path: String,
    /// All of its strings, one after the other.
    data: Vec<u8>,
    /// The same to look into: std's search is fast in any build.
    text: String,
    args: String,
    pub entered: usize,
    pub left: usize,
}

impl Call {
    pub fn holds(&self, text: &str) -> bool {
        self.text.contains(text)
    }
    pub fn is_sync(&self) -> bool {
        self.name == "fsync" || self.name == "fdatasync"
    }
    pub fn is_to_host(&self) -> bool {
        ["socket:", "UNIX", "pipe:"].iter().any(|kind| self.path.starts_with(kind))
    }
    /// Whether it makes, renames or removes something under a folder.
    pub fn changes(&self, folder: &str) -> bool {
        let makes = match self.name.as_str() {
            "openat" => self.args.contains("O_CREAT") || self.args.contains("O_RDWR") || self.args.contains("O_WRONLY"),
            name => ["mkdir", "rename", "link", "unlink"].iter().any(|start| name.starts_with(start)),
        };
        makes && self.holds(folder)
    }
    /// The number after the data: a pwrite's offset.
    fn offset(&self) -> u64 {
        let numbers = self.args.rsplit(", ").next().unwrap();
        numbers.trim().parse().unwrap_or_else(|_| panic!("no offset in {} {}", self.name, self.args.len()))
    }
}

/// All calls, in the order in which they ended.
pub struct Trace {
    pub calls: Vec<Call>,
    /// The store's folder.
    store: String,
}

impl Trace {
    /// The trace of a daemon that was killed, once all of it is written.
    pub async fn read(file: &Path, store: &Path) -> Self {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let text = loop {
            let text = std::fs::read_to_string(file).unwrap();
            // Its ssh masters outlive it, and are traced on.
            if text.contains("+++ killed by SIGKILL") || std::time::Instant::now() > deadline {
                break text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        };
        let mut calls: Vec<Call> = Vec::new();
        let mut unfinished: std::collections::HashMap<&str, Call> = std::collections::HashMap::new();
        for (n, line) in text.lines().enumerate() {
            let Some((pid, rest)) = line.split_once(' ') else { continue };
            let rest = rest.trim_start();
            if rest.starts_with("<... ") {
                if let Some(mut call) = unfinished.remove(pid) {
                    call.left = n;
                    calls.push(call);
                }
            } else if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
                unfinished.extend(parse(begun, n).map(|call| (pid, call)));
            } else if let Some((call, _)) = rest.rsplit_once(") = ") {
                calls.extend(parse(call, n));
            }
        }
        Self { calls, store: store.display().to_string() }
    }

    /// Whether it is about one of the files that hold the store's rows.
    fn is_of_store(&self, call: &Call) -> bool {
        FILES.iter().any(|name| call.path == format!("{}/{name}", self.store))
    }

    /// The writes into the store's files.
    pub fn store_writes(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.name == "pwrite64" && self.is_of_store(call))
    }
    /// Their syncs.
    pub fn store_syncs(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.is_sync() && self.is_of_store(call))
    }
    /// The store's files as they are on disk when a sync is over: of each, the writes that were over when its own last
    /// sync up to then began; and one write more.
    pub fn replay(&self, to: &Path, sync: &Call, also: Option<&Call>) {
        use std::os::unix::fs::FileExt;
        for name in FILES {
            let path = format!("{}/{name}", self.store);
            let file = std::fs::File::create(to.join(name)).unwrap();
            let last = self.store_syncs().take_while(|s| s.left <= sync.left).filter(|s| s.path == path).last();
            let before = last.map_or(0, |sync| sync.entered);
            for call in self.calls.iter().filter(|call| call.path == path && call.left < before) {
                match call.name.as_str() {
                    "pwrite64" => file.write_all_at(&call.data, call.offset()).unwrap(),
                    "ftruncate" => file.set_len(call.offset()).unwrap(),
                    "write" | "writev" | "pwritev" => panic!("{} is not replayed", call.name),
                    _ => {}
                }
            }
            if let Some(call) = also.filter(|call| call.path == path) {
                file.write_all_at(&call.data, call.offset()).unwrap();
            }
        }
    }
}

/// `name(12<path>, "\x41\x42", 2, 4096`.
fn parse(text: &str, line: usize) -> Option<Call> {
    let (name, args) = text.split_once('(')?;
    let path = args.split_once('<').filter(|(fd, _)| fd.bytes().all(|b| b.is_ascii_digit()) && !fd.is_empty());
    let path = path.and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path);
    let mut data = Vec::new();
    for string in args.split('"').skip(1).step_by(2) {
        let bytes = string.as_bytes().chunks_exact(4);
        data.extend(bytes.filter_map(|code| u8::from_str_radix(std::str::from_utf8(&code[2..]).ok()?, 16).ok()));
    }
    let plain: Vec<&str> = args.split('"').step_by(2).collect();
    let text = String::from_utf8_lossy(&data).into_owned();
    let (name, path, args) = (name.to_owned(), plain_path(path), plain.concat());
    Some(Call { name, path, data, text, args, entered: line, left: line })
}

/// With -xx strace writes the paths of descriptors in hex, too.
fn plain_path(path: &str) -> String {
    if !path.starts_with("\\x") {
        return path.to_owned();
    }
    let codes = path.split("\\x").skip(1).filter_map(|code| u8::from_str_radix(code, 16).ok());
    String::from_utf8_lossy(&codes.collect::<Vec<u8>>()).into_owned()
}
