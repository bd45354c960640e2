//! Rows of one role in an instance of their own.

use std::ops::Range;
use std::sync::Arc;

use tracing::Instrument;

use super::births::Newborn;
use super::make::InstancePlace;
use super::memory::SharedAccount;
use crate::router::{self, Inbox};
use crate::view::{Seen, SeenBy};
use dormouse_domain::simulation::{Arrivals, Born, Column, Member, Outcome, Role, StepInput, Tick};
use dormouse_domain::time::Timestamp;
use dormouse_sandbox::{Fault, GuestFailure, Moment, Population};

/// The fuel that one call of an instance may use: no call of a population that comes to an end needs as much. A world that
/// is given up drops the call.
pub(super) const FUEL: u64 = 1 << 50;

/// What all instances of a world begin a tick with.
pub(super) struct TickInput {
    pub(super) at: Tick,
    pub(super) now: Timestamp,
    /// The keys of the random numbers, for each role.
    pub(super) keys: Vec<(u64, u64)>,
    /// What arrives, for each role.
    pub(super) arrivals: Arc<Vec<Vec<Inbox>>>,
    /// Who acts, for each role. `None`: all that have not ended.
    pub(super) acting: Vec<Option<Vec<Member>>>,
    /// Who has begun, for each role.
    pub(super) newborn: Vec<Newborn>,
    /// What is published at the end of the tick, for each role.
    pub(super) wanted: Vec<Vec<String>>,
    pub(super) seen: Arc<Seen>,
    /// What pays for what instances hand over.
    pub(super) memory: Arc<SharedAccount>,
    /// What one call may use.
    pub(super) fuel: u64,
}

/// An instance, and which rows it has.
pub(super) struct Shard {
    pub(super) population: Population,
    pub(super) first: Member,
    pub(super) count: u32,
    pub(super) ended: u32,
    #[expect(dead_code, reason = "held as long as the instance is there")]
    place: InstancePlace,
}

/// What came of a tick of an instance.
pub(super) struct Stepped {
    pub(super) role: Role,
    pub(super) outcome: Outcome,
    /// What its rows publish.
    pub(super) published: Vec<(String, Column)>,
    pub(super) acted: u64,
    pub(super) fuel: u64,
}

impl Shard {
    pub(super) fn new(
        population: Population,
        place: InstancePlace,
        first: Member,
        count: u32,
    ) -> Shard {
        Shard { population, first, count, ended: 0, place }
    }

