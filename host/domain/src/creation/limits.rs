//! The limits of a new session, by who wants what of it: its creator, then the operator of the host for its
//! user, its project, its pattern, and for all sessions; then what the host has for its pattern. Pure, and the one
//! place where this is decided.

use std::collections::BTreeMap;

use super::{DefaultLimits, NewSession};
use crate::limits::Limits;
use crate::patch::{Change, LimitsPatch};
use crate::pattern::Pattern;

/// Limits that the operator of a host sets for sessions whose creators ask for none. Each is a change of the
/// one before it: of all sessions, of those of a pattern, of a project, and of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitOverrides {
    /// Of all sessions.
    pub all: LimitsPatch,
    /// Of the sessions of a pattern.
    pub patterns: BTreeMap<Pattern, LimitsPatch>,
    /// Of the sessions of a `projectId`.
    pub projects: BTreeMap<String, LimitsPatch>,
    /// Of the sessions of a `userId`, whosever they are.
    pub users: BTreeMap<String, LimitsPatch>,
}

impl LimitOverrides {
    /// Those that are for this session, in the order in which one changes the other.
    fn of(&self, new: &NewSession) -> impl Iterator<Item = LimitsPatch> {
        let project = new.project_id.as_ref().and_then(|project| self.projects.get(project));
        let user = new.user_id.as_ref().and_then(|user| self.users.get(user));
        let pattern = self.patterns.get(&new.pattern);
        [Some(&self.all), pattern, project, user].into_iter().flatten().copied()
    }
}

/// The limits of this session, which was checked.
pub(super) fn of(new: &NewSession, defaults: &DefaultLimits) -> Limits {
    let mut limits = of_pattern(new, defaults);
    for patch in defaults.overrides.of(new).chain([asked(new)]) {
        patch.put_on(&mut limits, defaults);
    }
    limits
}

/// What the host has for the pattern of a session.
fn of_pattern(new: &NewSession, defaults: &DefaultLimits) -> Limits {
    let is_hybrid = match new.pattern {
        Pattern::Hybrid => true,
        Pattern::Ephemeral | Pattern::LongRunning | Pattern::SingleContainer => false,
    };
    let has_thread = is_hybrid && new.thread_key.is_some();
    Limits {
        max_turns: None,
        max_budget: None,
        max_fuel: None,
        max_fuel_per_turn: defaults.max_fuel_per_turn,
        max_memory_bytes: new.max_memory_bytes.unwrap_or(defaults.max_memory_bytes),
        turn_timeout: defaults.turn_timeout,
        max_idle: has_thread.then_some(defaults.thread_idle),
        idle_grace: None,
        max_lifetime: None,
        sleep_after: is_hybrid.then_some(defaults.hybrid_sleep_after),
        state_kept: defaults.hybrid_state_kept.filter(|_| is_hybrid),
    }
}

/// What its creator asks for.
fn asked(new: &NewSession) -> LimitsPatch {
    LimitsPatch {
        max_turns: set(new.max_turns),
        max_budget: set(new.max_budget),
        max_fuel: set(new.max_fuel),
        max_fuel_per_turn: set(new.max_fuel_per_turn),
        turn_timeout: set(new.turn_timeout),
        max_idle: set(new.max_idle),
        idle_grace: set(new.idle_grace),
        max_lifetime: set(new.max_lifetime),
        sleep_after: set(new.sleep_after),
        state_kept: set(new.state_kept),
    }
}

fn set<T>(value: Option<T>) -> Change<T> {
    value.map_or(Change::Keep, Change::Set)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = Change<u64>> {
        prop_oneof![Just(Change::Keep), Just(Change::Clear), (1..100_u64).prop_map(Change::Set)]
    }

    /// Changes of a limit that a session may lack, and of one that each session has.
    fn patch() -> impl Strategy<Value = LimitsPatch> {
        (change(), change()).prop_map(|(max_turns, max_fuel_per_turn)| LimitsPatch {
            max_turns,
            max_fuel_per_turn,
            ..LimitsPatch::default()
        })
    }

    /// The first of these that says anything. `None`: nothing does, or it says that there is no limit.
    fn first(changes: impl IntoIterator<Item = Change<u64>>) -> Option<u64> {
        match changes.into_iter().find(|change| *change != Change::Keep) {
            Some(Change::Set(value)) => Some(value),
            Some(Change::Clear | Change::Keep) | None => None,
        }
    }

    proptest! {
        #[test]
        fn a_limit_is_that_of_the_request_the_user_the_project_the_pattern_or_all(
            [all, pattern, project, user] in [patch(), patch(), patch(), patch()],
            (asked_turns, asked_fuel) in (proptest::option::of(1..100_u64), proptest::option::of(1..100_u64)),
            (is_user, is_project, is_pattern) in any::<(bool, bool, bool)>(),
        ) {
            let text = |is: bool| if is { "this" } else { "other" }.to_owned();
            let overrides = LimitOverrides {
                all,
                patterns: [(Pattern::LongRunning, pattern)].into(),
                projects: [("this".to_owned(), project)].into(),
                users: [("this".to_owned(), user)].into(),
            };
            let defaults = DefaultLimits { overrides, ..DefaultLimits::default() };
            let new = NewSession {
                pattern: if is_pattern { Pattern::LongRunning } else { Pattern::Ephemeral },
                user_id: Some(text(is_user)),
                project_id: Some(text(is_project)),
                max_turns: asked_turns,
                max_fuel_per_turn: asked_fuel,
                ..NewSession::default()
            };
            let layers = [(is_user, user), (is_project, project), (is_pattern, pattern), (true, all)];
            let layers = layers.into_iter().filter(|(is, _)| *is).map(|(_, patch)| patch);
            let turns = layers.clone().map(|patch| patch.max_turns);
            let fuel = layers.map(|patch| patch.max_fuel_per_turn);
            let limits = of(&new, &defaults);
            prop_assert_eq!(limits.max_turns, first([set(asked_turns)].into_iter().chain(turns)));
            let fuel = first([set(asked_fuel)].into_iter().chain(fuel));
            prop_assert_eq!(limits.max_fuel_per_turn, fuel.unwrap_or(defaults.max_fuel_per_turn));
        }
    }

    #[test]
    fn what_the_host_has_for_a_pattern_can_be_changed_and_taken_away() {
        let minute = Duration::from_secs(60);
        let patch = LimitsPatch {
            max_idle: Change::Set(minute),
            state_kept: Change::Clear,
            ..LimitsPatch::default()
        };
        let overrides =
            LimitOverrides { patterns: [(Pattern::Hybrid, patch)].into(), ..Default::default() };
        let mut new = NewSession::default().pattern(Pattern::Hybrid);
        new.thread_key = Some("t".to_owned());
        let plain = of(&new, &DefaultLimits::default());
        let changed = of(&new, &DefaultLimits { overrides, ..DefaultLimits::default() });
        let hybrid = DefaultLimits::default();
        assert_eq!(
            (plain.max_idle, plain.state_kept),
            (Some(hybrid.thread_idle), hybrid.hybrid_state_kept)
        );
        assert_eq!((changed.max_idle, changed.state_kept), (Some(minute), None));
        assert_eq!(changed.sleep_after, Some(hybrid.hybrid_sleep_after));
    }
}
