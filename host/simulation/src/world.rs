//! A world that goes on, tick by tick.
//!
//! Invariants: what comes of a tick depends on the specification, the components, the seed and the tick alone; never on
//! how rows are split over instances, nor on which thread steps which instance when. What instances have done is put together in
//! the order of their rows, after all of them are done.

mod births;
mod keyframe;
mod make;
mod memory;
mod shard;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::aggregate::statistic;
use crate::bundle::AggregateValue;
use crate::chance::Chance;
use crate::fingerprint::{Chain, Fingerprint};
use crate::router::{EffectProblem, Inbox, RoleOfRouter, Router};
use crate::spec::{
    AggregateSpec, Change, Deed, ParameterSpec, ProgramStep, ScheduleSpec, SpecError, WorldSpec,
};
use crate::topology::Topology;
use crate::view::{Seen, SeenRole};
use births::Newborn;
use dormouse_domain::simulation::{Column, Description, Member, Parameter, Role, Schedule, Tick};
use dormouse_sandbox::{Code, Fault};
use memory::SharedAccount;
use shard::{FUEL, Shard, Stepped, TickInput};

pub use keyframe::Keyframe;
pub use make::{MadeOf, Places};

/// The most wakes of a role that are under way.
const MAX_WAITING: usize = 4 << 20;

/// Why a world does not go on.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The specification does not fit its populations. Says what to change.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field of the specification.
        field: String,
        /// What to change.
        problem: String,
    },
    /// It has more instances than there are places for.
    #[error(
        "the world would have {instances} instances, and there are places for {places}: let each instance hold \
         more rows, `rows = {rows}` or `rows = \"auto\"`"
    )]
    TooLarge {
        /// How many it would have.
        instances: u64,
        /// How many it may have.
        places: u32,
        /// How many rows each has to hold.
        rows: u32,
    },
    /// Other worlds have the places that it needs.
    #[error(
        "this world and others have the {all} places for instances: try again when one of them is gone, or let each \
         instance hold more rows"
    )]
    NoPlace {
        /// How many there are.
        all: u32,
    },
    /// The host has no memory for what a world holds beside its instances. Trying later may help.
    #[error(
        "the host has no memory left for the world, which needs {needed} bytes more; try again later, or with fewer members"
    )]
    OutOfMemory {
        /// What it needs more, in bytes.
        needed: u64,
    },
    /// An instance failed.
    #[error("tick {at}: members of the role `{role}` failed: {fault}")]
    Failed {
        /// The tick.
        at: Tick,
        /// The role.
        role: String,
        /// What it did.
        fault: Fault,
    },
    /// Members did what cannot be done.
    #[error("tick {at}: members of the role `{role}` did what cannot be done: {problem}")]
    Wrong {
        /// The tick.
        at: Tick,
        /// The role.
        role: String,
        /// What it was.
        problem: String,
    },
    /// The specification makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// What is done to members cannot arrive.
    #[error("tick {at}: {problem}")]
    Arrivals {
        /// The tick.
        at: Tick,
        /// Why.
        problem: String,
    },
    /// A keyframe is damaged, or of another world or version of the host.
    #[error("the keyframe cannot be used: {0}")]
    Keyframe(String),
    /// Anything else.
    #[error("{0}")]
    Host(String),
}

impl WorldError {
    /// Whether the world is well, and the host could not go on with it: another time it may.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        match self {
            WorldError::NoPlace { .. } | WorldError::OutOfMemory { .. } | WorldError::Host(_) => {
                true
            }
            WorldError::Failed { fault, .. } => fault.is_of_host(),
            WorldError::Spec(_)
            | WorldError::Invalid { .. }
            | WorldError::TooLarge { .. }
            | WorldError::Wrong { .. }
            | WorldError::Arrivals { .. }
            | WorldError::Keyframe(_) => false,
        }
    }
}

/// A world.
pub struct World {
    spec: Arc<WorldSpec>,
    chance: Chance,
    threads: usize,
    runtime: Handle,
    places: Places,
    /// The tick that comes next.
    at: Tick,
    roles: Vec<RoleOfWorld>,
    router: Router,
    /// What arrives with the next tick.
    arrivals: Arc<Vec<Vec<Inbox>>>,
    seen: Arc<Seen>,
    /// The aggregates that members read.
    read: Vec<AggregateSpec>,
    chain: Chain,
    /// What the host keeps for the world is paid with this, beside what its instances have.
    memory: Arc<SharedAccount>,
    /// Of that, what stays the same from tick to tick, in bytes.
    standing: u64,
    steps: u64,
    fuel: u64,
    /// How much its members may use in all.
    fuel_limit: Option<u64>,
}

