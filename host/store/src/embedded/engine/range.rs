//! Keys in order, over the overlay and the index.
//!
//! A run of keys is taken at one moment: the overlay under its lock, then the index. The index may
//! have changed in between only by what is frozen, which goes before it, unless something else has
//! been frozen since: then the run is taken again.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::ReadError;
use super::batch::KeyChange;
use super::core::{Core, damaged};
use super::ordered_map::OWN;
use super::overlay::Generation;
use super::value::{self, Pointer, Stored};

/// How many keys are taken at a time.
const RUN: usize = 256;

/// Keys with their values, in order.
#[derive(Debug)]
pub(crate) struct Range<'a> {
    core: &'a Core,
    prefix: Vec<u8>,
    what: What,
    /// How many keys are taken at a time.
    at_once: usize,
    /// Where the next run begins; `None` after the last.
    from: Option<Vec<u8>>,
    run: VecDeque<(Bytes, Found)>,
}

/// What is read of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Whole,
    Fronts,
}

/// What a run has of a key.
#[derive(Debug)]
enum Found {
    Value(Bytes),
    At(Pointer),
    Gone,
    Damaged,
}

impl Core {
    pub(super) fn range(&self, from: &[u8], prefix: &[u8]) -> Range<'_> {
        self.values(from, prefix, What::Whole)
    }

    pub(super) fn fronts(&self, from: &[u8], prefix: &[u8]) -> Range<'_> {
        self.values(from, prefix, What::Fronts)
    }

    fn values(&self, from: &[u8], prefix: &[u8], what: What) -> Range<'_> {
        // The engine's own keys are nobody's business.
        let from = from.max(prefix).max(&[OWN + 1]).to_vec();
        let begins = from.starts_with(prefix);
        Range {
            core: self,
            prefix: prefix.to_vec(),
            what,
            at_once: RUN,
            from: begins.then_some(from),
            run: VecDeque::new(),
        }
    }

    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<(Bytes, Bytes)>, ReadError> {
        let mut before: Option<Bytes> = None;
        loop {
            let (freezes, active, frozen) = {
                let overlay = self.overlay();
                let active = last_of(&overlay.active, prefix, before.as_deref());
                let frozen = overlay.frozen.clone();
                (overlay.freezes, active, frozen)
            };
            let frozen = frozen.and_then(|frozen| last_of(&frozen, prefix, before.as_deref()));
            let stored = self.index.last(prefix, before.as_deref())?;
            if self.overlay().freezes != freezes {
                continue;
            }
            let stored = stored.map(|(key, value)| {
                let found = found_in_index(&key, &value, What::Whole);
                (Bytes::from(key), found)
            });
            // Of equal keys the last one wins.
            let all = [stored, frozen, active].into_iter().flatten();
            let Some((key, found)) = all.max_by(|a, b| a.0.cmp(&b.0)) else { return Ok(None) };
            if key.first() == Some(&OWN) {
                return Ok(None);
            }
            match self.resolve(&key, found)? {
                Some(value) => return Ok(Some((key, value))),
                None => before = Some(key),
            }
        }
    }

    fn resolve(&self, key: &Bytes, found: Found) -> Result<Option<Bytes>, ReadError> {
        match found {
            Found::Value(value) => Ok(Some(value)),
            Found::At(pointer) => self.follow(key, pointer),
            Found::Gone => Ok(None),
            Found::Damaged => Err(damaged(key, "its entry in the index is damaged")),
        }
    }
}

