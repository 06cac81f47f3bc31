//! The two instances of an app that is switched without a request lost: where nginx sends its requests, and what is next
//! until that is an instance of the wanted commit.
//!
//! Idempotent by construction: nothing of a switch is kept but on the host. Each move is chosen by [`Instances::next`] from
//! what the host says then, so that a switch that was killed between any two moves, here or there, goes on where it is.
//! An instance that nginx sends no requests to can be started and stopped as often as need be.
//!
//! Must never: stop the instance that nginx sends requests to, or switch to one that was not seen to be well (the caller
//! looks between [`Next::Switch`] and [`Remote::switch`]).

use super::calls;
use super::error::Error;
use super::install::call;
use super::ops::{Remote, Subject};
use super::readiness::unit_of;
use super::state::{Answer, HostState, UnitState};
use crate::model::{App, Sha, UnitName, ZeroDowntime};

/// One of them, as its host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Where it listens.
    pub port: u16,
    /// As systemd shows it.
    pub unit: UnitState,
    /// The commit that it was started for; none if it has been started again since, or nobody knows.
    pub runs: Option<Sha>,
    /// Whether it starts with the system.
    pub enabled: bool,
    /// How many connections it has, whoever's they are.
    pub connections: u32,
}

/// The unit that an app had before it had instances, which still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plain {
    /// Where nginx sends its requests, if that is known.
    pub port: Option<u16>,
}

/// What the host says of an app's instances, all in one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// To whom requests go.
    pub serving: Serving,
    /// Those of the two ports, and what is left of others that it had before.
    pub all: Vec<Instance>,
    /// The two ports, in order.
    pub ports: [u16; 2],
    /// Whether the app also runs as the unit that it had before it had instances.
    pub plain: Option<Plain>,
    /// How many of nginx's workers still end what they began before it last read its files.
    pub old_workers: u32,
}

/// To whom requests go, as the host has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// nginx has not been told of any: nothing is installed there, or the site of the unit from before.
    Nobody,
    /// To this port.
    Port(u16),
    /// nginx's file names this port, and whether nginx has read it is not known: a switch was cut off.
    CutOff(u16),
}

/// Who answers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// The instance at this port.
    Instance(u16),
    /// The unit from before there were any.
    Plain,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing can be: nginx has to be given its file first.
    Install,
    /// A switch was cut off: it is ended, in favour of this one, which ran before or has been seen to be well.
    Settle(u16),
    /// This one is started anew; no requests go there.
    Start(u16),
    /// Requests are sent to this one, once it is well.
    Switch(u16),
    /// This one is stopped, once its last request is answered.
    Retire(u16),
    /// Nothing: this one serves, and is alone.
    Done(u16),
    /// Nothing: the unit from before there were instances serves, and is alone.
    Stay,
}

/// What a switch is to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// An instance at one of the two ports that was started for this commit, whenever that was.
    Runs(Sha),
    /// What ran this commit before: an instance at whatever port, or the unit from before there were any.
    Back(Sha),
    /// One that has not been started yet: what it runs by has changed, and not only its commit.
    Anew,
    /// This one, which has been started for it just now.
    Instance(u16),
}

impl Instances {
    /// The instance at a port.
    pub fn at(&self, port: u16) -> Option<&Instance> {
        self.all.iter().find(|instance| instance.port == port)
    }

    /// Of the two, the one that no requests go to.
    pub fn spare(&self) -> u16 {
        let [first, second] = self.ports;
        match self.serving {
            Serving::Port(port) | Serving::CutOff(port) if port == first => second,
            _ => first,
        }
    }

    /// The one that requests go to, if it is up and nothing is left of a switch.
    pub fn settled(&self) -> Option<u16> {
        match self.serving {
            Serving::Port(port) if self.is_ours(port) && self.is_up(port) && self.besides(port).is_none() => Some(port),
            _ => None,
        }
    }

