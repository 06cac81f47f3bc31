//! Waves: each app after those it depends on. A circle is cut before one app and told by name; the rest goes on.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::AppName;

/// An app's place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub app: AppName,
    pub wave: u16,
    pub after: Vec<AppName>,
}

#[derive(Debug, Default)]
pub(super) struct Order {
    pub apps: Vec<Placed>,
    pub cycles: Vec<Vec<AppName>>,
}

/// `edges` gives for each app those it comes after; names that are no keys are left out. A circle is cut before the one
/// of its apps that is the least `far` from what moved: what brings that one in comes from outside of the circle, so
/// nobody is cut off from what moved.
pub(super) fn waves(edges: BTreeMap<AppName, BTreeSet<AppName>>, far: impl Fn(&AppName) -> usize) -> Order {
    let mut left: BTreeMap<AppName, BTreeSet<AppName>> = BTreeMap::new();
    let mut next: BTreeMap<AppName, Vec<AppName>> = BTreeMap::new();
    for (app, after) in &edges {
        let after: BTreeSet<AppName> =
            after.iter().filter(|up| *up != app && edges.contains_key(*up)).cloned().collect();
        for up in &after {
            next.entry(up.clone()).or_default().push(app.clone());
        }
        left.insert(app.clone(), after);
    }
    let mut kept = left.clone();
    let mut order = Order::default();
    let mut wave_of: BTreeMap<AppName, u16> = BTreeMap::new();
    let mut ready: BTreeSet<AppName> =
        left.iter().filter(|(_, up)| up.is_empty()).map(|(app, _)| app.clone()).collect();
    while !left.is_empty() {
        let Some(app) = ready.pop_first() else {
            // Only circles and what hangs on them is left: cut one edge of one circle.
            let mut cycle = find_cycle(&left);
            let nearest = cycle.iter().enumerate().min_by_key(|(_, app)| far(app)).map_or(0, |(at, _)| at);
            cycle.rotate_left(nearest);
            if let [first, .., last] = cycle.as_slice() {
                if let Some(after) = left.get_mut(first) {
                    after.remove(last);
                    if after.is_empty() {
                        ready.insert(first.clone());
                    }
                }
                if let Some(after) = kept.get_mut(first) {
                    after.remove(last);
                }
            }
            order.cycles.push(cycle);
            continue;
        };
        left.remove(&app);
        let after: Vec<AppName> = kept.remove(&app).unwrap_or_default().into_iter().collect();
        let wave = after.iter().filter_map(|up| wave_of.get(up)).max().map_or(0, |w| w + 1);
        wave_of.insert(app.clone(), wave);
        for down in next.remove(&app).unwrap_or_default() {
            if let Some(after) = left.get_mut(&down) {
                after.remove(&app);
                if after.is_empty() {
                    ready.insert(down);
                }
            }
        }
        order.apps.push(Placed { app, wave, after });
    }
    order
}

/// A circle in a graph where everyone comes after someone, each name after the one it depends on... back to the first.
fn find_cycle(left: &BTreeMap<AppName, BTreeSet<AppName>>) -> Vec<AppName> {
    let mut path: Vec<AppName> = left.keys().next().cloned().into_iter().collect();
    while let Some(up) = path.last().and_then(|app| left.get(app)).and_then(|after| after.first()).cloned() {
        if let Some(start) = path.iter().position(|app| *app == up) {
            let mut cycle = path.split_off(start);
            // Written in the order of the flow: the first waits for the last.
            cycle.reverse();
            cycle.rotate_right(1);
            return cycle;
        }
        path.push(up);
    }
    path
}
