//! The calls, apart from their execution: a script of this program and its arguments.

use super::ship::{Release, Source, release_name};
use crate::model::rollout::MIGRATION;
use crate::model::{Branch, FileSum, JobId, RepoUrl, Sha, UnitName};
use crate::ssh::Call;

macro_rules! script {
    ($($name:literal),+) => {
        concat!(include_str!("scripts/begin.sh"), $(include_str!(concat!("scripts/", $name, ".sh"))),+)
    };
}

fn call(what: &'static str, script: &'static str, args: &[&str]) -> Call {
    Call { what, script, args: args.iter().map(|arg| (*arg).to_owned()).collect() }
}

fn or_nothing(unit: Option<&UnitName>) -> &str {
    unit.map_or("", UnitName::as_str)
}

/// All that is to know of a working directory and its unit. Changes nothing.
pub fn observe(working_directory: &str, unit: Option<&UnitName>) -> Call {
    call("observe", script!("observe"), &[working_directory, or_nothing(unit)])
}

/// Brings the working directory to `sha`, which it has from `source`. `ours` are shas that this
/// daemon put there before.
pub fn bring(
    working_directory: &str,
    url: &RepoUrl,
    branch: &Branch,
    sha: &Sha,
    source: Source<'_>,
    ours: &[Sha],
) -> Call {
    let sha = sha.to_string();
    let args = [working_directory, url.as_str(), branch.as_str(), &sha, &source.word()];
    let mut call = call("bring", script!("fetch", "bring"), &args);
    call.args.extend(ours.iter().map(Sha::to_string));
    call
}

/// Has a clone fetch what is to come.
pub fn fetch_ahead(working_directory: &str, branch: &Branch, sha: &Sha) -> Call {
    call("fetch ahead", script!("ahead"), &[working_directory, branch.as_str(), &sha.to_string()])
}

/// Puts the files of `sha` beside what is in force, without touching that.
pub fn stage(working_directory: &str, url: &RepoUrl, branch: &Branch, sha: &Sha, source: Source<'_>) -> Call {
    let sha = sha.to_string();
    let args = [working_directory, url.as_str(), branch.as_str(), &sha, &source.word()];
    call("fetch", script!("fetch", "stage"), &args)
}

/// A command of the app's own, in a folder.
pub fn command(what: &'static str, folder: &str, command: &str) -> Call {
    call(what, script!("command"), &[folder, command])
}

/// Begins an app's `:migrate` in `folder`, if that is given and the job has not begun it yet, and says how it goes.
pub fn migrate(working_directory: &str, folder: Option<&str>, command: &str, job: JobId, from: u64) -> Call {
    let (job, from, within) = (job.to_string(), from.to_string(), MIGRATION.as_secs().to_string());
    let args = [working_directory, folder.unwrap_or(""), command, &job, &from, &within];
    call("migrate", script!("migrate"), &args)
}

/// Takes in a file that comes by standard input: `name` is absolute, or below the user's own cache.
pub fn receive(name: &str, sha256: &str) -> Call {
    call("send", script!("receive"), &[name, sha256])
}

/// Puts a release of an artifact in force, with the file that was sent if it is a new one; or only takes it in. Those of
/// `ours` stay whatever their age.
pub fn place(
    working_directory: &str,
    release: &Release<'_>,
    sent: Option<&str>,
    stage: bool,
    ours: &[(Sha, Option<FileSum>)],
) -> Call {
    let (sha, keep) = (release.sha.to_string(), release.keep.to_string());
    let name = release_name(release.sha, release.sum);
    let (mode, sum) = (if stage { "stage" } else { "" }, release.sum.map_or("", FileSum::as_str));
    let args = [working_directory, &sha, &name, release.name, sent.unwrap_or(""), &keep, sum, mode];
    let mut call = call("bring", script!("place"), &args);
    // By the name that it may have from before the sum was in it, too.
    call.args.extend(ours.iter().flat_map(|(sha, sum)| [release_name(sha, sum.as_ref()), sha.to_string()]));
    call
}

/// `systemctl restart`, unless the unit's invocation is no longer `before`.
pub fn restart_unit(unit: &UnitName, before: Option<&str>) -> Call {
    call("restart", script!("restart_unit"), &[unit.as_str(), before.unwrap_or("")])
}

/// How the two instances of a unit are. Changes nothing.
pub fn instances(working_directory: &str, unit: &UnitName, ports: [u16; 2]) -> Call {
    let [first, second] = ports.map(|port| port.to_string());
    call("look at the instances", script!("instances"), &[working_directory, unit.as_str(), &first, &second])
}