    /// How many rows it has, those that have ended included.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn rows(&self) -> Range<Member> {
        self.first..self.first + self.count
    }

    /// Whether anything can come of stepping it.
    pub(super) fn has_work(&self, role: usize, input: &TickInput) -> bool {
        let rows = self.rows();
        let Some(acting) = &input.acting[role] else { return true };
        !input.wanted[role].is_empty()
            || acting
                .get(acting.partition_point(|member| *member < rows.start))
                .is_some_and(|member| *member < rows.end)
            || self.joins(&input.newborn[role])
            || input.arrivals[role].iter().any(|inbox| !inbox.places(rows.clone()).is_empty())
    }

    /// Whether these members become its rows.
    fn joins(&self, newborn: &Newborn) -> bool {
        newborn.joining() > 0 && newborn.members().start == self.first + self.count
    }

    /// Step all its rows, and let them publish what is wanted.
    pub(super) async fn step(&mut self, role: usize, input: &TickInput) -> Result<Stepped, Fault> {
        let newborn = &input.newborn[role];
        let born = self.joins(newborn).then(|| {
            let joining = newborn.joining();
            Born { count: joining, attributes: newborn.attributes(0..joining as usize) }
        });
        self.count += born.as_ref().map_or(0, |born| born.count);
        let rows = self.rows();
        let acting = input.acting[role].as_ref().map(|acting| {
            let place = |member| acting.partition_point(|own| *own < member);
            &acting[place(rows.start)..place(rows.end)]
        });
        let arrivals = input.arrivals[role].iter().map(|inbox| {
            let places = inbox.places(rows.clone());
            let of = |members: &'_ Vec<Member>| -> Range<usize> {
                if members.is_empty() { 0..0 } else { places.clone() }
            };
            Arrivals {
                role: inbox.by,
                kind: inbox.kind,
                to: &inbox.to[places.clone()],
                from: &inbox.from[of(&inbox.from)],
                values: if inbox.values.is_empty() {
                    inbox.values.as_slice()
                } else {
                    inbox.values.as_slice().part(places.clone())
                },
            }
        });
        let arrivals = arrivals.filter(|arrivals| !arrivals.to.is_empty()).collect();
        let acted = acting.map_or(u64::from(self.count - self.ended), |acting| acting.len() as u64);
        let step = StepInput { at: input.at, key: input.keys[role], acting, arrivals, born };
        let role = role as Role;
        let view = Arc::new(SeenBy { world: input.seen.clone(), role });
        let moment = Moment { now: input.now, view };
        let stepping = self.population.step(&step, moment, input.fuel);
        let mut outcome = stepping.instrument(tracing::debug_span!("rows")).await?;
        let mut fuel = self.population.used_fuel();
        pay(input, weight(&outcome))?;
        self.check(&outcome)?;
        outcome.ended.sort_unstable();
        outcome.ended.dedup();
        let ended = u32::try_from(outcome.ended.len()).unwrap_or(u32::MAX);
        self.ended = self.ended.saturating_add(ended).min(self.count);
        let mut published = Vec::new();
        for name in &input.wanted[role as usize] {
            let values = self.publish(name, input.fuel).await?;
            fuel = fuel.saturating_add(self.population.used_fuel());
            pay(input, values.as_slice().bytes())?;
            published.push((name.clone(), values));
        }
        Ok(Stepped { role, outcome, published, acted, fuel })
    }

    /// Whether all who have done something are rows of the instance, and it has one list for each kind and role.
    fn check(&self, outcome: &Outcome) -> Result<(), Fault> {
        let rows = self.rows();
        let Outcome { effects, births, ended, wake, .. } = outcome;
        let who = effects.iter().map(|effects| &effects.from);
        let who = who.chain(births.iter().map(|births| &births.parents)).chain([ended, wake]);
        if let Some(member) = who.flatten().find(|member| !rows.contains(*member)) {
            let last = rows.end.saturating_sub(1);
            let problem = format!(
                "member {member} has done something in an instance that has the rows {} to {last}",
                rows.start
            );
            return Err(wrong(problem));
        }
        let mut ways: Vec<_> = effects.iter().map(|effects| (effects.kind, effects.role)).collect();
        ways.sort_unstable();
        if ways.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(wrong("it has two lists of effects of one kind on one role".to_owned()));
        }
        Ok(())
    }

    /// What its rows publish under this name: a value each, which is a number.
    pub(super) async fn publish(&mut self, name: &str, fuel: u64) -> Result<Column, Fault> {
        let publishing = self.population.publish(name, fuel);
        let values = publishing.instrument(tracing::debug_span!("publish")).await?;
        if values.len() != self.count as usize {
            let problem =
                format!("{} rows publish {} values of `{name}`", self.count, values.len());
            return Err(wrong(problem));
        }
        if values.as_slice().has_nan() {
            return Err(wrong(format!("a value of `{name}` is no number (NaN)")));
        }
        Ok(values)
    }
}

fn pay(input: &TickInput, bytes: u64) -> Result<(), Fault> {
    input.memory.charge(bytes).map_err(|needed| Fault::HostOutOfMemory { needed })
}

/// What an outcome takes, in bytes.
fn weight(outcome: &Outcome) -> u64 {
    let effects = outcome.effects.iter().map(router::weight);
    let births = outcome.births.iter().map(|births| {
        let attributes = births.attributes.iter().map(|own| own.values.as_slice().bytes());
        of_members(&births.parents) + attributes.sum::<u64>()
    });
    let rest =
        of_members(&outcome.ended) + of_members(&outcome.wake) + of_members(&outcome.wake_in);
    effects.sum::<u64>() + births.sum::<u64>() + rest
}

fn of_members(members: &[Member]) -> u64 {
    size_of_val(members) as u64
}

/// What it means that an instance has handed over what cannot be.
fn wrong(problem: String) -> Fault {
    Fault::Failed(GuestFailure::Failed(problem))
}