    /// Who answers requests now; none where nobody does.
    pub fn who_serves(&self) -> Option<Serves> {
        match self.serving {
            Serving::Port(port) | Serving::CutOff(port) if self.is_up(port) => Some(Serves::Instance(port)),
            // nginx's file first names the port that the plain unit is at.
            _ => self.plain.map(|_| Serves::Plain),
        }
    }

    /// What is next on the way to `goal`.
    pub fn next(&self, goal: Goal) -> Next {
        if matches!(goal, Goal::Back(_)) && self.who_serves() == Some(Serves::Plain) {
            return self.all.iter().find(|one| one.is_left()).map_or(Next::Stay, |one| Next::Retire(one.port));
        }
        let serving = match self.serving {
            Serving::Nobody => return Next::Install,
            // One of the two has the requests. Which, is made sure of by telling nginx once more.
            Serving::CutOff(named) => match [named, self.spare()].into_iter().find(|port| self.is_up(*port)) {
                Some(port) => return Next::Settle(port),
                None => named,
            },
            Serving::Port(port) => port,
        };
        let spare = self.spare();
        let runs = |port, sha| self.is_up(port) && self.at(port).is_some_and(|one| one.runs == Some(sha));
        let is_there = |port: u16| match goal {
            Goal::Runs(sha) => self.is_ours(port) && runs(port, sha),
            Goal::Back(sha) => runs(port, sha),
            Goal::Anew => false,
            Goal::Instance(wanted) => port == wanted,
        };
        if is_there(serving) && !matches!(self.serving, Serving::CutOff(_)) {
            return self.besides(serving).map_or(Next::Done(serving), Next::Retire);
        }
        if is_there(spare) { Next::Switch(spare) } else { Next::Start(spare) }
    }

    /// Whether requests are still to go to an instance of that commit.
    pub fn is_unswitched(&self, to: Sha) -> bool {
        matches!(self.next(Goal::Runs(to)), Next::Install | Next::Start(_) | Next::Switch(_))
    }

    /// Whether the instance at a port runs.
    pub fn is_up(&self, port: u16) -> bool {
        self.at(port).is_some_and(|one| one.unit.is_active())
    }

    fn is_ours(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// What is there besides the one that serves: another instance, or the unit from before.
    fn besides(&self, serving: u16) -> Option<u16> {
        let other = self.all.iter().find(|one| one.port != serving && one.is_left()).map(|one| one.port);
        other.or_else(|| self.plain.map(|_| self.spare()))
    }
}

impl Instance {
    /// Whether it runs, is about to, or will when the host starts.
    fn is_left(&self) -> bool {
        self.enabled || !["inactive", "failed", ""].contains(&self.unit.active_state.as_str())
    }
}

/// An app on a host, with the unit that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The working directory, and how the unit is.
    pub state: HostState,
    /// Which it is; none where the app has a command of its own.
    pub unit: Option<UnitName>,
    /// Where that listens, if the app has two instances.
    pub port: Option<u16>,
}

/// The unit of an instance.
pub fn instance_of(unit: &UnitName, port: u16) -> UnitName {
    // A port adds nothing that a name may not hold, and the configuration takes none that is as long as that.
    UnitName::new(format!("{unit}@{port}")).unwrap_or_else(|_| unit.clone())
}

