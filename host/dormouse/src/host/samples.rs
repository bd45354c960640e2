//! The numbers that the agent of a session has sampled, as series.

use super::session::{SessionHandle, SessionReadError};
use dormouse_domain::sample::{Sample, SamplePlace};
use dormouse_store::Bound;

/// Turns that are looked through at a time.
const LOOKED_THROUGH: usize = 200;
/// How often turns are looked through for one page.
const PAGES: usize = 5;

/// A sample, and the turn that has it.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleEntry {
    /// The number of the turn.
    pub turn: u64,
    /// The sample.
    pub sample: Sample,
}

/// Some samples of a session, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleBatch {
    /// The samples.
    pub samples: Vec<SampleEntry>,
    /// What the samples behind these come after: also where there are none yet, for those that come later.
    pub next: SamplePlace,
    /// Whether turns are left that were not looked through.
    pub more: bool,
}

impl SessionHandle {
    /// What the agent has sampled behind a place, in the order of its turns, at most `limit` samples: under this name,
    /// or under all. Of a turn that has failed as well. At most 1,000 turns are looked through at a time, and at most
    /// five times [`PAGE_BYTES`](crate::PAGE_BYTES) of them: a page may have few samples, or none, and `more`.
    ///
    /// # Errors
    /// [`SessionReadError::NotFound`]
    pub async fn metrics(
        &self,
        name: Option<&str>,
        after: SamplePlace,
        limit: usize,
    ) -> Result<SampleBatch, SessionReadError> {
        self.info().await?;
        let mut found = SampleBatch { samples: Vec::new(), next: after, more: true };
        let is_wanted = |place: SamplePlace, sample: &Sample| {
            place > after && name.is_none_or(|name| name == sample.name)
        };
        for _ in 0..PAGES {
            let (read, bound) = (found.next.last_read_turn(), Bound::entries(LOOKED_THROUGH));
            let page = self.host.inner.store.turns(self.id, read, bound).await?;
            for turn in page.entries {
                for (index, sample) in turn.samples.into_iter().enumerate() {
                    let place = SamplePlace::of(turn.number, index);
                    if !is_wanted(place, &sample) {
                        continue;
                    }
                    if found.samples.len() >= limit {
                        return Ok(found);
                    }
                    found.samples.push(SampleEntry { turn: turn.number, sample });
                    found.next = place;
                }
                found.next = found.next.max(SamplePlace::end_of(turn.number));
            }
            if page.next.is_none() {
                found.more = false;
                break;
            }
        }
        Ok(found)
    }
}
