//! Which commit of each library a build gets: tools.deps' expansion of dependencies (`clojure.tools.deps/expand-deps`,
//! `include-coord?`), over facts that the caller brings.
//!
//! A top dependency always wins and hides conflicts; otherwise the descendant wins, and unrelated commits are refused.
//! Exclusions cut a path and not a library. What is not known yet is asked for in `needs`: call again with it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::model::{RepoId, Sha};

/// A folder of a repository at a commit, with a deps.edn in it or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The repository.
    pub repo: RepoId,
    /// The commit.
    pub sha: Sha,
    /// The folder, without slashes around it; empty for the root.
    pub folder: String,
}

/// What a coordinate names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dep {
    /// A commit of a repository, by this url.
    Git {
        /// The url as tools.deps has it.
        url: String,
        /// Where its deps.edn is.
        place: Place,
    },
    /// A folder of the repository that names it.
    Local(Place),
    /// Nothing of ours: `:mvn/version` and the like.
    Other,
}

/// A library that a deps.edn names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The library, qualified.
    pub lib: String,
    /// What for.
    pub dep: Dep,
    /// What of its own dependencies is cut, if it says.
    pub exclusions: Option<BTreeSet<String>>,
}

/// What the caller knows.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What the deps.edn of a place names.
    pub manifests: HashMap<Place, Vec<Child>>,
    /// How the first commit stands to the second in a repository: greater is a descendant; none is unrelated.
    pub orders: HashMap<(RepoId, Sha, Sha), Option<Ordering>>,
}

/// What the expansion lacks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Need {
    /// The deps.edn of this place.
    Manifest(Place),
    /// The order of two commits of a repository.
    Order(RepoId, Sha, Sha),
}

/// A library at the commit that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The library.
    pub lib: String,
    /// Its repository, commit and folder.
    pub place: Place,
    /// The libraries that lead to it, from the top; empty for a top dependency.
    pub via: Vec<String>,
}

/// Two of one library that can't be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The library.
    pub lib: String,
    /// What was chosen before, and the libraries that lead to it.
    pub one: (Dep, Vec<String>),
    /// What can't be compared with it.
    pub other: (Dep, Vec<String>),
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The libraries of git, by name.
    pub libs: Vec<Chosen>,
    /// What tools.deps would refuse.
    pub conflicts: Vec<Conflict>,
    /// What has to be known first. The rest means nothing while there is any.
    pub needs: Vec<Need>,
}

type Path = Vec<String>;

/// One of the versions of a library.
type Id = (String, Option<Sha>);

#[derive(Debug, Clone, Default)]
struct Seen {
    versions: BTreeMap<Id, Dep>,
    paths: BTreeMap<Id, BTreeSet<Path>>,
    select: Option<Id>,
    top: bool,
}

enum Task {
    Visit(Child),
    Children { place: Place, path: Path, only: Only },
}

/// Which of the children of a library are gone on with.
enum Only {
    Not(BTreeSet<String>),
    These(BTreeSet<String>),
}

#[derive(PartialEq)]
enum Reason {
    Include,
    SameVersion,
    Omit,
}

struct Expansion<'f> {
    facts: &'f Facts,
    seen: BTreeMap<String, Seen>,
    exclusions: HashMap<Path, BTreeSet<String>>,
    cut: HashMap<(String, Id), BTreeSet<String>>,
    queue: VecDeque<Task>,
    out: Expanded,
}

