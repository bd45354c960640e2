//! The way of effects from those who do something to those to whom it is done.
//!
//! What arrives with a member depends on what was done alone: never on which instance did it, or when it was stepped. Outcomes
//! come in the order of those who acted; effects on one member arrive in the order of (tick in which they were done, who did it,
//! and for the same member, the order in which it did them), or folded by a rule that needs no order.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use dormouse_domain::simulation::{
    Column, ColumnKind, ColumnSlice, EffectKind, Effects, Fold, Member, Role, Tick,
};

use crate::chance::Chance;
use crate::fingerprint::Link;

/// Below which part of a role's members it is faster to sort effects than to look at all members.
const SPARSE: usize = 16;

/// Why effects cannot be delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EffectProblem {
    #[error("it did something of kind {kind}, and has {kinds} kinds of effects")]
    Kind { kind: u32, kinds: usize },
    #[error("it did something to a member of role {role}, and the world has {roles} roles")]
    Role { role: Role, roles: usize },
    #[error("it did `{kind}` to member {to}, and the role has members 0 to {last}")]
    Member { kind: String, to: Member, last: Member },
    #[error(
        "its effects `{kind}` are columns of different lengths, or of another type than it described"
    )]
    Columns { kind: String },
    #[error("an effect `{kind}` has a value that is no number (NaN)")]
    Nan { kind: String },
    #[error("its effects `{kind}` are not in the order of the rows that did them")]
    Order { kind: String },
    #[error(
        "more than 1 GiB of effects is under way, or they arrive in too many different ticks; let fewer be delayed"
    )]
    TooMany,
    #[error("an effect `{kind}` is to arrive in 0 ticks, or in more than {MAX_DELAY}")]
    Delay { kind: String },
}

/// The most that is under way in a world, in bytes.
const MAX_UNDER_WAY: u64 = 1 << 30;
/// The most lists of effects that are under way: one for each tick in which something arrives, kind and roles. Each takes a
/// kilobyte, however few effects it has.
const MAX_PILES: usize = 100_000;

/// The most ticks that an effect is under way.
const MAX_DELAY: u32 = 1 << 24;

/// What arrives with the members of one role, of one kind of effect that members of one role have.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Inbox {
    pub(crate) by: Role,
    pub(crate) kind: u32,
    /// In ascending order.
    pub(crate) to: Vec<Member>,
    /// Empty, where the fold tells nobody apart.
    pub(crate) from: Vec<Member>,
    pub(crate) values: Column,
}

impl Inbox {
    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let members = size_of_val(self.from.as_slice()) + size_of_val(self.to.as_slice());
        members as u64 + self.values.as_slice().bytes()
    }

    /// The places of what arrives with the members of this range.
    pub(crate) fn places(&self, members: std::ops::Range<Member>) -> std::ops::Range<usize> {
        let place = |member| self.to.partition_point(|to| *to < member);
        place(members.start)..place(members.end)
    }
}

/// Effects that several instances did, of one kind on members of one role, and that arrive in the same tick.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
struct Pile {
    from: Vec<Member>,
    to: Vec<Member>,
    values: Column,
}

/// From whom, of which kind, to whom.
type Way = (Role, u32, Role);

/// What is under way in a world.
#[derive(Debug, Default, BorshSerialize, BorshDeserialize)]
pub(crate) struct Router {
    /// What arrives in later ticks, and what that takes, in bytes.
    under_way: BTreeMap<Tick, BTreeMap<Way, Pile>>,
    bytes: u64,
    piles: usize,
    /// Sums, by member: kept from one tick to the next for its memory.
    #[borsh(skip)]
    sums: Vec<i64>,
    #[borsh(skip)]
    counts: Vec<u32>,
}

/// What a role is to the router.
pub(crate) struct RoleOfRouter<'w> {
    pub(crate) kinds: &'w [EffectKind],
    /// Members there are or were.
    pub(crate) size: u32,
    /// Which of them have ended, where any have.
    pub(crate) ended: Option<&'w [bool]>,
}