impl Range<'_> {
    /// The same for who wants so few of them: no more are looked for at a time.
    pub(crate) fn few(mut self, keys: usize) -> Self {
        self.at_once = keys.clamp(1, RUN);
        self
    }

    /// Take the next run. `from` is where it begins.
    fn take(&mut self, from: &[u8]) -> Result<(), ReadError> {
        loop {
            let (freezes, active, frozen) = {
                let overlay = self.core.overlay();
                let active = run_of(&overlay.active, from, self);
                (overlay.freezes, active, overlay.frozen.clone())
            };
            let frozen = frozen.map(|frozen: Arc<Generation>| run_of(&frozen, from, self));
            let stored = self.core.index.scan(from, &self.prefix, self.at_once)?;
            if self.core.overlay().freezes != freezes {
                continue;
            }
            let stored: Vec<_> = stored
                .into_iter()
                .map(|(key, value)| {
                    let found = found_in_index(&key, &value, self.what);
                    (Bytes::from(key), found)
                })
                .collect();
            self.merge([stored, frozen.unwrap_or_default(), active]);
            return Ok(());
        }
    }

    /// Each of these has its first keys. What lies beyond the last key of one that may have more is
    /// not known yet.
    fn merge(&mut self, runs: [Vec<(Bytes, Found)>; 3]) {
        let full = runs.iter().filter(|run| run.len() == self.at_once);
        let horizon = full.filter_map(|run| run.last()).map(|(key, _)| key.clone()).min();
        self.from = horizon.as_ref().map(|horizon| [horizon, [0].as_slice()].concat());
        let known = |key: &Bytes| horizon.as_ref().is_none_or(|horizon| key <= horizon);
        let [stored, frozen, active] = runs;
        if frozen.is_empty() && active.is_empty() {
            // Most of the time, nothing of this has been changed just now.
            self.run.extend(stored);
            return;
        }
        let mut merged: BTreeMap<_, _> = stored.into_iter().collect();
        merged.extend(frozen);
        merged.extend(active);
        self.run.extend(merged.into_iter().filter(|(key, _)| known(key)));
    }
}

impl Iterator for Range<'_> {
    type Item = Result<(Bytes, Bytes), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, found)) = self.run.pop_front() {
                match self.core.resolve(&key, found) {
                    Ok(Some(value)) => return Some(Ok((key, value))),
                    Ok(None) => continue,
                    Err(error) => return Some(Err(error)),
                }
            }
            let from = self.from.take()?;
            if let Err(error) = self.take(&from) {
                return Some(Err(error));
            }
        }
    }
}

/// The first key after all that begin with this; `None` where there is none.
pub(super) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

fn run_of(generation: &Generation, from: &[u8], range: &Range<'_>) -> Vec<(Bytes, Found)> {
    let bounds = (Bound::Included(from), Bound::Unbounded);
    let entries = generation.changes.range::<[u8], _>(bounds);
    let within = entries.take_while(|(key, _)| key.starts_with(&range.prefix)).take(range.at_once);
    within.map(|(key, change)| (key.clone(), found_in_overlay(change, range.what))).collect()
}

fn last_of(
    generation: &Generation,
    prefix: &[u8],
    before: Option<&[u8]>,
) -> Option<(Bytes, Found)> {
    let end = before.map(<[u8]>::to_vec).or_else(|| after(prefix));
    let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut entries = generation.changes.range::<[u8], _>((Bound::Included(prefix), end));
    entries.next_back().map(|(key, change)| (key.clone(), found_in_overlay(change, What::Whole)))
}

fn found_in_overlay(change: &KeyChange, what: What) -> Found {
    match change {
        KeyChange::Put(class, value) if what == What::Fronts => {
            let inline = value::kind_of(*class, value.len()).is_none();
            let front = if inline { value.len() } else { change.front().len() };
            Found::Value(value.slice(..front))
        }
        KeyChange::Staged(_) if what == What::Fronts => Found::Value(Bytes::new()),
        KeyChange::Put(_, value) => Found::Value(value.clone()),
        KeyChange::Staged(pointer) => Found::At(*pointer),
        KeyChange::Delete => Found::Gone,
    }
}

fn found_in_index(key: &[u8], value: &[u8], what: What) -> Found {
    match Stored::read(key, value) {
        Some(Stored::Inline(value)) => Found::Value(Bytes::copy_from_slice(value)),
        Some(Stored::At(_, front)) if what == What::Fronts => {
            Found::Value(Bytes::copy_from_slice(front))
        }
        Some(Stored::At(pointer, _)) => Found::At(pointer),
        None => Found::Damaged,
    }
}