/// The libraries that a build of `top` gets.
pub fn expand(top: &[Child], facts: &Facts) -> Expanded {
    let mut expansion = Expansion {
        facts,
        seen: BTreeMap::new(),
        exclusions: HashMap::new(),
        cut: HashMap::new(),
        queue: top.iter().cloned().map(Task::Visit).collect(),
        out: Expanded::default(),
    };
    while let Some(task) = expansion.queue.pop_front() {
        match task {
            Task::Visit(child) => expansion.visit(&child, &[]),
            Task::Children { place, path, only } => {
                let Some(children) = facts.manifests.get(&place) else {
                    expansion.need(Need::Manifest(place));
                    continue;
                };
                for child in children {
                    let goes_on = match &only {
                        Only::Not(cut) => !cut.contains(&child.lib),
                        Only::These(new) => new.contains(&child.lib),
                    };
                    if goes_on {
                        expansion.visit(child, &path);
                    }
                }
            }
        }
    }
    let locked = |(lib, seen): (String, Seen)| {
        let select = seen.select?;
        let Dep::Git { place, .. } = seen.versions.get(&select)? else { return None };
        let via = seen.paths.get(&select).and_then(|paths| paths.iter().min_by_key(|path| path.len()).cloned());
        Some(Chosen { lib, place: place.clone(), via: via.unwrap_or_default() })
    };
    expansion.out.libs = expansion.seen.into_iter().filter_map(locked).collect();
    expansion.out
}