impl Router {
    /// Put what the instances of a role have done in a tick on its way. `outcomes` come in the order of their rows, and
    /// where rows act by number, each has what it did in that order.
    ///
    /// # Errors
    /// They did what cannot be done: nothing of the tick counts then.
    pub(crate) fn send(
        &mut self,
        by: Role,
        at: Tick,
        outcomes: Vec<Vec<Effects>>,
        rows_act_by_number: bool,
        roles: &[RoleOfRouter<'_>],
    ) -> Result<(), EffectProblem> {
        for effects in outcomes.into_iter().flatten() {
            let kind = check(&effects, &roles[by as usize], roles)?;
            if rows_act_by_number && !effects.from.is_sorted() {
                return Err(EffectProblem::Order { kind: kind.name.clone() });
            }
            self.bytes += weight(&effects);
            if self.bytes > MAX_UNDER_WAY {
                return Err(EffectProblem::TooMany);
            }
            let way = (by, effects.kind, effects.role);
            if effects.delay.is_empty() {
                let arriving = self.under_way.entry(at + 1).or_default();
                match arriving.entry(way) {
                    std::collections::btree_map::Entry::Vacant(free) => {
                        self.piles += 1;
                        let Effects { from, to, values, .. } = effects;
                        free.insert(Pile { from, to, values });
                    }
                    std::collections::btree_map::Entry::Occupied(mut pile) => {
                        pile.get_mut().add(&effects, 0..effects.to.len());
                    }
                }
                continue;
            }
            for (place, delay) in effects.delay.iter().enumerate() {
                let arriving = self.under_way.entry(at + Tick::from(*delay)).or_default();
                let pile = arriving.entry(way).or_insert_with(|| {
                    self.piles += 1;
                    Pile::of(kind)
                });
                if self.piles > MAX_PILES {
                    return Err(EffectProblem::TooMany);
                }
                pile.add(&effects, place..place + 1);
            }
        }
        Ok(())
    }

    /// What arrives in this tick, for each role: as many lists as there are roles.
    ///
    /// # Errors
    /// A sum is no number.
    pub(crate) fn arrivals(
        &mut self,
        at: Tick,
        roles: &[RoleOfRouter<'_>],
        key: impl Fn(Role) -> (u64, u64),
    ) -> Result<Vec<Vec<Inbox>>, EffectProblem> {
        let mut inboxes: Vec<Vec<Inbox>> = roles.iter().map(|_| Vec::new()).collect();
        let arriving = self.under_way.remove(&at).unwrap_or_default();
        self.piles -= arriving.len();
        self.bytes -= arriving.values().map(Pile::bytes).sum::<u64>();
        for ((by, kind, to), pile) in arriving {
            let role = &roles[to as usize];
            let of_kind = &roles[by as usize].kinds[kind as usize];
            let mut inbox = self.fold(of_kind, pile, role.size as usize, key(to));
            (inbox.by, inbox.kind) = (by, kind);
            if let Some(ended) = role.ended {
                inbox.forget(ended);
            }
            if inbox.values.as_slice().has_nan() {
                return Err(EffectProblem::Nan { kind: of_kind.name.clone() });
            }
            if !inbox.to.is_empty() {
                inboxes[to as usize].push(inbox);
            }
        }
        Ok(inboxes)
    }

    /// What all that is under way takes, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hash what is under way.
    pub(crate) fn hash(&self, link: &mut Link) {
        for (tick, arriving) in &self.under_way {
            link.section("arriving", *tick);
            for ((by, kind, to), pile) in arriving {
                link.section("way", u64::from(*by) << 32 | u64::from(*kind));
                link.section("to", u64::from(*to));
                link.members(&pile.from);
                link.members(&pile.to);
                link.column(pile.values.as_slice());
            }
        }
    }

    fn fold(&mut self, kind: &EffectKind, pile: Pile, size: usize, key: (u64, u64)) -> Inbox {
        let dense = pile.to.len() * SPARSE >= size;
        match (kind.fold, &pile.values) {
            (Fold::Sum, Column::Integers(values)) if dense => {
                self.sum_densely(&pile.to, (!values.is_empty()).then_some(values), size)
            }
            _ => sorted(kind, pile, key),
        }
    }

    /// The sums of these values, or of 1 for each, by looking at all members.
    fn sum_densely(&mut self, to: &[Member], values: Option<&Vec<i64>>, size: usize) -> Inbox {
        // How much was done to each member, beside a sum that may be 0.
        self.counts.clear();
        self.counts.resize(size, 0);
        for to in to {
            self.counts[*to as usize] += 1;
        }
        let (members, sums) = match values {
            None => occupied(&self.counts, |_, count| i64::from(count)),
            Some(values) => {
                self.sums.clear();
                self.sums.resize(size, 0);
                for (to, value) in to.iter().zip(values) {
                    let sum = &mut self.sums[*to as usize];
                    *sum = sum.wrapping_add(*value);
                }
                let sums = &self.sums;
                occupied(&self.counts, |member, _| sums[member])
            }
        };
        Inbox { by: 0, kind: 0, to: members, from: Vec::new(), values: Column::Integers(sums) }
    }
}

/// What effects take, in bytes. When each arrives is not kept with it.
pub(crate) fn weight(effects: &Effects) -> u64 {
    let Effects { from, to, values, .. } = effects;
    (size_of_val(from.as_slice()) + size_of_val(to.as_slice())) as u64 + values.as_slice().bytes()
}

impl Pile {
    fn bytes(&self) -> u64 {
        let members = size_of_val(self.from.as_slice()) + size_of_val(self.to.as_slice());
        members as u64 + self.values.as_slice().bytes()
    }

    fn of(kind: &EffectKind) -> Pile {
        let values = kind.values.unwrap_or(ColumnKind::Integers).empty();
        Pile { from: Vec::new(), to: Vec::new(), values }
    }

    fn add(&mut self, effects: &Effects, places: std::ops::Range<usize>) {
        self.to.extend_from_slice(&effects.to[places.clone()]);
        if !effects.from.is_empty() {
            self.from.extend_from_slice(&effects.from[places.clone()]);
        }
        if !effects.values.is_empty() {
            let same = self.values.append(effects.values.as_slice().part(places));
            debug_assert!(same, "the values of effects of one kind are of one type");
        }
    }
}

impl Inbox {
    /// Leave out what was done to members that have ended.
    fn forget(&mut self, ended: &[bool]) {
        if !self.to.iter().any(|to| ended[*to as usize]) {
            return;
        }
        let left: Vec<u32> = (0..)
            .zip(&self.to)
            .filter(|(_, to)| !ended[**to as usize])
            .map(|(place, _)| place)
            .collect();
        let pick = |from: &Vec<Member>| left.iter().map(|place| from[*place as usize]).collect();
        if !self.from.is_empty() {
            self.from = pick(&self.from);
        }
        if !self.values.is_empty() {
            self.values = self.values.pick(&left);
        }
        self.to = pick(&self.to);
    }
}

/// Whether what was done can be done. Answers with its kind.
fn check<'w>(
    effects: &Effects,
    by: &RoleOfRouter<'w>,
    roles: &[RoleOfRouter<'_>],
) -> Result<&'w EffectKind, EffectProblem> {
    let kinds = by.kinds.len();
    let kind = by.kinds.get(effects.kind as usize);
    let kind = kind.ok_or(EffectProblem::Kind { kind: effects.kind, kinds })?;
    let name = || kind.name.clone();
    let of_role = roles.get(effects.role as usize);
    let of_role = of_role.ok_or(EffectProblem::Role { role: effects.role, roles: roles.len() })?;
    let count = effects.to.len();
    let has_values = match kind.values {
        Some(kind) => effects.values.len() == count && effects.values.kind() == kind,
        None => effects.values == Column::Integers(Vec::new()),
    };
    let has_from = if kind.fold.names_senders() {
        effects.from.len() == count
    } else {
        effects.from.is_empty()
    };
    if !has_values || !has_from || !(effects.delay.is_empty() || effects.delay.len() == count) {
        return Err(EffectProblem::Columns { kind: name() });
    }
    if effects.values.as_slice().has_nan() {
        return Err(EffectProblem::Nan { kind: name() });
    }
    if effects.delay.iter().any(|delay| *delay == 0 || *delay > MAX_DELAY) {
        return Err(EffectProblem::Delay { kind: name() });
    }
    match effects.to.iter().find(|to| **to >= of_role.size) {
        Some(to) => Err(EffectProblem::Member {
            kind: name(),
            to: *to,
            last: of_role.size.saturating_sub(1),
        }),
        None => Ok(kind),
    }
}

/// The members that have a count, and this value of each. Every member is written and only some are kept: which of them have one cannot
/// be foreseen, and a branch that goes wrong takes longer than a write.
fn occupied(counts: &[u32], value: impl Fn(usize, u32) -> i64) -> (Vec<Member>, Vec<i64>) {
    let (mut members, mut values) = (vec![0; counts.len()], vec![0; counts.len()]);
    let mut kept = 0;
    for (place, count) in counts.iter().enumerate() {
        members[kept] = place as Member;
        values[kept] = value(place, *count);
        kept += usize::from(*count > 0);
    }
    members.truncate(kept);
    values.truncate(kept);
    (members, values)
}

/// What arrives, by sorting.
fn sorted(kind: &EffectKind, pile: Pile, key: (u64, u64)) -> Inbox {
    let Pile { from, to, values } = pile;
    // Member and place in one number: places of the same member stay in their order.
    let mut order: Vec<u64> =
        to.iter().zip(0_u64..).map(|(to, place)| u64::from(*to) << 32 | place).collect();
    order.sort_unstable();
    let place = |packed: &u64| (*packed & u64::from(u32::MAX)) as u32;
    let member = |packed: &u64| (*packed >> 32) as u32;
    if kind.fold == Fold::Each {
        let places: Vec<u32> = order.iter().map(place).collect();
        return Inbox {
            by: 0,
            kind: 0,
            to: order.iter().map(member).collect(),
            from: places.iter().map(|place| from[*place as usize]).collect(),
            values: if values.is_empty() { values } else { values.pick(&places) },
        };
    }
    let mut told =
        Inbox { by: 0, kind: 0, to: Vec::new(), from: Vec::new(), values: values.kind().empty() };
    for done in order.chunk_by(|a, b| member(a) == member(b)) {
        let to = member(&done[0]);
        told.to.push(to);
        let places = done.iter().map(|packed| place(packed) as usize);
        match (kind.fold, values.as_slice(), &mut told.values) {
            (Fold::First, values, into) => {
                let least =
                    |place: &usize| (Chance::claim(key, to, from[*place]), from[*place], *place);
                let chosen = places.min_by_key(least).unwrap_or_default();
                told.from.push(from[chosen]);
                if !values.is_empty() {
                    let same = into.append(values.part(chosen..chosen + 1));
                    debug_assert!(same, "a column of the same type");
                }
            }
            (_, ColumnSlice::Integers([]), Column::Integers(into)) => into.push(done.len() as i64),
            (fold, ColumnSlice::Integers(values), Column::Integers(into)) => {
                let values = places.map(|place| values[place]);
                into.extend(match fold {
                    Fold::Min => values.min(),
                    Fold::Max => values.max(),
                    Fold::Sum | Fold::Each | Fold::First => values.reduce(i64::wrapping_add),
                });
            }
            (fold, ColumnSlice::Numbers(values), Column::Numbers(into)) => {
                let values = places.map(|place| values[place]);
                into.extend(match fold {
                    Fold::Min => values.min_by(f64::total_cmp),
                    Fold::Max => values.max_by(f64::total_cmp),
                    // In the order of who did it: never another.
                    Fold::Sum | Fold::Each | Fold::First => values.reduce(|a, b| a + b),
                });
            }
            (_, _, _) => {}
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(fold: Fold, values: Option<ColumnKind>) -> EffectKind {
        EffectKind { name: "push".to_owned(), fold, values }
    }

    fn role(kinds: &[EffectKind], size: u32) -> RoleOfRouter<'_> {
        RoleOfRouter { kinds, size, ended: None }
    }

    fn effects(from: &[u32], to: &[u32], values: Column) -> Effects {
        Effects {
            kind: 0,
            role: 0,
            from: from.to_vec(),
            to: to.to_vec(),
            values,
            delay: Vec::new(),
        }
    }

    fn arrives(kinds: &[EffectKind], size: u32, done: Vec<Effects>) -> Inbox {
        let roles = [role(kinds, size)];
        let mut router = Router::default();
        router
            .send(0, 0, done.into_iter().map(|one| vec![one]).collect(), true, &roles)
            .expect("sent");
        router.arrivals(1, &roles, |_| (1, 2)).expect("they arrive").remove(0).remove(0)
    }

    #[test]
    fn sums_are_the_same_whether_they_are_looked_up_or_sorted() {
        for values in [None, Some(ColumnKind::Integers)] {
            let kinds = [kind(Fold::Sum, values)];
            let to = [3, 1, 3, 0, 3];
            let given =
                values.map_or(Column::Integers(vec![]), |_| Column::Integers(vec![5, -5, 1, 0, 2]));
            let dense = arrives(&kinds, 8, vec![effects(&[], &to, given.clone())]);
            let sparse = arrives(&kinds, 1_000_000, vec![effects(&[], &to, given)]);
            assert_eq!(dense, sparse);
            let sums = if values.is_some() { vec![0, -5, 8] } else { vec![1, 1, 3] };
            assert_eq!((dense.to, dense.values), (vec![0, 1, 3], Column::Integers(sums)));
        }
    }

    #[test]
    fn each_arrives_in_the_order_of_who_did_it() {
        let kinds = [kind(Fold::Each, Some(ColumnKind::Numbers))];
        let done = vec![
            effects(&[0, 0, 1], &[2, 1, 2], Column::Numbers(vec![0.1, 0.2, 0.3])),
            effects(&[2, 3], &[2, 1], Column::Numbers(vec![0.4, 0.5])),
        ];
        let inbox = arrives(&kinds, 4, done);
        assert_eq!(inbox.to, [1, 1, 2, 2, 2]);
        assert_eq!(inbox.from, [0, 3, 0, 1, 2]);
        assert_eq!(inbox.values, Column::Numbers(vec![0.2, 0.5, 0.1, 0.3, 0.4]));
    }

    #[test]
    fn a_claim_goes_to_one_whom_chance_decides_and_not_always_to_the_first() {
        let kinds = [kind(Fold::First, None)];
        let roles = [role(&kinds, 100)];
        let mut firsts = 0;
        for tick in 0..100 {
            let mut router = Router::default();
            let done = effects(&[1, 2, 3, 4], &[7; 4], Column::Integers(vec![]));
            router.send(0, 0, vec![vec![done]], true, &roles).expect("sent");
            let inbox =
                router.arrivals(1, &roles, |_| (tick, 2)).expect("they arrive").remove(0).remove(0);
            assert_eq!(inbox.to, [7]);
            firsts += u32::from(inbox.from == [1]);
        }
        assert!((10..45).contains(&firsts), "{firsts}");
    }

    #[test]
    fn what_cannot_be_done_is_told() {
        let kinds = [kind(Fold::Each, Some(ColumnKind::Numbers))];
        let roles = [role(&kinds, 4)];
        let refused = |done: Effects| {
            Router::default().send(0, 0, vec![vec![done]], true, &roles).expect_err("refused")
        };
        let number = |value: f64| Column::Numbers(vec![value]);
        assert!(matches!(
            refused(effects(&[0], &[4], number(1.0))),
            EffectProblem::Member { to: 4, .. }
        ));
        assert!(matches!(
            refused(effects(&[0], &[1], number(f64::NAN))),
            EffectProblem::Nan { .. }
        ));
        assert!(matches!(refused(effects(&[], &[1], number(1.0))), EffectProblem::Columns { .. }));
        assert!(matches!(
            refused(effects(&[0], &[1], Column::Integers(vec![1]))),
            EffectProblem::Columns { .. }
        ));
        let two = Column::Numbers(vec![1.0, 2.0]);
        assert!(matches!(refused(effects(&[1, 0], &[1, 1], two)), EffectProblem::Order { .. }));
        let later = Effects { delay: vec![0], ..effects(&[0], &[1], number(1.0)) };
        assert!(matches!(refused(later), EffectProblem::Delay { .. }));
        let elsewhere = Effects { role: 1, ..effects(&[0], &[1], number(1.0)) };
        assert!(matches!(refused(elsewhere), EffectProblem::Role { role: 1, .. }));
    }

    #[test]
    fn what_is_delayed_arrives_when_it_is_due_and_before_what_was_done_since() {
        let kinds = [kind(Fold::Each, None)];
        let roles = [role(&kinds, 4)];
        let mut router = Router::default();
        let early = Effects { delay: vec![2], ..effects(&[3], &[0], Column::Integers(vec![])) };
        router.send(0, 0, vec![vec![early]], true, &roles).expect("sent");
        assert_eq!(router.arrivals(1, &roles, |_| (0, 0)), Ok(vec![vec![]]));
        router
            .send(0, 1, vec![vec![effects(&[1], &[0], Column::Integers(vec![]))]], true, &roles)
            .expect("sent");
        assert_eq!(router.arrivals(2, &roles, |_| (0, 0)).expect("they arrive")[0][0].from, [3, 1]);
        assert!(router.under_way.is_empty());
        assert_eq!((router.bytes, router.piles), (0, 0));
    }

    #[test]
    fn no_more_ticks_have_something_to_come_than_there_is_room_for() {
        let kinds = [kind(Fold::Sum, None)];
        let roles = [role(&kinds, 4)];
        let delayed = |ticks: u32| {
            let to = vec![0; ticks as usize];
            let delay = (1..=ticks).collect();
            let done = Effects { delay, ..effects(&[], &to, Column::Integers(vec![])) };
            Router::default().send(0, 0, vec![vec![done]], true, &roles)
        };
        let most = u32::try_from(MAX_PILES).expect("few");
        assert_eq!(delayed(most), Ok(()));
        assert_eq!(delayed(most + 1), Err(EffectProblem::TooMany));
    }
}
