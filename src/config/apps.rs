//! deploy.edn: the apps. Also the old Clojure program's, unchanged, where `:name` is the systemd unit and `:ip` the host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::diagnostic::Fault;
use super::environments::environments;
use super::nginx::nginx;
use super::publish::publish;
use super::rollout::rollout;
use super::section::{Context, Section};
use super::service::{postgres, service};
use super::settings::{Config, time, web_url};
use super::ship::has_hosts;
use super::suggest::closest;
use super::updates::updates;
use super::values::Time;
use super::window::window;
use super::zero_downtime::{self, zero_downtime};
use crate::edn::de::Spanned;
use crate::edn::{Node, Span, Value};
use crate::model::{App, AppName, Branch, BuildStep, Health, Host, HostName, RepoUrl, Runner, Trigger, UnitName};

/// How long an app's entry may be as the store keeps it, in bytes: a row of the store holds 16 KB.
const LONGEST: usize = 14 << 10;

/// All apps of a deploy.edn, by name.
pub(super) fn read(node: &Node, config: &Config, context: &mut Context) -> BTreeMap<AppName, App> {
    let mut apps = BTreeMap::new();
    let mut folders: BTreeMap<(HostName, u16, String), AppName> = BTreeMap::new();
    let mut ports: BTreeMap<(HostName, u16, u16), AppName> = BTreeMap::new();
    let mut units: BTreeMap<(HostName, u16, UnitName), AppName> = BTreeMap::new();
    let Value::Map(entries) = &node.value else {
        let label = format!("expected a map like {{:my-app {{:git-url \"…\"}}}}, found {}", node.value.kind().words());
        context.fault(Fault::new(node.span, "deploy.edn has the wrong kind of value", label));
        return apps;
    };
    for (key, value) in entries {
        let Some(name) = context.value::<AppName>(key, "an app's name") else { continue };
        if name.value.as_str().contains('/') {
            let label = "expected a name without a slash: OWNER/NAME is for users' apps";
            context.fault(Fault::new(name.span, format!("`{}` can't be an app of deploy.edn", name.value), label));
            continue;
        }
        let Some(section) = Section::of(value, format!("the app :{}", name.value), context) else { continue };
        let place = name.span;
        let Some(app) = app(name.value, section, config, context) else { continue };
        // Plain data always has a JSON form.
        let long = serde_json::to_vec(&app).map_or(0, |json| json.len());
        if long > LONGEST {
            let message = format!("the entry of :{} is too long: {long} bytes with its hosts", app.name);
            let label = format!("expected {LONGEST} at most, since every job keeps it");
            let help = "make two apps of it, with half of the hosts each, or move long commands into a script";
            context.fault(Fault::new(place, message, label).help(help));
        }
        for host in &app.hosts {
            let Some(folder) = app.folder_on(host) else { continue };
            if let Some(other) = folders.insert((host.address.clone(), host.port, folder.clone()), app.name.clone())
                && other != app.name
            {
                let message = format!("the apps :{other} and :{} have one folder on {}", app.name, host.name);
                let label = format!("expected another `:working-directory` than \"{folder}\"");
                context.fault(Fault::new(place, message, label));
            }
        }
        let unit = app.service.as_ref().filter(|service| service.exec_start.is_some()).map(|service| &service.name);
        for (host, unit) in app.hosts.iter().flat_map(|host| unit.map(|unit| (host, unit))) {
            if let Some(other) = units.insert((host.address.clone(), host.port, unit.clone()), app.name.clone())
                && other != app.name
            {
                let message = format!("the apps :{other} and :{} have one unit on {}", app.name, host.name);
                let label = format!("expected another `:name` in its `:service` than \"{unit}\"");
                context.fault(Fault::new(place, message, label));
            }
        }
        for (host, port) in app.hosts.iter().flat_map(|host| instance_ports(&app).map(move |port| (host, port))) {
            if let Some(other) = ports.insert((host.address.clone(), host.port, port), app.name.clone())
                && other != app.name
            {
                let message = format!("instances of :{other} and :{} have one port on {}", app.name, host.name);
                let label = format!("expected other `:ports` of its `:zero-downtime` than {port}");
                context.fault(Fault::new(place, message, label));
            }
        }
        if apps.insert(app.name.clone(), app).is_some() {
            context.fault(Fault::new(place, "this app is there twice", "expected every name once"));
        }
    }
    apps
}

