//! What sessions come to, all together: how many there are and were, and what they have spent.

use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};
use std::time::Duration;

use dormouse_domain::id::Principal;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::Session;
use dormouse_domain::state::Status;

/// The most sets of labels (user, tags and pattern) of one owner whose removed sessions are counted apart.
/// Sessions that are removed beyond it count for the owner and the pattern alone.
pub const MAX_REMOVED_CELLS: usize = if cfg!(test) { 8 } else { 10_000 };

/// Which sessions to sum up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsQuery {
    /// Whose they are.
    pub owner: Principal,
    /// Only those with this label.
    pub user_id: Option<String>,
    /// Only those with one of these tags. Empty: all.
    pub tags: Vec<String>,
    /// Only those of this pattern.
    pub pattern: Option<Pattern>,
}

impl StatisticsQuery {
    /// All sessions of an owner.
    #[must_use]
    pub fn of(owner: Principal) -> StatisticsQuery {
        StatisticsQuery { owner, user_id: None, tags: Vec::new(), pattern: None }
    }

    /// Whether sessions with these labels are meant.
    pub(crate) fn matches(&self, user: Option<&str>, tags: &[String], pattern: Pattern) -> bool {
        self.user_id.as_deref().is_none_or(|wanted| user == Some(wanted))
            && (self.tags.is_empty() || self.tags.iter().any(|tag| tags.contains(tag)))
            && self.pattern.is_none_or(|wanted| wanted == pattern)
    }
}

/// What sessions come to. Cumulative: the removal of a session moves what it came to from `live` to
/// `removed`, and takes nothing away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Those of each pattern that has or had any.
    pub by_pattern: BTreeMap<Pattern, PatternStatistics>,
}

/// The same of one pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatternStatistics {
    /// The sessions that there are.
    pub live: Sums,
    /// Those that were removed, each with the status that it had then.
    pub removed: Sums,
}

impl PatternStatistics {
    /// Both together.
    #[must_use]
    pub fn total(&self) -> Sums {
        let mut total = self.live;
        total += self.removed;
        total
    }
}

impl Statistics {
    /// All patterns together.
    #[must_use]
    pub fn total(&self) -> PatternStatistics {
        let mut total = PatternStatistics::default();
        for one in self.by_pattern.values() {
            total.live += one.live;
            total.removed += one.removed;
        }
        total
    }
}

/// What some sessions come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many there are of each status, in the order of [`Status::ALL`].
    by_status: [u64; Status::ALL.len()],
    /// What one turn after the other has cost them.
    pub cost: NanoUsd,
    /// Tokens that models have read and written for them.
    pub tokens: u64,
    /// From the creation of each to its end, or else to its last activity, in milliseconds.
    pub duration_ms: u64,
}

impl Sums {
    /// What one session comes to.
    #[must_use]
    pub fn of(session: &Session) -> Sums {
        let mut sums = Sums::default();
        sums.add(session.state.status(), Spent::of(session));
        sums
    }

    /// How many of this status.
    #[must_use]
    pub fn of_status(&self, status: Status) -> u64 {
        self.by_status[status as usize]
    }

    /// How many.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.by_status.iter().sum()
    }

    /// Their durations.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// Whether these are no sessions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions() == 0
    }

    /// So many sessions of each status, which have spent this together.
    pub(crate) fn new(by_status: [u64; Status::ALL.len()], spent: Spent) -> Sums {
        let Spent { cost, tokens, duration_ms } = spent;
        Sums { by_status, cost, tokens, duration_ms }
    }

    /// How many there are of each status, in the order of [`Status::ALL`].
    pub(crate) fn by_status(&self) -> [u64; Status::ALL.len()] {
        self.by_status
    }

    /// Count a session of this status.
    pub(crate) fn add(&mut self, status: Status, spent: Spent) {
        let mut one = Sums::new(Default::default(), spent);
        one.by_status[status as usize] = 1;
        *self += one;
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        for (count, more) in self.by_status.iter_mut().zip(other.by_status) {
            *count = count.saturating_add(more);
        }
        self.cost += other.cost;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.duration_ms = self.duration_ms.saturating_add(other.duration_ms);
    }
}

/// What one session has spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) cost: NanoUsd,
    pub(crate) tokens: u64,
    pub(crate) duration_ms: u64,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Spent) {
        self.cost += other.cost;
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.duration_ms = self.duration_ms.saturating_add(other.duration_ms);
    }
}

impl SubAssign for Spent {
    fn sub_assign(&mut self, other: Spent) {
        self.cost = self.cost - other.cost;
        self.tokens = self.tokens.saturating_sub(other.tokens);
        self.duration_ms = self.duration_ms.saturating_sub(other.duration_ms);
    }
}

impl Spent {
    /// What a session has spent, as far as its front tells: all of it.
    pub(crate) fn of(session: &Session) -> Spent {
        let usage = &session.usage;
        let until = session.ended_at.unwrap_or(session.last_activity_at);
        Spent {
            cost: usage.cost,
            tokens: usage
                .input_tokens
                .saturating_add(usage.output_tokens)
                .saturating_add(usage.cached_tokens),
            duration_ms: u64::try_from(until.since(session.created_at).as_millis())
                .unwrap_or(u64::MAX),
        }
    }
}
