//! What the sessions came to that a group removes: they are added to durable cells.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::engine::{Batch, Class};
use super::super::session_index::{AtRemoval, RemovedCell, SessionIndex};
use super::super::tables::statistics;
use crate::label::LabelKey;

/// The cells that a group changes.
#[derive(Default)]
pub(super) struct Removed {
    cells: HashMap<(Arc<str>, LabelKey), RemovedCell>,
    /// How many of each owner are new.
    new: HashMap<Arc<str>, usize>,
}

impl Removed {
    /// Count a session that is removed.
    pub(super) fn count(&mut self, index: &SessionIndex, removal: &AtRemoval) {
        let owner = &removal.owner;
        let others = self.new.get(owner).copied().unwrap_or(0);
        let find = |name| self.cells.get(&(Arc::clone(owner), name)).cloned();
        let mut cell = index.removed_cell(removal, others, find);
        cell.sums.add(removal.status, removal.spent);
        let name = cell.name();
        let known = self.cells.insert((Arc::clone(owner), name), cell);
        if known.is_none() && !index.has_removed_cell(owner, name) {
            *self.new.entry(Arc::clone(owner)).or_default() += 1;
        }
    }

    /// Put the changes into the batch. Returns the cells, for the index.
    pub(super) fn finish(self, batch: &mut Batch) -> Vec<(Arc<str>, RemovedCell)> {
        let cells = self.cells.into_iter().map(|((owner, _), cell)| (owner, cell));
        let cells: Vec<_> = cells.collect();
        for (owner, cell) in &cells {
            let (key, value) = statistics::encode(owner, cell);
            batch.put(Class::Inline, key, value);
        }
        cells
    }
}
