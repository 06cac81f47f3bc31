//! What can go wrong with a host, told apart by what the reader has to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::Host;

/// Why a host could not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing listens on that port.
    Refused,
    /// No answer in time.
    TimedOut,
    /// The network has no way there.
    NoRoute,
    /// Its name does not resolve.
    NoSuchName,
    /// The connection broke before it stood: a busy sshd sheds connections, a dying one drops them.
    Dropped,
    /// sshd does not let us in.
    Auth,
    /// Its host key is not in known_hosts.
    HostKeyUnknown,
    /// Its host key is another one than known_hosts has.
    HostKeyChanged,
    /// Something else, in ssh's words.
    Other,
}

impl Cause {
    /// Whether it may pass without anyone's doing anything.
    pub fn is_transient(self) -> bool {
        matches!(self, Cause::Refused | Cause::TimedOut | Cause::NoRoute | Cause::NoSuchName | Cause::Dropped)
    }

    /// Reads ssh's own log of a failed connect.
    pub(super) fn of_log(log: &str) -> Self {
        const SIGNS: [(&str, Cause); 17] = [
            ("REMOTE HOST IDENTIFICATION HAS CHANGED", Cause::HostKeyChanged),
            ("host key is known for", Cause::HostKeyUnknown),
            ("Host key verification failed", Cause::HostKeyUnknown),
            ("Permission denied (", Cause::Auth),
            ("Too many authentication failures", Cause::Auth),
            ("Could not resolve hostname", Cause::NoSuchName),
            ("Connection refused", Cause::Refused),
            ("Connection timed out", Cause::TimedOut),
            ("Operation timed out", Cause::TimedOut),
            ("timed out", Cause::TimedOut),
            ("No route to host", Cause::NoRoute),
            ("Network is unreachable", Cause::NoRoute),
            ("Connection reset", Cause::Dropped),
            ("Connection closed", Cause::Dropped),
            ("kex_exchange_identification", Cause::Dropped),
            ("Broken pipe", Cause::Dropped),
            ("closed by remote host", Cause::Dropped),
        ];
        SIGNS.iter().find(|(sign, _)| log.contains(sign)).map_or(Cause::Other, |(_, cause)| *cause)
    }
}

/// An error of this module. `host` is the host's name with its address where they differ.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, so nothing was started.
    #[error("host {host} is unreachable: {said}")]
    Unreachable {
        /// The host.
        host: String,
        /// Why.
        cause: Cause,
        /// What happened and what to do next.
        said: String,
    },
    /// The connection broke while a script ran. sshd ends the script when it notices.
    #[error(
        "the connection to {host} was lost during `{what}`; whether it was done shows when the host is asked again"
    )]
    Lost {
        /// The host.
        host: String,
        /// The call.
        what: &'static str,
    },
    /// The script ran and failed.
    #[error("`{what}` failed on {host} with exit code {status}: {}", last_words(.stderr))]
    Failed {
        /// The host.
        host: String,
        /// The call.
        what: &'static str,
        /// Its exit code; 128 and a signal's number if a signal ended it.
        status: i32,
        /// Its standard error, the last part.
        stderr: String,
    },
    /// The script took too long and was ended.
    #[error("`{what}` on {host} was not done after {after:?}; {}", ended_words(*.ended))]
    TimedOut {
        /// The host.
        host: String,
        /// The call.
        what: &'static str,
        /// How long it was given.
        after: Duration,
        /// Whether its processes were seen to be gone.
        ended: bool,
    },
    /// The caller canceled.
    #[error("`{what}` on {host} was canceled; {}", ended_words(*.ended))]
    Canceled {
        /// The host.
        host: String,
        /// The call, or `connect`.
        what: &'static str,
        /// Whether its processes were seen to be gone.
        ended: bool,
    },
    /// The host can't be spoken to as it is configured.
    #[error("host {host} can't be used: {why}; correct it in :hosts or :ssh of config.edn")]
    BadHost {
        /// The host.
        host: String,
        /// What is wrong.
        why: &'static str,
    },
    /// This machine has no ssh client.
    #[error("`ssh` could not be started: {0}; install it with `apt-get install openssh-client`")]
    NoClient(io::Error),
    /// No folder for the connections' sockets.
    #[error("no folder for ssh's control sockets in {}: {source}; it must be writable, and its path short", .path.display())]
    Control {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether trying again, with nothing changed by anyone, may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Unreachable { cause, .. } => cause.is_transient(),
            Error::Lost { .. } => true,
            _ => false,
        }
    }
    /// Whether the host is what failed, not what was asked of it.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Error::Unreachable { .. } | Error::Lost { .. })
    }
    /// Whether the caller canceled.
    pub fn is_canceled(&self) -> bool {
        matches!(self, Error::Canceled { .. })
    }
}

