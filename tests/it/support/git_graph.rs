//! Repositories that depend on each other, as apps of a world: chains, diamonds and random graphs; and what has to be so
//! after a push went through them, asked of git alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use airplanes::model::Sha;
use serde_json::Value;

use super::world::World;

/// Which repository depends on which: each on some of those before it.
pub struct GitGraph {
    deps: Vec<Vec<usize>>,
}

/// The remotes as they were: how many commits each has.
pub type Counts = Vec<usize>;

impl GitGraph {
    pub fn of(deps: &[&[usize]]) -> Self {
        Self { deps: deps.iter().map(|deps| deps.to_vec()).collect() }
    }
    pub fn chain(length: usize) -> Self {
        Self { deps: (0..length).map(|n| n.checked_sub(1).into_iter().collect()).collect() }
    }
    /// Each depends on up to three before it; the first is a library that most lead to.
    pub fn random(size: usize, mut seed: u64) -> Self {
        let mut below = |bound: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            usize::try_from(seed >> 33).unwrap() % bound
        };
        let mut deps = vec![Vec::new()];
        for n in 1..size {
            let some: BTreeSet<usize> = (0..=below(3)).map(|_| below(n)).collect();
            deps.push(some.into_iter().collect());
        }
        Self { deps }
    }

    pub fn len(&self) -> usize {
        self.deps.len()
    }
    pub fn name(n: usize) -> String {
        format!("r{n:02}")
    }
    /// Those that depend on one of these, directly or not, and these.
    pub fn downstream(&self, from: &[usize]) -> BTreeSet<usize> {
        let mut found: BTreeSet<usize> = from.iter().copied().collect();
        for (n, deps) in self.deps.iter().enumerate() {
            if deps.iter().any(|dep| found.contains(dep)) {
                found.insert(n);
            }
        }
        found
    }

    /// Makes the repositories, and deploy.edn with an app for each. A build notes its tree in `built/NAME`, and fails
    /// while there is a file `broken-NAME`.
    pub fn make(&self, world: &mut World) {
        std::fs::create_dir_all(world.path("built")).unwrap();
        let mut heads: Vec<Sha> = Vec::new();
        let mut apps = String::new();
        for (n, deps) in self.deps.iter().enumerate() {
            let name = Self::name(n);
            let names: Vec<String> = deps.iter().map(|dep| Self::name(*dep)).collect();
            let libs: Vec<(&str, Sha)> =
                names.iter().zip(deps).map(|(name, dep)| (name.as_str(), heads[*dep])).collect();
            heads.push(world.commit(&name, &[("deps.edn", &world.deps(&libs))]));
            let build =
                format!("test ! -e {{dir}}/broken-{name} && git rev-parse HEAD^{{tree}} >> {{dir}}/built/{name}");
            apps.push_str(&format!(":{name} {{:git-url \"{{repo:{name}}}\" :update? true :build \"{build}\"}}\n"));
        }
        world.deploy_edn(&apps);
    }

    pub fn counts(&self, world: &World) -> Counts {
        (0..self.len()).map(|n| world.count(&Self::name(n))).collect()
    }

    /// The trees that were built of a repository, in order.
    pub fn built(world: &World, n: usize) -> Vec<String> {
        let text = std::fs::read_to_string(world.path("built").join(Self::name(n))).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// That each of `moved` names the heads of what it depends on there, by one commit more than it had (`pushed` by
    /// none of ours), that what it has was built, and that nothing else has changed. How often it was built is told.
    pub fn check(
        &self,
        world: &World,
        before: &Counts,
        pushed: &[usize],
        moved: &BTreeSet<usize>,
    ) -> BTreeMap<usize, usize> {
        let mut builds = BTreeMap::new();
        for (n, had) in before.iter().enumerate() {
            let name = Self::name(n);
            let ours = usize::from(moved.contains(&n) && !pushed.contains(&n));
            assert_eq!(world.count(&name), had + ours, "{name} has one commit more, or none");
            let text = world.file(&name, "deps.edn");
            for dep in self.deps[n].iter().filter(|_| moved.contains(&n)) {
                let head = world.head(&Self::name(*dep)).to_string();
                assert!(text.contains(&head), "{name} is at the head of {}: {text}", Self::name(*dep));
            }
            if ours == 1 {
                let message = world.in_bare(&name, &["log", "-1", "--first-parent", "--format=%B", "main"]);
                assert!(message.contains("Airplanes-Job: "), "{name}: {message}");
                let tree = world.in_bare(&name, &["rev-parse", "main^{tree}"]);
                let built = Self::built(world, n).iter().filter(|built| **built == tree).count();
                assert!(built >= 1, "{name} was built as it is");
                builds.insert(n, built);
            }
        }
        builds
    }
}

/// Waits until nothing is under way, and gives all jobs, newest first. A long chain takes long.
pub async fn settled(world: &World) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(240);
    loop {
        let open = world.get("/jobs?state=open&limit=1").await;
        let deliveries = world.get("/deliveries?limit=200").await.to_string();
        let planned =
            ["\"state\":\"accepted\"", "\"state\":\"planned\""].iter().any(|state| deliveries.contains(state));
        if open["jobs"].as_array().is_some_and(Vec::is_empty) && !planned {
            return world.get("/jobs?limit=200").await["jobs"].as_array().unwrap().clone();
        }
        assert!(Instant::now() < deadline, "not settled: {open:#}\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