impl Remote<'_> {
    /// How the two instances of `unit` are, and which of them has the requests. Changes nothing.
    pub async fn instances(
        &mut self,
        working_directory: &str,
        unit: &UnitName,
        zero: &ZeroDowntime,
    ) -> Result<Instances, Error> {
        let call = calls::instances(working_directory, unit, zero.ports);
        let answer = self.ask(&call, Subject::path(working_directory)).await?;
        Ok(read(&answer, zero.ports))
    }

    /// Starts an instance anew, and notes on the host that it is for `sha`. It must be one without requests.
    pub async fn start_instance(
        &mut self,
        working_directory: &str,
        unit: &UnitName,
        port: u16,
        sha: &Sha,
    ) -> Result<(), Error> {
        let instance = instance_of(unit, port);
        let subject = Subject { path: working_directory, unit: instance.as_str(), sha: Some(sha) };
        self.ask(&calls::start_instance(working_directory, unit, port, sha), subject).await.map(drop)
    }

    /// Has nginx send requests to an instance, and waits until it does: its file is replaced at once, tried, and put back
    /// if nginx won't have it. Refuses one that is not up.
    pub async fn switch(&mut self, unit: &UnitName, port: u16) -> Result<(), Error> {
        self.on_instance("switch", unit, port).await
    }

    /// Stops an instance for good, and what the app ran as before it had any. Refuses the one that nginx sends requests to.
    pub async fn retire(&mut self, unit: &UnitName, port: u16) -> Result<(), Error> {
        self.on_instance("retire", unit, port).await
    }

    /// As [`Remote::observe`], with the unit that runs the app: where it has two instances, the one that has the requests.
    pub async fn observe_app(&mut self, app: &App, folder: &str) -> Result<Observed, Error> {
        let (Some(zero), Some(service)) = (&app.zero_downtime, &app.service) else {
            let unit = unit_of(app);
            return Ok(Observed { state: self.observe(folder, unit.as_ref()).await?, unit, port: None });
        };
        let seen = self.observe(folder, None).await?;
        let instances = self.instances(folder, &service.name, zero).await?;
        if let (Some(Serves::Plain), Some(plain)) = (instances.who_serves(), instances.plain) {
            let unit = self.unit(&service.name).await?;
            let state = HostState { unit, ..seen };
            return Ok(Observed { state, unit: Some(service.name.clone()), port: plain.port });
        }
        let serving = match instances.serving {
            Serving::Nobody => None,
            Serving::Port(port) | Serving::CutOff(port) => instances.at(port),
        };
        let unit = serving.map(|one| one.unit.clone());
        let name = serving.map_or_else(|| service.name.clone(), |one| instance_of(&service.name, one.port));
        let port = serving.map(|one| one.port);
        Ok(Observed { state: HostState { unit, ..seen }, unit: Some(name), port })
    }

    async fn on_instance(&mut self, verb: &'static str, unit: &UnitName, port: u16) -> Result<(), Error> {
        let instance = instance_of(unit, port);
        let call = call(verb, verb, instance.as_str());
        let subject = Subject { path: "", unit: instance.as_str(), sha: None };
        self.ask(&call, subject).await.map(drop)
    }
}

fn read(answer: &Answer, ports: [u16; 2]) -> Instances {
    let named = answer.get("serving").and_then(|port| port.parse().ok());
    let serving = match (named, answer.get("cut-off").is_some()) {
        (None, _) => Serving::Nobody,
        (Some(port), false) => Serving::Port(port),
        (Some(port), true) => Serving::CutOff(port),
    };
    let mut of_ports = ports.to_vec();
    for port in named.into_iter().chain(answer.all("port").filter_map(|port| port.parse().ok())) {
        if !of_ports.contains(&port) {
            of_ports.push(port);
        }
    }
    let all = of_ports.into_iter().map(|port| {
        let unit = answer.unit_of(&format!("unit-{port}")).unwrap_or_default();
        let started = answer.get(&format!("started-{port}")).and_then(|note| note.split_once(' '));
        let runs = started.filter(|(invocation, _)| unit.invocation_id.as_deref() == Some(*invocation));
        Instance {
            port,
            runs: runs.and_then(|(_, sha)| sha.parse().ok()),
            enabled: answer.get(&format!("enabled-{port}")).is_some(),
            connections: answer.get(&format!("connections-{port}")).and_then(|n| n.parse().ok()).unwrap_or(0),
            unit,
        }
    });
    Instances {
        serving,
        all: all.collect(),
        ports,
        plain: answer.get("plain").map(|port| Plain { port: port.parse().ok() }),
        old_workers: answer.get("old-workers").and_then(|n| n.parse().ok()).unwrap_or(0),
    }
}