/// Where an app's instances listen.
fn instance_ports(app: &App) -> impl Iterator<Item = u16> {
    app.zero_downtime.iter().flat_map(|zero| zero.ports)
}

fn app(name: AppName, mut section: Section<'_>, config: &Config, context: &mut Context) -> Option<App> {
    let git_url = section.need::<RepoUrl>("git-url", "\"git@github.com:acme/shop.git\"", context);
    let branch = section.read::<Branch>("branch", context);
    let update = section.read::<bool>("update?", context);
    let trigger = section.read::<Trigger>("trigger", context);
    let build = section.node("build").map(|node| build(node, context)).unwrap_or_default();
    let timeout = section.node("timeout").and_then(|node| time(node, ":timeout", context));
    let working_directory = working_directory(&mut section, context);
    let flat = hosts(&mut section, config, context);
    let service = service(&mut section, context);
    let restart = section.line("restart", context);
    if let (Some((_, service)), Some(restart)) = (&service, &restart) {
        let fault =
            Fault::new(restart.span, "both a unit and `:restart` would restart the app", "expected one of them");
        context.fault(fault.related(*service, "the unit is named here"));
    }
    let instances = section.node("zero-downtime").is_some();
    let health = section.section("health", context).and_then(|section| health(section, instances, context));
    let health_span = section.node("health").map(|node| node.span);
    let runner = runner(&mut section, context);
    let updates = updates(&mut section, context);
    let url = git_url.as_ref().map(|url| &url.value);
    let updates = publish(updates, &mut section, url, config, context);
    let zero = zero_downtime(&mut section, context);
    let nginx = nginx(&mut section, instances, context);
    let rollout = rollout(&mut section, context);
    let window = window(&mut section, context);
    let groups = section.node("environments");
    if let (Some(groups), Some(flat)) = (groups, section.node("hosts").or_else(|| section.node("ip"))) {
        let message = "both `:hosts` and `:environments` say where the app runs";
        let fault = Fault::new(flat.span, message, "expected one of them");
        context.fault(fault.related(groups.span, "the environments are named here"));
    }
    let (environments, hosts) = match groups {
        Some(groups) => environments(groups, (&rollout, health.as_ref(), window.as_ref()), instances, config, context),
        None => (Vec::new(), flat),
    };
    if let Some((_, span)) = &zero {
        let healths: Vec<Option<&Health>> = match environments.as_slice() {
            [] => vec![health.as_ref()],
            all => all.iter().map(|environment| environment.health.as_ref()).collect(),
        };
        let at = health_span.unwrap_or(*span);
        zero_downtime::check(&section.what, *span, service.as_ref(), (&healths, at), &nginx, context);
    }
    let postgres = postgres(&mut section, context);
    if let Some((_, span)) = &postgres
        && service.as_ref().is_none_or(|(service, _)| service.exec_start.is_none())
    {
        let message = format!("nothing of {} is told the password of its database", section.what);
        let help = "give its `:service` an `:exec-start`: the unit gets it as a credential";
        context.fault(Fault::new(*span, message, "the unit is not ours to make").help(help).warning());
    }
    let head = Span { end: section.span.start + 1, ..section.span };
    if !has_hosts(&section) {
        let idle = [
            ("restart", restart.as_ref().map(|restart| restart.span)),
            ("service", service.as_ref().map(|(_, span)| *span)),
            ("health", health_span),
        ];
        for (key, span) in idle {
            if let Some(span) = span {
                let message = format!("{} has no hosts, so its `:{key}` does nothing", section.what);
                context.fault(Fault::new(span, message, "never used").help("give it `:hosts [:name]`").warning());
            }
        }
    } else {
        if working_directory.is_none() && section.node("working-directory").is_none() {
            section.missing("working-directory", "\"/srv/…\"", context);
        }
        if ["service", "name", "restart"].into_iter().all(|key| section.node(key).is_none()) {
            let message = format!("nothing restarts {} on its hosts", section.what);
            let help = "give it `:service {:name \"…\"}` or `:restart \"command\"`";
            context.fault(Fault::new(head, message, "no `:service`, no `:restart`").help(help).warning());
        }
    }
    section.finish(context);
    Some(App {
        name,
        git_url: git_url?.value,
        branch: branch.map(|branch| branch.value),
        update: update.is_some_and(|update| update.value),
        trigger: trigger.map(|trigger| trigger.value).unwrap_or_default(),
        build,
        build_timeout: timeout.unwrap_or(config.builds.timeout),
        build_silence: config.builds.silence,
        working_directory,
        hosts,
        environments,
        service: service.map(|(service, _)| service),
        nginx,
        zero_downtime: zero.map(|(zero, _)| zero),
        postgres: postgres.map(|(postgres, _)| postgres),
        restart: restart.map(|restart| restart.value),
        health,
        runner,
        updates,
        rollout,
        window,
    })
}

