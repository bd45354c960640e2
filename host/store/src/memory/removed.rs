//! What sessions came to that were removed.

use std::collections::{BTreeMap, BTreeSet};

use crate::{MAX_REMOVED_CELLS, Statistics, StatisticsQuery, Sums};
use dormouse_domain::id::Principal;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::Session;

/// What they came to, by their owners and by their labels.
#[derive(Debug, Default)]
pub(super) struct Removed(BTreeMap<Principal, BTreeMap<Labels, Sums>>);

/// The user, the tags, and the pattern of a session.
type Labels = (Option<String>, BTreeSet<String>, Pattern);

impl Removed {
    /// Count a session that is removed.
    pub(super) fn count(&mut self, session: &Session) {
        let cells = self.0.entry(session.owner.clone()).or_default();
        let profile = &session.profile;
        let tags = profile.tags.iter().cloned().collect();
        let mut labels = (profile.user_id.clone(), tags, profile.pattern);
        if !cells.contains_key(&labels) && cells.len() >= MAX_REMOVED_CELLS {
            labels = (None, BTreeSet::new(), profile.pattern);
        }
        *cells.entry(labels).or_default() += Sums::of(session);
    }

    /// Add those that a query asks for.
    pub(super) fn add_to(&self, statistics: &mut Statistics, query: &StatisticsQuery) {
        let cells = self.0.get(&query.owner).into_iter().flatten();
        for ((user, tags, pattern), sums) in cells {
            let tags: Vec<_> = tags.iter().cloned().collect();
            if query.matches(user.as_deref(), &tags, *pattern) {
                statistics.by_pattern.entry(*pattern).or_default().removed += *sums;
            }
        }
    }
}