/// One role of a world.
struct RoleOfWorld {
    name: String,
    code: Arc<Code>,
    description: Description,
    /// As they are now.
    parameters: BTreeMap<String, ParameterSpec>,
    topology: Arc<Topology>,
    /// The columns that somebody reads each tick.
    shown: Vec<String>,
    /// In the order of their rows.
    shards: Vec<Shard>,
    /// How many rows an instance has at most.
    rows: u32,
    /// Members there are or were.
    size: u32,
    /// Which of them have ended. `None`: nobody has.
    ended: Option<Vec<bool>>,
    /// Who is to act in later ticks, where a reason is needed, and how many these are.
    wakes: BTreeMap<Tick, Vec<Member>>,
    waiting: usize,
    /// Who has begun and acts with the next tick for the first time.
    newborn: Newborn,
}

/// What came of one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct TickSummary {
    /// Its number.
    pub at: Tick,
    /// How many members have acted.
    pub steps: u64,
    /// The fuel that they have used.
    pub fuel: u64,
    /// The hash of all that has come of the world up to its end.
    pub hash: Fingerprint,
    /// The aggregates that are due.
    pub aggregates: Vec<AggregateValue>,
}

impl World {
    /// The specification that it is made of.
    #[must_use]
    pub fn spec(&self) -> &WorldSpec {
        &self.spec
    }

    /// How many ticks it has behind it.
    #[must_use]
    pub fn ticks(&self) -> Tick {
        self.at
    }

    /// How often a member has acted.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The fuel that its members have used.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// How much fuel its members may use in all: a call that uses up what is left of it ends with
    /// [`Fault::FuelExhausted`]. Whether it is reached is looked at between ticks, by whoever takes the world through them.
    pub fn limit_fuel(&mut self, limit: Option<u64>) {
        self.fuel_limit = limit;
    }