/// Starts an instance of a unit anew.
pub fn start_instance(working_directory: &str, unit: &UnitName, port: u16, sha: &Sha) -> Call {
    let (port, sha) = (port.to_string(), sha.to_string());
    call("start", script!("start_instance"), &[working_directory, unit.as_str(), &port, &sha])
}

/// The app's own command, in its working directory.
pub fn restart_command(working_directory: &str, command: &str) -> Call {
    call("restart", script!("restart_command"), &[working_directory, command])
}

/// One look at what [`super::Remote::verify`] wants.
pub fn probe(working_directory: &str, unit: Option<&UnitName>, health: Option<&str>) -> Call {
    call("verify", script!("probe"), &[working_directory, or_nothing(unit), health.unwrap_or("")])
}

/// Writes `live` into the marker, if HEAD is `sha`.
pub fn live(working_directory: &str, sha: &Sha) -> Call {
    call("mark live", script!("live"), &[working_directory, &sha.to_string()])
}

/// What a conversation opens with: its shell holds the working directory's lock.
pub fn lock(working_directory: &str, id: &str, note: &str) -> Call {
    call("lock", script!("lock"), &[working_directory, id, note])
}

/// How a unit is. Changes nothing.
pub fn unit(unit: &UnitName) -> Call {
    call("look at the unit", script!("unit"), &[unit.as_str()])
}

/// The unit's last lines in the journal.
pub fn journal(unit: &UnitName, lines: u32) -> Call {
    call("journal", script!("journal"), &[unit.as_str(), &lines.to_string()])
}

/// Who and when the host is.
pub fn facts() -> Call {
    call("look at the host", script!("host_facts"), &[])
}

/// What a rollout would meet. Changes nothing.
pub fn readiness(working_directory: &str, unit: Option<&UnitName>, health: Option<&str>) -> Call {
    call("look at the app", script!("readiness"), &[working_directory, or_nothing(unit), health.unwrap_or("")])
}

/// Whether the host can fetch. Changes nothing.
pub fn reach(working_directory: &str, url: &RepoUrl, branch: Option<&Branch>) -> Call {
    let branch = branch.map_or("", Branch::as_str);
    call("reach the repository", script!("reach"), &[working_directory, url.as_str(), branch])
}

/// Runs the program airplanes-host, whose text is given for where we are root; what it reads is given with the call.
pub fn program(what: &'static str, program: &str, verb: &str, argument: &str) -> Call {
    call(what, script!("host_program"), &[program, verb, argument])
}

/// Makes a server ready for `user`, who is let in by `key`.
pub fn setup(user: &str, key: Option<&str>, words: &[&str], dry: bool, program: &str) -> Call {
    let (words, dry) = (words.join(" "), if dry { "yes" } else { "no" });
    let as_root = include_str!("scripts/setup_as_root.sh");
    call("set up the host", script!("setup"), &[user, key.unwrap_or(""), &words, dry, program, as_root])
}

/// What a host is and has. Changes nothing.
pub fn host_status(program: &str) -> Call {
    call("look at the host", script!("host_status"), &[program])
}

/// Starts a unit, stops it, and so on.
pub fn unit_verb(verb: &'static str, unit: &UnitName) -> Call {
    call(verb, script!("unit_verb"), &[verb, unit.as_str()])
}

/// How a unit is, and as systemd shows it. Changes nothing.
pub fn unit_status(unit: &UnitName, lines: u32) -> Call {
    call("look at the unit", script!("unit_status"), &[unit.as_str(), &lines.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_an_argument_and_never_in_the_script() {
        let sha: Sha = "2455d6ab00000000000000000000000000000001".parse().unwrap();
        let url = RepoUrl::new("git@github.com:acme/$(id).git").unwrap();
        let call = bring("/srv/a b;id", &url, &Branch::new("x;y`id`").unwrap(), &sha, Source::Origin, &[sha]);
        let sha = sha.to_string();
        assert_eq!(call.args, ["/srv/a b;id", "git@github.com:acme/$(id).git", "x;y`id`", &sha, "", &sha]);
        assert_eq!(call.script, script!("fetch", "bring"));
        assert_eq!(restart_command("/srv/a", "./restart '$1'").args, ["/srv/a", "./restart '$1'"]);
        let unit = UnitName::new("ep").unwrap();
        assert_eq!(restart_unit(&unit, None).args, ["ep", ""]);
        assert_eq!(observe("/srv/a", Some(&unit)).args, ["/srv/a", "ep"]);
        assert_eq!(probe("/srv/a", None, Some("http://x/")).args, ["/srv/a", "", "http://x/"]);
        assert_eq!(journal(&unit, 30).args, ["ep", "30"]);
    }
}