fn ended_words(ended: bool) -> &'static str {
    if ended { "its processes are gone" } else { "the host did not confirm that its processes are gone" }
}

fn last_words(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        [] => "it said nothing".to_owned(),
        lines => lines[lines.len().saturating_sub(6)..].join(" | "),
    }
}

/// The host as errors name it.
pub(super) fn label(host: &Host) -> String {
    if host.name == host.address { host.name.to_string() } else { format!("{} ({})", host.name, host.address) }
}

/// What ssh's log of a failed connect means, with what to do next. `known_hosts` and `identity` as they were given.
pub(super) fn unreachable(host: &Host, log: &str, known_hosts: &str, identity: &str) -> Error {
    let cause = Cause::of_log(log);
    let (address, port, user) = (&host.address, host.port, &host.user);
    let name = &host.name;
    let words = log.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('@'));
    let last = words.clone().next_back().unwrap_or("ssh said nothing").to_owned();
    let said = match cause {
        Cause::Refused => {
            format!("{address} refuses connections on port {port}; is sshd running, and is that its :port?")
        }
        Cause::TimedOut => {
            format!("{address} port {port} does not answer; is the machine up, and does a firewall let this one in?")
        }
        Cause::NoRoute => format!("there is no route to {address}; is the machine up, and is the address right?"),
        Cause::NoSuchName => format!("the name {address} does not resolve; check :address"),
        Cause::Dropped => {
            format!("{address} port {port} closed the connection ({last}); its sshd may be shedding load (MaxStartups)")
        }
        Cause::Auth => format!(
            "sshd does not let {user} in with {identity} ({last}); add its public half to ~{user}/.ssh/authorized_keys there"
        ),
        Cause::HostKeyUnknown => format!(
            "its host key is not in {known_hosts}; `airplanes host trust {name}` shows it, to be compared with what the \
             server itself says (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and records it"
        ),
        Cause::HostKeyChanged => {
            let sent =
                words.clone().find(|line| line.starts_with("SHA256:")).unwrap_or("not shown").trim_end_matches('.');
            let offending =
                words.clone().filter(|line| line.starts_with("Offending")).find_map(|line| line.split_once(" key in "));
            let offending = offending.map_or(known_hosts, |(_, at)| at);
            format!(
                "ITS HOST KEY HAS CHANGED: it sent {sent}, and {offending} has another. Either the server was installed \
                 anew, or someone is in between. Only when you know: `airplanes host trust {name} --replace`"
            )
        }
        Cause::Other => last,
    };
    Error::Unreachable { host: label(host), cause, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_causes_are_told_apart_by_sshs_own_words() {
        for (log, cause) in [
            ("ssh: connect to host 10.0.0.1 port 22: Connection refused", Cause::Refused),
            ("ssh: connect to host 10.0.0.1 port 22: Connection timed out", Cause::TimedOut),
            ("Connection timed out during banner exchange\nConnection to 10.0.0.1 port 22 timed out", Cause::TimedOut),
            ("ssh: connect to host 10.0.0.1 port 22: No route to host", Cause::NoRoute),
            ("ssh: Could not resolve hostname web: Name or service not known", Cause::NoSuchName),
            ("kex_exchange_identification: read: Connection reset by peer", Cause::Dropped),
            ("kex_exchange_identification: Connection closed by remote host", Cause::Dropped),
            ("deploy@10.0.0.1: Permission denied (publickey).", Cause::Auth),
            ("something new", Cause::Other),
        ] {
            assert_eq!(Cause::of_log(log), cause, "{log}");
        }
    }
}