    /// How many instances share its rows.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.roles.iter().map(|role| role.shards.len()).sum()
    }

    /// Do this to the world before one of its next ticks. It becomes a part of its specification.
    ///
    /// # Errors
    /// It cannot be done, or its tick is over. Nothing has changed.
    pub fn intervene(&mut self, step: ProgramStep) -> Result<(), SpecError> {
        Arc::make_mut(&mut self.spec).intervene(step, self.at)
    }

    /// Go on by one tick.
    ///
    /// # Errors
    /// A member failed. The world is of no use then.
    pub async fn tick(&mut self) -> Result<TickSummary, WorldError> {
        let at = self.at;
        let spec = self.spec.clone();
        for step in spec.program.iter().filter(|step| step.at == at) {
            match &step.deed {
                Deed::Set(change) => self.change(change).await?,
                Deed::Pause => {}
            }
        }
        let before = self.fuel;
        let is_last = at + 1 == self.spec.ticks;
        let due: Vec<usize> = (0..self.spec.aggregates.len())
            .filter(|place| is_last || at.is_multiple_of(self.spec.aggregates[*place].every))
            .collect();
        let wanted: Vec<Vec<String>> =
            (0..self.roles.len()).map(|role| self.wanted(role, &due)).collect();
        let acting = self.acting();
        let newborn = self.roles.iter_mut().map(|role| std::mem::take(&mut role.newborn)).collect();
        let input = Arc::new(TickInput {
            at,
            now: self.spec.clock.at(at),
            keys: (0..).take(self.roles.len()).map(|role| self.chance.key(role, at)).collect(),
            arrivals: self.arrivals.clone(),
            acting,
            newborn,
            wanted,
            seen: self.seen.clone(),
            memory: self.memory.clone(),
            fuel: self
                .fuel_limit
                .map_or(FUEL, |limit| limit.saturating_sub(self.fuel).clamp(1, FUEL)),
        });
        let stepped = self.step(&input).await?;
        let mut columns: Vec<BTreeMap<String, Column>> =
            self.roles.iter().map(|_| BTreeMap::new()).collect();
        let mut steps = 0;
        let mut effects: Vec<Vec<_>> = self.roles.iter().map(|_| Vec::new()).collect();
        let mut births = Vec::new();
        let mut ended: Vec<Vec<Member>> = self.roles.iter().map(|_| Vec::new()).collect();
        for Stepped { role, outcome, published, acted, fuel } in stepped {
            steps += acted;
            self.fuel = self.fuel.saturating_add(fuel);
            self.put_together(role, published, &mut columns)?;
            let role = role as usize;
            self.note_ends(role, &outcome.ended);
            ended[role].extend_from_slice(&outcome.ended);
            self.note_wakes(role, &outcome.wake, &outcome.wake_in)?;
            births.extend(outcome.births.into_iter().map(|births| (role, births)));
            effects[role].push(outcome.effects);
        }
        self.at = at + 1;
        self.steps += steps;
        for (role, effects) in effects.into_iter().enumerate() {
            self.send(role, at, effects)?;
        }
        self.bear(births).await?;
        let value = |place: &usize| AggregateValue {
            at,
            place: *place,
            value: self.statistic(&self.spec.aggregates[*place], &columns),
        };
        let aggregates = due.iter().map(value).collect();
        self.end_tick(at, columns, ended)?;
        let fuel = self.fuel - before;
        Ok(TickSummary { at, steps, fuel, hash: self.chain.last(), aggregates })
    }

    /// Some parameters of a role have other values from now on.
    async fn change(&mut self, change: &Change) -> Result<(), WorldError> {
        let (place, now) = (self.place_of(&change.role)?, self.spec.clock.at(self.at));
        let own = &mut self.roles[place];
        own.parameters.extend(change.parameters.clone());
        let parameters = own.parameters();
        for shard in &mut own.shards {
            shard.population.stand_still(now, self.at);
            let changed = shard.population.change(&parameters, FUEL).await;
            let (at, role) = (self.at, own.name.clone());
            changed.map_err(|fault| WorldError::Failed { at, role, fault })?;
        }
        self.chain.extend(self.at, |link| {
            link.section("set", place as u64);
            link.document(&change.parameters);
        });
        Ok(())
    }

    /// What has come of the world so far, as one hash.
    ///
    /// # Errors
    /// A population does not publish what it described.
    pub async fn fingerprint(&mut self) -> Result<Fingerprint, WorldError> {
        let mut link = self.chain.fingerprint(self.at);
        self.router.hash(&mut link);
        for role in 0..self.roles.len() {
            for name in self.roles[role].description.columns.clone() {
                let values = self.column(role, &name).await?;
                link.section(&name, role as u64);
                link.column(values.as_slice());
            }
        }
        Ok(link.finish())
    }

    /// All columns of the role of this name, in the order in which its population describes them.
    ///
    /// # Errors
    /// As [`World::column_of`].
    pub async fn columns_of(&mut self, role: &str) -> Result<Vec<(String, Column)>, WorldError> {
        let place = self.place_of(role)?;
        let mut columns = Vec::new();
        for name in self.roles[place].description.columns.clone() {
            let values = self.column(place, &name).await?;
            columns.push((name, values));
        }
        Ok(columns)
    }

    /// How many members of the role of this name there are or were.
    ///
    /// # Errors
    /// There is no such role.
    pub fn size_of(&self, role: &str) -> Result<u32, WorldError> {
        Ok(self.roles[self.place_of(role)?].size)
    }

    /// What these members of a role publish, and no other: by name, in the order in which its population describes it.
    ///
    /// # Errors
    /// As [`World::column`], and where there is no such role.
    pub async fn some_of(
        &mut self,
        role: &str,
        members: Range<Member>,
    ) -> Result<Vec<(String, Column)>, WorldError> {
        let (place, at, now) = (self.place_of(role)?, self.at, self.spec.clock.at(self.at));
        let own = &mut self.roles[place];
        // Those who have just begun publish with their first tick.
        let end = members.end.min(own.size - own.newborn.count());
        let mut columns = Vec::new();
        for name in own.description.columns.clone() {
            let mut some: Option<Column> = None;
            for shard in &mut own.shards {
                let rows = shard.rows();
                let (from, to) = (members.start.max(rows.start), end.min(rows.end));
                if from >= to {
                    continue;
                }
                shard.population.stand_still(now, at);
                let values = shard.publish(&name, FUEL).await;
                let role = own.name.clone();
                let values = values.map_err(|fault| WorldError::Failed { at, role, fault })?;
                let places = (from - rows.start) as usize..(to - rows.start) as usize;
                let part = values.as_slice().part(places);
                let is_of_one_type = match &mut some {
                    None => {
                        some = Some(part.to_owned());
                        true
                    }
                    Some(some) => some.append(part),
                };
                if !is_of_one_type {
                    return Err(wrong(own, at, format!("`{name}` has values of two types")));
                }
            }
            columns.push((name, some.unwrap_or(Column::Integers(Vec::new()))));
        }
        Ok(columns)
    }

    /// The same of one column of the role of this name.
    ///
    /// # Errors
    /// As [`World::column`], and where there is no such role.
    pub async fn column_of(&mut self, role: &str, name: &str) -> Result<Column, WorldError> {
        let place = self.place_of(role)?;
        self.column(place, name).await
    }

    fn place_of(&self, role: &str) -> Result<usize, WorldError> {
        let place = self.roles.iter().position(|own| own.name == role);
        place.ok_or_else(|| WorldError::Invalid {
            field: "role".to_owned(),
            problem: format!("the world has no members of the role `{role}`"),
        })
    }

    /// What all members of a role publish under this name now, those that have ended included.
    ///
    /// # Errors
    /// They publish nothing of that name, or fail at it.
    pub async fn column(&mut self, role: usize, name: &str) -> Result<Column, WorldError> {
        let (at, now) = (self.at, self.spec.clock.at(self.at));
        let own = &mut self.roles[role];
        let mut whole: Option<Column> = None;
        for number in 0..own.shards.len() {
            let shard = &mut own.shards[number];
            // Those who have just begun publish with their first tick, whichever instance they are in.
            if shard.rows().start >= own.size - own.newborn.count() {
                break;
            }
            shard.population.stand_still(now, at);
            let part = shard.publish(name, FUEL).await;
            let part =
                part.map_err(|fault| WorldError::Failed { at, role: own.name.clone(), fault })?;
            let is_of_one_type = match &mut whole {
                None => {
                    whole = Some(part);
                    true
                }
                Some(whole) => whole.append(part.as_slice()),
            };
            if !is_of_one_type {
                return Err(wrong(own, at, format!("`{name}` has values of two types")));
            }
        }
        Ok(whole.unwrap_or(Column::Integers(Vec::new())))
    }

    /// The columns that instances of a role publish at the end of this tick.
    fn wanted(&self, role: usize, due: &[usize]) -> Vec<String> {
        let role = &self.roles[role];
        let mut wanted = role.shown.clone();
        let of_aggregates = due.iter().map(|place| &self.spec.aggregates[*place]).chain(&self.read);
        for aggregate in of_aggregates {
            if let Some((of, column)) = aggregate.of.split_once('.')
                && of == role.name
                && !wanted.iter().any(|name| name == column)
            {
                wanted.push(column.to_owned());
            }
        }
        wanted
    }

    /// Who acts in this tick, for each role. `None`: all that have not ended.
    fn acting(&mut self) -> Vec<Option<Vec<Member>>> {
        let at = self.at;
        let by_event = self.spec.schedule == ScheduleSpec::ByEvent;
        let arrivals = self.arrivals.clone();
        let roles = self.roles.iter_mut().enumerate();
        roles
            .map(|(place, role)| {
                if !by_event || at == 0 {
                    return None;
                }
                let mut acting = role.wakes.remove(&at).unwrap_or_default();
                role.waiting -= acting.len();
                acting.extend(arrivals[place].iter().flat_map(|inbox| inbox.to.iter().copied()));
                acting.extend(role.newborn.members());
                acting.sort_unstable();
                acting.dedup();
                if let Some(ended) = &role.ended {
                    acting.retain(|member| !ended[*member as usize]);
                }
                Some(acting)
            })
            .collect()
    }

    /// Step all instances that have something to do, on as many threads as there are. What they did comes in the order of
    /// their rows.
    async fn step(&mut self, input: &Arc<TickInput>) -> Result<Vec<Stepped>, WorldError> {
        let mut idle: Vec<Vec<Option<Shard>>> = Vec::new();
        let mut jobs = Vec::new();
        for (place, role) in self.roles.iter_mut().enumerate() {
            let mut waiting = Vec::new();
            for (number, shard) in std::mem::take(&mut role.shards).into_iter().enumerate() {
                if shard.has_work(place, input) {
                    jobs.push((place, number, shard));
                    waiting.push(None);
                } else {
                    waiting.push(Some(shard));
                }
            }
            idle.push(waiting);
        }
        let mut stepped = Vec::with_capacity(jobs.len());
        let mut failed = None;
        for batch in run(&self.runtime, self.threads, jobs, input).await? {
            for (place, number, shard, outcome) in batch {
                idle[place][number] = Some(shard);
                match outcome {
                    Ok(outcome) => stepped.push(outcome),
                    // The first by the order of rows, whichever came first.
                    Err(fault) => failed = failed.or(Some((place, fault))),
                }
            }
        }
        for (role, shards) in self.roles.iter_mut().zip(idle) {
            role.shards = shards.into_iter().flatten().collect();
        }
        match failed {
            Some((place, fault)) => Err(WorldError::Failed {
                at: input.at,
                role: self.roles[place].name.clone(),
                fault,
            }),
            None => Ok(stepped),
        }
    }

    /// Put what an instance has published behind what those before it have.
    fn put_together(
        &self,
        role: Role,
        published: Vec<(String, Column)>,
        columns: &mut [BTreeMap<String, Column>],
    ) -> Result<(), WorldError> {
        let own = &self.roles[role as usize];
        for (name, values) in published {
            match columns[role as usize].entry(name) {
                std::collections::btree_map::Entry::Vacant(free) => {
                    free.insert(values);
                }
                std::collections::btree_map::Entry::Occupied(mut before) => {
                    if !before.get_mut().append(values.as_slice()) {
                        let problem = format!("`{}` has values of two types", before.key());
                        return Err(wrong(own, self.at, problem));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the rows of an instance act in the order of their numbers. Under other schedules a role has one instance, whose
    /// own order counts.
    fn rows_act_by_number(&self) -> bool {
        Schedule::from(self.spec.schedule).splits()
    }

    /// Rows of this role have ended, each of which is there.
    fn note_ends(&mut self, role: usize, ended: &[Member]) {
        let own = &mut self.roles[role];
        if ended.is_empty() {
            return;
        }
        let size = own.size as usize;
        let all = own.ended.get_or_insert_with(|| vec![false; size]);
        ended.iter().for_each(|member| all[*member as usize] = true);
    }

    fn note_wakes(
        &mut self,
        role: usize,
        wake: &[Member],
        wake_in: &[u32],
    ) -> Result<(), WorldError> {
        let (at, own) = (self.at, &mut self.roles[role]);
        if wake.len() != wake_in.len() {
            return Err(wrong(own, at, "it wakes other members than it says when".to_owned()));
        }
        if self.spec.schedule != ScheduleSpec::ByEvent {
            // All rows act anyway.
            return Ok(());
        }
        own.waiting += wake.len();
        if own.waiting > MAX_WAITING {
            return Err(wrong(own, at, format!("more than {MAX_WAITING} wakes are under way")));
        }
        for (member, ticks) in wake.iter().zip(wake_in) {
            if *ticks == 0 {
                let problem = format!("it wakes member {member} in 0 ticks: in 1 or more");
                return Err(wrong(own, at, problem));
            }
            let due = at + Tick::from(*ticks);
            if due < self.spec.ticks {
                own.wakes.entry(due).or_default().push(*member);
            } else {
                own.waiting -= 1;
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        by: usize,
        at: Tick,
        effects: Vec<Vec<dormouse_domain::simulation::Effects>>,
    ) -> Result<(), WorldError> {
        let rows_act_by_number = self.rows_act_by_number();
        let roles: Vec<RoleOfRouter<'_>> = self.roles.iter().map(RoleOfWorld::of_router).collect();
        let sent = self.router.send(by as Role, at, effects, rows_act_by_number, &roles);
        sent.map_err(|problem: EffectProblem| wrong(&self.roles[by], at, problem.to_string()))
    }

    /// The value of an aggregate, from what was published at the end of the tick.
    fn statistic(
        &self,
        aggregate: &AggregateSpec,
        columns: &[BTreeMap<String, Column>],
    ) -> Option<f64> {
        let (role, column) = aggregate.of.split_once('.')?;
        let place = self.roles.iter().position(|own| own.name == role)?;
        let values = columns[place].get(column)?;
        let ended = self.roles[place].ended.as_deref();
        // Those that were born in this tick have published nothing yet.
        statistic(aggregate.is, values.as_slice(), ended.map(|ended| &ended[..values.len()]))
    }

    /// The tick is over: what others see of it, and what arrives with the next.
    fn end_tick(
        &mut self,
        at: Tick,
        mut columns: Vec<BTreeMap<String, Column>>,
        ended: Vec<Vec<Member>>,
    ) -> Result<(), WorldError> {
        let aggregates =
            self.read.iter().map(|read| (read.name.clone(), self.statistic(read, &columns)));
        let aggregates = aggregates.collect();
        let roles = self.roles.iter().zip(&mut columns);
        let roles = roles.map(|(role, columns)| SeenRole {
            size: role.size,
            topology: role.topology.clone(),
            columns: role.shown.iter().filter_map(|name| columns.remove_entry(name)).collect(),
        });
        self.seen = Arc::new(Seen { roles: roles.collect(), aggregates });
        let roles: Vec<RoleOfRouter<'_>> = self.roles.iter().map(RoleOfWorld::of_router).collect();
        let chance = self.chance;
        let arrivals = self.router.arrivals(at + 1, &roles, |role| chance.key(role, at));
        let arrivals = arrivals
            .map_err(|problem| WorldError::Arrivals { at, problem: problem.to_string() })?;
        let (seen, own) = (&self.seen, &self.roles);
        self.chain.extend(at, |link| {
            for (place, (role, inboxes)) in own.iter().zip(&arrivals).enumerate() {
                link.section("role", place as u64);
                inboxes.iter().for_each(|inbox| link.inbox(inbox));
                for (name, values) in &seen.roles[place].columns {
                    link.section(name, u64::from(role.size));
                    link.column(values.as_slice());
                }
                role.newborn.hash(link);
                link.section("ended", ended[place].len() as u64);
                link.members(&ended[place]);
            }
        });
        self.arrivals = Arc::new(arrivals);
        self.keep_what_is_kept();
        Ok(())
    }

    /// Give back what was paid for and is gone.
    fn keep_what_is_kept(&self) {
        let arriving = self.arrivals.iter().flatten().map(Inbox::bytes).sum::<u64>();
        let columns = self.seen.roles.iter().flat_map(|role| role.columns.values());
        let shown = columns.map(|values| values.as_slice().bytes()).sum::<u64>();
        self.memory.keep(self.standing + self.router.bytes() + arriving + shown);
    }
}

impl RoleOfWorld {
    /// As its population is told them.
    fn parameters(&self) -> Vec<(String, Parameter)> {
        let each = self.parameters.iter();
        each.map(|(name, value)| (name.clone(), Parameter::from(value.clone()))).collect()
    }

    fn of_router(&self) -> RoleOfRouter<'_> {
        RoleOfRouter {
            kinds: &self.description.effects,
            size: self.size,
            ended: self.ended.as_deref(),
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("name", &self.spec.name)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

fn wrong(role: &RoleOfWorld, at: Tick, problem: String) -> WorldError {
    WorldError::Wrong { at, role: role.name.clone(), problem }
}

/// An instance, by its role and its place among those of the role.
type Job = (usize, usize, Shard);
type Done = (usize, usize, Shard, Result<Stepped, Fault>);

/// Step these instances, on so many threads. In their order.
async fn run(
    runtime: &Handle,
    threads: usize,
    mut jobs: Vec<Job>,
    input: &Arc<TickInput>,
) -> Result<Vec<Vec<Done>>, WorldError> {
    let rows: u64 = jobs.iter().map(|(_, _, shard)| u64::from(shard.count())).sum();
    let each = rows.div_ceil(threads as u64).max(1);
    let mut tasks = Vec::new();
    // The last part is done here; those before it on other threads meanwhile.
    while tasks.len() + 1 < threads && jobs.len() > 1 {
        let mut taken = 0;
        let so_many = jobs.iter().take_while(|(_, _, shard)| {
            let more = taken < each;
            taken += u64::from(shard.count());
            more
        });
        let part: Vec<Job> = {
            let so_many = so_many.count().max(1);
            jobs.drain(..so_many).collect()
        };
        tasks.push(AbortOnDropHandle::new(runtime.spawn(step_all(part, input.clone()))));
    }
    let last = step_all(jobs, input.clone()).await;
    let mut done = Vec::with_capacity(tasks.len() + 1);
    for task in tasks {
        done.push(task.await.map_err(|error| WorldError::Host(error.to_string()))?);
    }
    done.push(last);
    Ok(done)
}

async fn step_all(jobs: Vec<Job>, input: Arc<TickInput>) -> Vec<Done> {
    let mut done = Vec::with_capacity(jobs.len());
    for (role, number, mut shard) in jobs {
        let stepped = shard.step(role, &input).await;
        done.push((role, number, shard, stepped));
    }
    done
}
