//! The store's rows as readers see them: what the log holds and sled does not have yet, over what sled has.
//!
//! Recent rows lie in layers, the newest first; one that is full is brought into sled (`merge`) and let go of. A row
//! moves down only, and readers look from above, so none is missed on its way. Must never hold a row that the log has
//! not synced.

use std::collections::BTreeMap;
use std::iter::Fuse;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, RwLock};

use arc_swap::ArcSwap;
use sled::IVec;

use super::tx::unavailable;
use super::{StoreError, unpoison};

/// Rows that sled does not have yet; none where one was deleted.
pub(super) type Rows = BTreeMap<IVec, Option<IVec>>;
/// A layer of them. Only the newest changes.
pub(super) type Layer = Arc<RwLock<Rows>>;
/// A key and its value.
pub(super) type Row = (IVec, IVec);

/// All rows.
pub(super) struct Table {
    /// The store's folder, for errors.
    pub path: String,
    pub db: sled::Db,
    /// The newest first. There is always one.
    layers: ArcSwap<Vec<Layer>>,
}

impl Table {
    pub fn new(path: &str, db: sled::Db) -> Self {
        Self { path: path.to_owned(), db, layers: ArcSwap::from_pointee(vec![Layer::default()]) }
    }

    /// Shows rows that are on disk now to readers.
    pub fn show(&self, rows: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>) {
        let layers = self.layers.load();
        let mut newest = unpoison(layers[0].write());
        newest.extend(rows.map(|(key, value)| (key.into(), value.map(Into::into))));
    }
    /// Begins a new layer; gives the one that was the newest.
    pub fn freeze(&self) -> Layer {
        let before = self.layers.rcu(|layers| {
            let mut layers = layers.to_vec();
            layers.insert(0, Layer::default());
            layers
        });
        before[0].clone()
    }
    /// Lets go of a layer whose rows are all in sled.
    pub fn drop_layer(&self, done: &Layer) {
        self.layers.rcu(|layers| layers.iter().filter(|layer| !Arc::ptr_eq(layer, done)).cloned().collect::<Vec<_>>());
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        for layer in self.layers.load().iter() {
            if let Some(value) = unpoison(layer.read()).get(key) {
                return Ok(value.clone());
            }
        }
        self.db.get(key).map_err(|e| unavailable(&self.path, &e))
    }
    pub fn has(&self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.get(key)?.is_some())
    }
    /// The rows of a range of keys, in order, from either end.
    pub fn range(&self, keys: impl RangeBounds<Vec<u8>>) -> Range {
        let (from, to) = (keys.start_bound().cloned(), keys.end_bound().cloned());
        let layers = self.layers.load();
        let span = (from.clone().map(IVec::from), to.clone().map(IVec::from));
        let layers =
            layers.iter().map(|layer| Ends::new(InLayer { layer: layer.clone(), span: span.clone() })).collect();
        Range { path: self.path.clone(), layers, sled: Ends::new(self.db.range((from, to))) }
    }
    /// The rows whose keys begin so.
    pub fn prefix(&self, prefix: &[u8]) -> Range {
        self.range((Bound::Included(prefix.to_vec()), after(prefix)))
    }
}

/// The end of the keys that begin so.
fn after(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// Rows of several sources as one; where two have a key, the newer one's.
pub(super) struct Range {
    path: String,
    layers: Vec<Ends<InLayer>>,
    sled: Ends<sled::Iter>,
}

impl Range {
    fn step(&mut self, end: End) -> Option<Result<Row, StoreError>> {
        loop {
            let mut best: Option<IVec> = None;
            let mut nearer = |key: &IVec| {
                let is_nearer = best.as_ref().is_none_or(|best| match end {
                    End::Front => key < best,
                    End::Back => key > best,
                });
                if is_nearer {
                    best = Some(key.clone());
                }
            };
            for layer in &mut self.layers {
                if let Some((key, _)) = layer.peek(end) {
                    nearer(key);
                }
            }
            match self.sled.peek(end) {
                Some(Ok((key, _))) => nearer(key),
                Some(Err(_)) => {
                    let failed = self.sled.take(end)?.err()?;
                    return Some(Err(unavailable(&self.path, &failed)));
                }
                None => {}
            }
            let key = best?;
            let mut newest = None;
            for layer in &mut self.layers {
                if layer.peek(end).is_some_and(|(at, _)| *at == key) {
                    let value = layer.take(end).map(|(_, value)| value);
                    newest = newest.or(value);
                }
            }
            if matches!(self.sled.peek(end), Some(Ok((at, _))) if *at == key) {
                let value = self.sled.take(end).and_then(Result::ok).map(|(_, value)| Some(value));
                newest = newest.or(value);
            }
            if let Some(Some(value)) = newest {
                return Some(Ok((key, value)));
            }
        }
    }
}

impl Iterator for Range {
    type Item = Result<Row, StoreError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.step(End::Front)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(End::Back)
    }
}

#[derive(Debug, Clone, Copy)]
enum End {
    Front,
    Back,
}

/// What comes next at both ends of an iterator.
struct Ends<I: Iterator> {
    /// Once at its end it stays there: what is written later may lie behind what was given.
    rest: Fuse<I>,
    front: Option<I::Item>,
    back: Option<I::Item>,
}