fn working_directory(section: &mut Section<'_>, context: &mut Context) -> Option<String> {
    let path = section.line("working-directory", context)?;
    let span = path.span;
    let label = match path.value.trim_end_matches('/') {
        "" => "expected a folder of its own",
        path if !path.starts_with('/') => "expected an absolute path like \"/srv/shop\"",
        path if path.split('/').any(|part| part == "..") => "expected a path without `..`",
        path => {
            let path = path.to_owned();
            placeholders(&path, span, context);
            return Some(path);
        }
    };
    context.fault(Fault::new(path.span, "`:working-directory` can't be used", label));
    None
}

/// In a folder and a health url, `{host}` and `{address}` stand for the host's own; any other is a slip.
fn placeholders(text: &str, span: Span, context: &mut Context) {
    for piece in text.split('{').skip(1) {
        let Some((name, _)) = piece.split_once('}') else { continue };
        if !["host", "address"].contains(&name) {
            let meant = closest(name, ["host", "address"]).map(|name| format!("did you mean `{{{name}}}`?"));
            let message = format!("nothing is filled in for `{{{}}}`", name.escape_debug());
            context.fault(Fault::new(span, message, "expected {host} or {address}").help_if(meant));
        }
    }
}

fn build(node: &Node, context: &mut Context) -> Vec<BuildStep> {
    let nodes = match &node.value {
        Value::Vector(nodes) | Value::List(nodes) => nodes,
        Value::Str(run) if !run.trim().is_empty() => return vec![BuildStep { name: None, run: run.clone() }],
        Value::Str(_) => {
            context.fault(Fault::new(node.span, "`:build` is empty", "expected a command, or no `:build` at all"));
            return Vec::new();
        }
        value => {
            let found = value.kind().words();
            let label = format!("expected a command, or a vector like [{{:name \"test\" :run \"…\"}}], found {found}");
            context.fault(Fault::new(node.span, "`:build` has the wrong kind of value", label));
            return Vec::new();
        }
    };
    let mut names = BTreeSet::new();
    let mut steps = Vec::new();
    for node in nodes {
        let Some(mut section) = Section::of(node, "a step of :build", context) else { continue };
        let name = section.need::<String>("name", "\"test\"", context);
        let run = section.need::<String>("run", "\"command\"", context);
        section.finish(context);
        let (Some(name), Some(run)) = (name, run) else { continue };
        // As a unit's, without what only those may hold.
        let bad = match UnitName::new(&name.value) {
            Err(error) => Some(error.why),
            Ok(_) if name.value.contains([':', '@', '\\']) => Some("it may hold letters, digits and `.` `_` `-`"),
            Ok(_) => None,
        };
        if let Some(why) = bad {
            let message = format!("`{}` is not a valid step name", name.value.escape_debug());
            context.fault(Fault::new(name.span, message, why));
        }
        if run.value.trim().is_empty() {
            context.fault(Fault::new(run.span, format!("the step {} is empty", name.value), "expected a command"));
        }
        if !names.insert(name.value.clone()) {
            let message = format!("two steps are called {}", name.value);
            context.fault(Fault::new(name.span, message, "expected every name once, since it names the log"));
        }
        steps.push(BuildStep { name: Some(name.value), run: run.value });
    }
    steps
}

