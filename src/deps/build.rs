//! A guess at how a project is built, from its deps.edn, bb.edn and build.clj. A person is told that it is one.

use crate::edn::{self, Form};

/// A command, and what it was guessed from.
pub type Guess = (String, String);

/// The functions of a build.clj that make something to run, the likeliest first; a library's make a jar.
const APP_FUNCTIONS: [&str; 6] = ["uber", "uberjar", "ci", "all", "jar", "build"];
const LIBRARY_FUNCTIONS: [&str; 3] = ["ci", "test", "jar"];

/// The likeliest command, if there is a likely one. The texts are as far as they are there; one that can't be read
/// gives no hint. Nothing of a file goes into a command but names of letters, digits and dashes.
pub fn guess_build(deps: Option<&str>, bb: Option<&str>, build_clj: Option<&str>, library: bool) -> Option<Guess> {
    let deps = deps.and_then(|text| edn::read(text).ok());
    let bb = bb.and_then(|text| edn::read(text).ok());
    let aliases = deps.as_ref().and_then(|d| d.root().get("aliases"));
    let functions: &[&str] = if library { &LIBRARY_FUNCTIONS } else { &APP_FUNCTIONS };
    let tool = |build_clj: &str| {
        let alias = tool_alias(aliases?)?;
        let function = functions.iter().find(|name| defines(build_clj, name))?;
        Some((format!("clojure -T:{alias} {function}"), format!("the function {function} of build.clj")))
    };
    let task = |names: &[&str]| {
        let tasks = bb.as_ref()?.root().get("tasks")?;
        let name = names.iter().find(|name| symbol_key(tasks, name))?;
        Some((format!("bb {name}"), format!("the task {name} of bb.edn")))
    };
    let alias = |names: &[&str]| {
        let aliases = aliases?;
        let (name, form) = names.iter().find_map(|name| Some((name, aliases.get(name)?)))?;
        let flag = match (form.get("exec-fn"), form.get("main-opts")) {
            (Some(_), _) => "-X",
            (None, Some(_)) => "-M",
            _ => return None,
        };
        Some((format!("clojure {flag}:{name}"), format!("the alias :{name} of deps.edn")))
    };
    let build = || {
        let made = if library { None } else { alias(&["uberjar", "uber", "build", "jar"]) };
        made.or_else(|| task(if library { &["ci", "test"] } else { &["uber", "uberjar", "build", "ci"] }))
    };
    build_clj.and_then(tool).or_else(build).or_else(|| alias(&["test"])).or_else(|| task(&["test"]))
}

/// The alias that runs build.clj: the one whose `:ns-default` is `build`, `:build` before others.
fn tool_alias(aliases: Form<'_>) -> Option<String> {
    let is_build = |form: Form<'_>| form.get("ns-default").and_then(|ns| ns.symbol()).is_some_and(|ns| ns.is("build"));
    let mut names: Vec<String> = aliases
        .entries()
        .filter(|(_, form)| is_build(*form))
        .filter_map(|(key, _)| key.keyword().map(|name| name.to_string()))
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)))
        .collect();
    names.sort_by_key(|name| name != "build");
    names.into_iter().next()
}

/// Whether a Clojure text has `(defn NAME`.
fn defines(text: &str, name: &str) -> bool {
    text.split("(defn").skip(1).any(|rest| {
        let rest = rest.strip_prefix(char::is_whitespace).map(str::trim_start);
        let after = rest.and_then(|rest| rest.strip_prefix(name));
        after.is_some_and(|after| after.starts_with(|c: char| c.is_whitespace() || c == '[' || c == '('))
    })
}

fn symbol_key(map: Form<'_>, name: &str) -> bool {
    map.entries().any(|(key, _)| key.symbol().is_some_and(|symbol| symbol.is(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(deps: &str, bb: Option<&str>, build: Option<&str>, library: bool) -> Option<String> {
        guess_build(Some(deps), bb, build, library).map(|(command, _)| command)
    }

    #[test]
    fn the_likeliest_command_is_found() {
        let tool = "{:aliases {:build {:ns-default build} :test {:exec-fn t/run}}}";
        let build = "(ns build)\n(defn clean [_])\n(defn uber\n  \"doc\" [opts])\n(defn jar [_])";
        assert_eq!(command(tool, None, Some(build), false).as_deref(), Some("clojure -T:build uber"));
        assert_eq!(command(tool, None, Some(build), true).as_deref(), Some("clojure -T:build jar"));
        assert_eq!(command(tool, None, Some("(defn uberhaupt [_])"), false).as_deref(), Some("clojure -X:test"));
        let old = "{:aliases {:uberjar {:main-opts [\"-m\" \"x\"]}}}";
        assert_eq!(command(old, None, None, false).as_deref(), Some("clojure -M:uberjar"));
        let tasks = Some("{:tasks {build (shell \"x\")}}");
        assert_eq!(command("{}", tasks, None, false).as_deref(), Some("bb build"));
        for nothing in ["{}", "[", "{:aliases 1}", "{:aliases {:build {}}}"] {
            assert_eq!(command(nothing, Some("{"), Some(build), false), None, "{nothing}");
        }
    }

    #[test]
    fn no_text_of_a_file_gets_into_a_shell() {
        let evil = "{:aliases {:a&&reboot {:ns-default build} :$x {:ns-default build}}}";
        assert_eq!(command(evil, None, Some("(defn uber [_])"), false), None);
    }
}