impl<I: DoubleEndedIterator> Ends<I> {
    fn new(rest: I) -> Self {
        Self { rest: rest.fuse(), front: None, back: None }
    }
    fn peek(&mut self, end: End) -> Option<&I::Item> {
        match end {
            End::Front => {
                self.front = self.front.take().or_else(|| self.rest.next()).or_else(|| self.back.take());
                self.front.as_ref()
            }
            End::Back => {
                self.back = self.back.take().or_else(|| self.rest.next_back()).or_else(|| self.front.take());
                self.back.as_ref()
            }
        }
    }
    fn take(&mut self, end: End) -> Option<I::Item> {
        self.peek(end);
        match end {
            End::Front => self.front.take(),
            End::Back => self.back.take(),
        }
    }
}

/// A layer's rows, each looked up when it is asked for: the layer goes on changing meanwhile.
struct InLayer {
    layer: Layer,
    span: (Bound<IVec>, Bound<IVec>),
}

impl InLayer {
    fn step(&mut self, end: End) -> Option<(IVec, Option<IVec>)> {
        if is_empty(&self.span) {
            return None;
        }
        let rows = unpoison(self.layer.read());
        let mut range = rows.range::<IVec, _>((self.span.0.as_ref(), self.span.1.as_ref()));
        let (key, value) = match end {
            End::Front => range.next(),
            End::Back => range.next_back(),
        }?;
        let passed = Bound::Excluded(key.clone());
        match end {
            End::Front => self.span.0 = passed,
            End::Back => self.span.1 = passed,
        }
        Some((key.clone(), value.clone()))
    }
}

/// Whether no key can lie between: a `BTreeMap` panics if asked for such a range.
fn is_empty(span: &(Bound<IVec>, Bound<IVec>)) -> bool {
    match span {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to) | Bound::Included(to)) => from >= to,
        _ => false,
    }
}

impl Iterator for InLayer {
    type Item = (IVec, Option<IVec>);
    fn next(&mut self) -> Option<Self::Item> {
        self.step(End::Front)
    }
}

impl DoubleEndedIterator for InLayer {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(End::Back)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Act {
        Put(u8, u8),
        Delete(u8),
        Freeze,
        Sink,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            5 => (0u8..24, any::<u8>()).prop_map(|(key, value)| Act::Put(key, value)),
            3 => (0u8..24).prop_map(Act::Delete),
            1 => Just(Act::Freeze),
            1 => Just(Act::Sink),
        ];
        proptest::collection::vec(act, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn rows_in_layers_and_in_sled_read_as_one_map(acts in acts(), low in 0u8..24, high in 0u8..24, turns: u64) {
            let db = sled::Config::new().temporary(true).segment_size(512).cache_capacity(1 << 20).open().unwrap();
            let table = Table::new("here", db);
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            let mut frozen: Vec<Layer> = Vec::new();
            for act in acts {
                match act {
                    Act::Put(key, value) => {
                        table.show(std::iter::once((vec![key], Some(vec![value]))));
                        model.insert(vec![key], vec![value]);
                    }
                    Act::Delete(key) => {
                        table.show(std::iter::once((vec![key], None)));
                        model.remove([key].as_slice());
                    }
                    Act::Freeze => frozen.push(table.freeze()),
                    Act::Sink => {
                        for layer in frozen.drain(..) {
                            for (key, value) in unpoison(layer.read()).iter() {
                                match value {
                                    Some(value) => drop(table.db.insert(key, value).unwrap()),
                                    None => drop(table.db.remove(key).unwrap()),
                                }
                            }
                            table.drop_layer(&layer);
                        }
                    }
                }
            }
            for key in 0..24u8 {
                let got = table.get(&[key]).unwrap().map(|v| v.to_vec());
                prop_assert_eq!(got.as_ref(), model.get([key].as_slice()));
            }
            let (low, high) = (low.min(high), low.max(high));
            let mut range = table.range(vec![low]..vec![high]);
            let mut expected: std::collections::VecDeque<_> =
                model.range(vec![low]..vec![high]).map(|(k, v)| (k.clone(), v.clone())).collect();
            // From both ends in any order until they meet.
            for turn in 0.. {
                let (got, want) = match turns >> (turn % 64) & 1 {
                    0 => (range.next(), expected.pop_front()),
                    _ => (range.next_back(), expected.pop_back()),
                };
                let got = got.map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap());
                prop_assert_eq!(&got, &want);
                if got.is_none() {
                    break;
                }
            }
        }
    }

    #[test]
    fn what_is_written_behind_a_reader_is_not_read() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        for key in b"aceg" {
            db.insert([*key], vec![1]).unwrap();
        }
        let table = Table::new("here", db);
        let mut range = table.range(vec![b'a']..vec![b'z']);
        let mut keys = Vec::new();
        for written in b"xabc" {
            keys.extend(range.next().map(|row| row.unwrap().0[0]));
            // The layer was empty when it was first asked.
            table.show(std::iter::once((vec![*written], Some(vec![2]))));
        }
        keys.extend(range.map(|row| row.unwrap().0[0]));
        assert!(keys.is_sorted_by(|one, next| one < next), "{keys:?}");
        assert!(keys.starts_with(b"aceg"), "{keys:?}");
    }

    #[test]
    fn the_end_of_a_prefix_is_after_all_that_begins_so() {
        assert_eq!(after(b"ab"), Bound::Excluded(b"ac".to_vec()));
        assert_eq!(after(&[b'a', 0xff]), Bound::Excluded(b"b".to_vec()));
        assert_eq!(after(&[0xff, 0xff]), Bound::Unbounded);
    }
}