/// `:hosts` by name from config.edn, or the old `:ip`.
pub(super) fn hosts(section: &mut Section<'_>, config: &Config, context: &mut Context) -> Vec<Host> {
    let names = section.read::<Vec<Spanned<String>>>("hosts", context);
    let ip = section.read::<HostName>("ip", context);
    if let (Some(names), Some(ip)) = (&names, &ip) {
        let fault = Fault::new(ip.span, "both `:hosts` and `:ip` say where the app runs", "expected one of them");
        context.fault(fault.related(names.span, "the hosts are named here"));
    }
    if let Some(ip) = ip {
        let address = ip.value;
        return vec![Host { name: address.clone(), address, port: 22, user: config.ssh.user.clone() }];
    }
    let mut hosts: Vec<Host> = Vec::new();
    for name in names.map(|names| names.value).unwrap_or_default() {
        match config.hosts.iter().find(|(known, _)| known.as_str() == name.value) {
            Some((known, _)) if hosts.iter().any(|host| host.name == *known) => {
                let message = format!("the host :{} is there twice", name.value);
                context.fault(Fault::new(name.span, message, "expected every host once"));
            }
            Some((_, host)) => hosts.push(host.clone()),
            None => {
                let known: Vec<&str> = config.hosts.keys().map(HostName::as_str).collect();
                let meant = closest(&name.value, known.iter().copied());
                let label =
                    meant.map_or("expected a host of config.edn".into(), |meant| format!("did you mean `:{meant}`?"));
                let help = match known.as_slice() {
                    [] => "config.edn names no hosts: add `:hosts {:web-1 {:address \"…\"}}` there".to_owned(),
                    known => format!("config.edn's :hosts are: :{}", known.join(" :")),
                };
                context.fault(Fault::new(name.span, format!("unknown host `:{}`", name.value), label).help(help));
            }
        }
    }
    hosts
}

pub(super) fn health(mut section: Section<'_>, instances: bool, context: &mut Context) -> Option<Health> {
    let url = section.need::<String>("url", "\"http://127.0.0.1:7000/health\"", context);
    let url = url.and_then(|url| {
        let span = url.span;
        web_url(url, ":url", context).inspect(|url| {
            placeholders(&if instances { url.replace("{port}", "") } else { url.clone() }, span, context)
        })
    });
    let stable = section.read::<Time>("stable", context).map_or(Duration::from_secs(10), |time| time.value.0);
    let timeout = section.node("timeout").map(|node| time(node, ":timeout", context));
    section.finish(context);
    let timeout = timeout.flatten().unwrap_or(Duration::from_secs(60));
    Some(Health { url: url?, stable, timeout })
}

fn runner(section: &mut Section<'_>, context: &mut Context) -> Runner {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Named {
        Local,
        Circleci,
        Lambdacd,
    }
    match section.read::<Named>("runner", context) {
        None | Some(Spanned { value: Named::Local, .. }) => {}
        Some(Spanned { span, .. }) => {
            context.fault(Fault::new(span, "this runner is not available yet", "expected `:local`"));
        }
    }
    Runner::Local
}