impl Expansion<'_> {
    /// A folder lies in the checkout of the library that leads to it: by another library it is another folder.
    fn id(&self, dep: &Dep, parents: &[String]) -> Id {
        match dep {
            Dep::Git { url, place } => (url.clone(), Some(place.sha)),
            Dep::Local(place) => {
                let selected =
                    |lib: &String| self.seen.get(lib).and_then(|seen| seen.versions.get(seen.select.as_ref()?));
                let of_git = |lib: &&String| matches!(selected(lib), Some(Dep::Git { .. }));
                let by = parents.iter().rev().find(of_git).map_or("", String::as_str);
                (format!("{by} {} {}", place.repo, place.folder), Some(place.sha))
            }
            Dep::Other => (String::new(), None),
        }
    }

    fn need(&mut self, need: Need) {
        if !self.out.needs.contains(&need) {
            self.out.needs.push(need);
        }
    }

    fn visit(&mut self, child: &Child, parents: &[String]) {
        let id = self.id(&child.dep, parents);
        let reason = self.include(child, &id, parents);
        let mut path = parents.to_vec();
        path.push(child.lib.clone());
        let key = (child.lib.clone(), id);
        let only = match reason {
            Reason::Include => {
                if let Some(cut) = &child.exclusions {
                    self.exclusions.insert(path.clone(), cut.clone());
                    self.cut.insert(key, cut.clone());
                }
                Only::Not(child.exclusions.clone().unwrap_or_default())
            }
            Reason::SameVersion => {
                let mine = child.exclusions.clone().unwrap_or_default();
                if !mine.is_empty() {
                    self.exclusions.insert(path.clone(), mine.clone());
                }
                let cut = self.cut.remove(&key).unwrap_or_default();
                let still: BTreeSet<String> = cut.intersection(&mine).cloned().collect();
                let new = cut.difference(&still).cloned().collect();
                self.cut.insert(key, still);
                Only::These(new)
            }
            Reason::Omit => return,
        };
        match &child.dep {
            Dep::Git { place, .. } | Dep::Local(place) => {
                self.queue.push_back(Task::Children { place: place.clone(), path, only });
            }
            Dep::Other => {}
        }
    }

    fn include(&mut self, child: &Child, id: &Id, parents: &[String]) -> Reason {
        let lib = &child.lib;
        if parents.is_empty() {
            self.add(child, id, parents);
            let seen = self.seen.entry(lib.clone()).or_default();
            (seen.select, seen.top) = (Some(id.clone()), true);
            return Reason::Include;
        }
        let is_top = self.seen.get(lib).is_some_and(|seen| seen.top);
        if self.is_excluded(lib, parents) || is_top || self.is_parent_missing(parents) {
            return Reason::Omit;
        }
        let selected = self.seen.get(lib).and_then(|seen| seen.select.clone());
        let Some(selected) = selected else {
            self.add(child, id, parents);
            self.select(lib, id);
            return Reason::Include;
        };
        if selected == *id {
            self.add(child, id, parents);
            return Reason::SameVersion;
        }
        if !self.dominates(child, &selected, parents) {
            return Reason::Omit;
        }
        self.add(child, id, parents);
        let omitted: Vec<Path> = self
            .seen
            .get(lib)
            .and_then(|seen| seen.paths.get(&selected))
            .into_iter()
            .flatten()
            .map(|path| path.iter().chain([lib]).cloned().collect())
            .collect();
        self.deselect(&omitted);
        self.select(lib, id);
        Reason::Include
    }

    fn add(&mut self, child: &Child, id: &Id, parents: &[String]) {
        let seen = self.seen.entry(child.lib.clone()).or_default();
        seen.versions.insert(id.clone(), child.dep.clone());
        seen.paths.entry(id.clone()).or_default().insert(parents.to_vec());
    }

    fn select(&mut self, lib: &str, id: &Id) {
        self.seen.entry(lib.to_owned()).or_default().select = Some(id.clone());
    }

    fn is_excluded(&self, lib: &str, parents: &[String]) -> bool {
        let base = lib.split('$').next().unwrap_or_default();
        (1..=parents.len()).any(|n| self.exclusions.get(&parents[..n]).is_some_and(|cut| cut.contains(base)))
    }

    /// Whether a library that leads here is no longer chosen, or not by this way.
    fn is_parent_missing(&self, parents: &[String]) -> bool {
        (1..=parents.len()).any(|n| {
            let (lib, way) = (&parents[n - 1], &parents[..n - 1]);
            let seen = self.seen.get(lib);
            let paths = seen.and_then(|seen| seen.paths.get(seen.select.as_ref()?));
            !paths.is_some_and(|paths| paths.contains(way))
        })
    }

    /// What was chosen only by ways through `omitted` is chosen no more.
    fn deselect(&mut self, omitted: &[Path]) {
        for seen in self.seen.values_mut() {
            let paths = seen.select.as_ref().and_then(|id| seen.paths.get(id));
            if paths.is_none_or(|paths| paths.iter().all(|path| omitted.iter().any(|cut| path.starts_with(cut)))) {
                seen.select = None;
            }
        }
    }

    /// Whether a version is newer than the one that is chosen.
    fn dominates(&mut self, child: &Child, selected: &Id, parents: &[String]) -> bool {
        let Some(seen) = self.seen.get(&child.lib) else { return true };
        let Some(old) = seen.versions.get(selected).cloned() else { return true };
        let way = seen.paths.get(selected).and_then(|paths| paths.iter().next().cloned()).unwrap_or_default();
        let order = match (&child.dep, &old) {
            (Dep::Git { place: new, .. }, Dep::Git { place: old, .. }) if new.sha == old.sha => Some(Ordering::Equal),
            (Dep::Git { place: new, .. }, Dep::Git { place: old, .. }) => {
                let (mut orders, mut lacks) = (Vec::new(), Vec::new());
                for repo in BTreeSet::from([&new.repo, &old.repo]) {
                    match self.facts.orders.get(&(repo.clone(), new.sha, old.sha)) {
                        Some(order) => orders.push(*order),
                        None => lacks.push(Need::Order(repo.clone(), new.sha, old.sha)),
                    }
                }
                if !lacks.is_empty() {
                    lacks.into_iter().for_each(|need| self.need(need));
                    return false;
                }
                orders.iter().all(|order| *order == orders[0]).then(|| orders[0]).flatten()
            }
            (Dep::Other, Dep::Other) => Some(Ordering::Equal),
            // Folders are not compared either.
            _ => None,
        };
        if order.is_none() {
            let (lib, other) = (child.lib.clone(), (child.dep.clone(), parents.to_vec()));
            self.out.conflicts.push(Conflict { lib, one: (old, way), other });
        }
        order == Some(Ordering::Greater)
    }
}