/// Why a switch was not done, in words for a person; none if that is no word of its.
pub(super) fn words(kind: &str, host: &str, what: &str) -> Option<String> {
    Some(match kind {
        "no-upstream" => format!("{what} is not there on {host}, so nginx can't be switched; deploy the app again"),
        "not-included" => format!(
            "nginx on {host} would not follow a switch, since no site of it has `include {what};` in its upstream: put \
             it there, or let `airplanes host install --replace` make the site"
        ),
        "not-active" => format!("{what} on {host} is not up any more, so nginx was not switched to it"),
        "serves" => format!("{what} on {host} was not stopped, since nginx sends requests to it"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(digit: char) -> Sha {
        digit.to_string().repeat(40).parse().unwrap()
    }

    /// As the script answers: which port is named, whether a switch was cut off, and of 7000 and 7001 the commit that
    /// each was started for, if it is up.
    fn host(serving: u16, cut_off: bool, up: [Option<char>; 2]) -> Instances {
        let mut text = format!("begin\nserving {serving}\nold-workers 0\n");
        text.push_str(if cut_off { "cut-off yes\n" } else { "" });
        for (port, up) in [7000, 7001].into_iter().zip(up) {
            let state = if up.is_some() { "active" } else { "inactive" };
            text.push_str(&format!("unit-{port} ActiveState={state}\nunit-{port} InvocationID=i{port}\n"));
            text.push_str(&up.map(|c| format!("started-{port} i{port} {}\n", sha(c))).unwrap_or_default());
        }
        read(&Answer::parse(&format!("{text}end\n")).unwrap(), [7000, 7001])
    }

    #[test]
    fn what_is_next_is_told_by_the_host_alone_so_a_switch_goes_on_wherever_it_was_cut() {
        use Next::{Done, Retire, Settle, Start, Switch};
        let goal = Goal::Runs(sha('b'));
        let table = [
            // Of the first deploy: nothing runs.
            (7001, false, [None, None], Start(7000)),
            // From 7000 with `a` to 7001 with `b`, cut between any two moves.
            (7000, false, [Some('a'), None], Start(7001)),
            (7000, false, [Some('a'), Some('b')], Switch(7001)),
            (7001, true, [Some('a'), Some('b')], Settle(7001)),
            (7001, false, [Some('a'), Some('b')], Retire(7000)),
            (7001, false, [None, Some('b')], Done(7001)),
            // A spare one of an older commit; and after the power was gone the host no longer knows what started.
            (7000, false, [Some('a'), Some('c')], Start(7001)),
            (7001, false, [Some('b'), Some('a')], Switch(7000)),
            // Cut off in a switch, and then the one that it was for died; then both.
            (7001, true, [Some('a'), None], Settle(7000)),
            (7001, true, [None, None], Start(7000)),
            // The one that serves died.
            (7000, false, [None, None], Start(7001)),
        ];
        for (serving, cut_off, up, next) in table {
            assert_eq!(host(serving, cut_off, up).next(goal), next, "{serving} {cut_off} {up:?}");
        }
        // What it runs by has changed: the commit says nothing, and what was started for that is kept.
        let both = host(7000, false, [Some('b'), Some('b')]);
        assert_eq!(both.next(Goal::Anew), Start(7001));
        assert_eq!(both.next(Goal::Instance(7001)), Switch(7001));
        assert_eq!(host(7001, false, [Some('b'), Some('b')]).next(Goal::Instance(7001)), Retire(7000));
        let nobody = Instances { serving: Serving::Nobody, ..both };
        assert_eq!(nobody.next(goal), Next::Install);
    }

    #[test]
    fn an_instance_at_a_port_that_the_app_had_before_is_left_for_one_at_its_own_and_goes_back_to_if_need_be() {
        let at = |serving: u16, old: &str, more: &str| {
            let text = format!(
                "begin\nserving {serving}\nport 7000\nunit-7000 ActiveState={old}\nunit-7000 InvocationID=i\n\
                 started-7000 i {}\nunit-8000 ActiveState=active\nunit-8000 InvocationID=j\nstarted-8000 j {}\n{more}end\n",
                sha('b'),
                sha('b')
            );
            read(&Answer::parse(&text).unwrap(), [8000, 8001])
        };
        let moved = at(7000, "active", "");
        assert_eq!((moved.next(Goal::Runs(sha('b'))), moved.settled()), (Next::Switch(8000), None));
        assert_eq!(moved.next(Goal::Back(sha('b'))), Next::Retire(8000));
        let switched = at(8000, "active", "");
        assert_eq!((switched.next(Goal::Runs(sha('b'))), switched.settled()), (Next::Retire(7000), None));
        // It would be back when the host starts.
        let stopped = at(8000, "inactive", "enabled-7000 yes\nenabled-8000 yes\n");
        assert_eq!((stopped.next(Goal::Runs(sha('b'))), stopped.settled()), (Next::Retire(7000), None));
        assert_eq!(at(8000, "inactive", "enabled-8000 yes\n").settled(), Some(8000));
    }

    #[test]
    fn a_plain_unit_that_still_has_the_requests_is_what_a_first_switch_that_failed_goes_back_to() {
        let at = |text: &str| read(&Answer::parse(&format!("begin\n{text}end\n")).unwrap(), [7000, 7001]);
        let back = Goal::Back(sha('a'));
        // nginx's file names the plain unit's port first; then its own site is back, and that file of no account.
        for serving in ["serving 7000\n", ""] {
            let failed = at(&format!("{serving}plain 7000\nunit-7001 ActiveState=activating\n"));
            assert_eq!((failed.who_serves(), failed.next(back)), (Some(Serves::Plain), Next::Retire(7001)));
            let retired = at(&format!("{serving}plain 7000\nunit-7001 ActiveState=inactive\n"));
            assert_eq!((retired.plain.unwrap().port, retired.next(back)), (Some(7000), Next::Stay));
            assert_eq!(retired.settled(), None);
        }
        // Switched: it goes forwards, and what it had is retired with the old one.
        let switched = at("serving 7001\nplain 7000\nunit-7001 ActiveState=active\n");
        assert_eq!(switched.who_serves(), Some(Serves::Instance(7001)));
        assert_eq!(switched.next(Goal::Instance(7001)), Next::Retire(7000));
        assert_eq!(at("").who_serves(), None);
    }

    #[test]
    fn an_instance_that_was_started_again_runs_nobody_knows_what_and_one_from_before_is_retired_too() {
        let text = format!(
            "begin\nserving 8080\nplain yes\nunit-7000 ActiveState=active\nunit-7000 InvocationID=new\nstarted-7000 old {}\n\
             unit-7001 ActiveState=inactive\nconnections-7000 3\nold-workers 2\nend\n",
            sha('b')
        );
        let seen = read(&Answer::parse(&text).unwrap(), [7000, 7001]);
        assert_eq!((seen.all[0].runs, seen.all[0].connections, seen.old_workers), (None, 3, 2));
        assert_eq!(seen.next(Goal::Runs(sha('b'))), Next::Start(7000));
        assert_eq!(seen.settled(), None);
        let later = Instances { serving: Serving::Port(7000), ..seen.clone() };
        assert_eq!(later.next(Goal::Instance(7000)), Next::Retire(7001), "for the plain unit's sake");
        let later = Instances { plain: None, ..later };
        assert_eq!((later.next(Goal::Instance(7000)), later.settled()), (Next::Done(7000), Some(7000)));
    }
}
