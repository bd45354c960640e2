//! A world that goes on, tick by tick.
//!
//! Invariants: what comes of a tick depends on the specification, the components, the seed and the tick alone; never on
//! how rows are split over instances, nor on which thread steps which instance when. What instances have done is put together in
//! the order of their rows, after all of them are done.

mod births;
mod keyframe;
mod letters;
mod make;
mod memory;
mod published;
mod sessions;
mod shard;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::bundle::AggregateValue;
use crate::chance::Chance;
use crate::fingerprint::{Chain, Fingerprint};
use crate::recording::{Answers, RecordedCall};
use crate::router::{EffectProblem, Inbox, RoleOfRouter, Router};
use crate::space::Space;
use crate::spec::{
    AggregateSpec, Change, Deed, ParameterSpec, ProgramStep, ScheduleSpec, SpecError, WorldSpec,
};
use crate::topology::Topology;
use crate::view::Seen;
use births::Newborn;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::simulation::{Column, Description, Member, Parameter, Role, Schedule, Tick};
use dormouse_sandbox::{Code, Fault};
use letters::Letter;
use memory::SharedAccount;
use sessions::Sessions;
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
    /// A member that is a session could not answer.
    #[error("tick {at}: member {member} of the role `{role}` failed: {fault}")]
    MemberFailed {
        /// The tick.
        at: Tick,
        /// The role.
        role: String,
        /// Its number.
        member: Member,
        /// What it did.
        fault: Fault,
    },
    /// What members ask models is not what was recorded of them.
    #[error("tick {at}: {problem}")]
    Differs {
        /// The tick.
        at: Tick,
        /// Who, and what.
        problem: String,
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
            WorldError::Failed { fault, .. } | WorldError::MemberFailed { fault, .. } => {
                fault.is_of_host()
            }
            WorldError::Spec(_)
            | WorldError::Differs { .. }
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
    /// What arrives with the next tick,
    arrivals: Arc<Vec<Vec<Inbox>>>,
    /// and the mail that does, sorted.
    letters: Vec<Letter>,
    answers: Arc<Answers>,
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
    calls: CallTotals,
}

/// What members of a world have asked language models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTotals {
    /// Calls that were made in this world.
    pub made: u64,
    /// What these have cost.
    pub cost: NanoUsd,
    /// Tokens that these have read and written.
    pub tokens: u64,
    /// Calls to which the world that it was forked from had the answer.
    pub inherited: u64,
    /// What these would have cost.
    pub saved: NanoUsd,
}

impl CallTotals {
    /// With one more.
    pub fn note(&mut self, call: &RecordedCall) {
        if !call.is_own {
            self.inherited += 1;
            self.saved += call.cost;
            return;
        }
        let tokens = call.tokens();
        self.made += 1;
        self.cost += call.cost;
        self.tokens = self.tokens.saturating_add(tokens);
    }
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
    /// In the order of their rows. None, where members are sessions.
    shards: Vec<Shard>,
    /// Its members, where they are sessions.
    sessions: Option<Sessions>,
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
    /// What members have asked language models, in the order of their places.
    pub calls: Vec<RecordedCall>,
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

    /// What its members have asked language models since it was made or restored.
    #[must_use]
    pub fn calls(&self) -> CallTotals {
        self.calls
    }

    /// How many instances its members have.
    #[must_use]
    pub fn instances(&self) -> usize {
        let of = |role: &RoleOfWorld| {
            role.shards.len() + role.sessions.as_ref().map_or(0, Sessions::instances)
        };
        self.roles.iter().map(of).sum()
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
    /// Each part of the work is a span at the level `debug`: `rows`, `publish`, `turns`, `merge`, `births`,
    /// `aggregates`, `show`, `hash`.
    ///
    /// # Errors
    /// A member failed. The world is of no use then.
    pub async fn tick(&mut self) -> Result<TickSummary, WorldError> {
        let at = self.at;
        let spec = self.spec.clone();
        for step in spec.program.iter().filter(|step| step.at == at) {
            match &step.deed {
                Deed::Set(change) => self.change(change).await?,
                Deed::Send(mail) => self.announce(mail)?,
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
        let letters = Arc::new(std::mem::take(&mut self.letters));
        let acting = self.acting(&letters);
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
        let turning = self.step_sessions(&input, &letters);
        let turns = turning.instrument(tracing::debug_span!("turns")).await?;
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
        let mut calls = Vec::new();
        let mut hashes: Vec<Vec<(Member, Fingerprint)>> =
            self.roles.iter().map(|_| Vec::new()).collect();
        for (role, turns) in turns.into_iter().enumerate() {
            if self.roles[role].sessions.is_none() {
                continue;
            }
            self.publish_sessions(role, &input.wanted[role], &mut columns);
            for turn in turns {
                steps += 1;
                self.fuel = self.fuel.saturating_add(turn.fuel);
                self.letters.extend(turn.letters);
                calls.extend(turn.calls);
                hashes[role].push((turn.member, turn.hash));
                if turn.is_complete {
                    ended[role].push(turn.member);
                }
            }
            self.note_ends(role, &ended[role]);
        }
        letters::sort(&mut self.letters);
        calls.iter().for_each(|call| self.calls.note(call));
        if let Some(problem) = self.answers.left_of(at) {
            return Err(WorldError::Differs { at, problem });
        }
        self.at = at + 1;
        self.steps += steps;
        tracing::debug_span!("merge").in_scope(|| {
            let mut sent = effects.into_iter().enumerate();
            sent.try_for_each(|(role, effects)| self.send(role, at, effects))
        })?;
        self.bear(births).instrument(tracing::debug_span!("births")).await?;
        let value = |place: &usize| AggregateValue {
            at,
            place: *place,
            value: self.statistic(&self.spec.aggregates[*place], &columns),
        };
        let computing = tracing::debug_span!("aggregates");
        let aggregates = computing.in_scope(|| due.iter().map(value).collect());
        self.end_tick(at, columns, ended, &hashes)?;
        let fuel = self.fuel - before;
        Ok(TickSummary { at, steps, fuel, hash: self.chain.last(), aggregates, calls })
    }

    /// Some parameters of a role have other values from now on.
    async fn change(&mut self, change: &Change) -> Result<(), WorldError> {
        let (place, now) = (self.place_of(&change.role)?, self.spec.clock.at(self.at));
        let own = &mut self.roles[place];
        match &mut own.sessions {
            Some(sessions) if change.parameters.is_empty() => {
                sessions.configure(change.members.as_deref(), &change.config);
                self.chain.extend(self.at, |link| {
                    link.section("configure", place as u64);
                    link.document(&(&change.members, &change.config));
                });
                return Ok(());
            }
            Some(_) => {
                let problem =
                    "its members are sessions: they have a configuration, and no parameters";
                return Err(wrong(own, self.at, problem.to_owned()));
            }
            None if !change.config.is_empty() => {
                let problem = "its members are rows: they have parameters, and no configuration";
                return Err(wrong(own, self.at, problem.to_owned()));
            }
            None => {}
        }
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

    fn place_of(&self, role: &str) -> Result<usize, WorldError> {
        let place = self.roles.iter().position(|own| own.name == role);
        place.ok_or_else(|| WorldError::Invalid {
            field: "role".to_owned(),
            problem: format!("the world has no members of the role `{role}`"),
        })
    }

    /// Who acts in this tick, for each role. `None`: all that have not ended.
    fn acting(&mut self, letters: &[Letter]) -> Vec<Option<Vec<Member>>> {
        let (at, now) = (self.at, self.spec.clock.at(self.at));
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
                if let Some(sessions) = &role.sessions {
                    acting.extend(sessions.due(now));
                    let own = letters.iter().filter(|letter| letter.to.0 as usize == place);
                    acting.extend(own.map(|letter| letter.to.1));
                }
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

    /// The tick is over: what others see of it, and what arrives with the next.
    fn end_tick(
        &mut self,
        at: Tick,
        mut columns: Vec<BTreeMap<String, Column>>,
        ended: Vec<Vec<Member>>,
        turns: &[Vec<(Member, Fingerprint)>],
    ) -> Result<(), WorldError> {
        let aggregates =
            self.read.iter().map(|read| (read.name.clone(), self.statistic(read, &columns)));
        let aggregates = aggregates.collect();
        let roles = self.roles.iter().zip(&mut columns);
        let roles = roles.map(|(role, columns)| {
            let shown = role.shown.iter().filter_map(|name| columns.remove_entry(name)).collect();
            self.show(role, role.size, shown)
        });
        let showing = tracing::debug_span!("show");
        let roles = showing.in_scope(|| roles.collect::<Result<Vec<_>, _>>())?;
        self.seen = Arc::new(Seen { roles, aggregates });
        let roles: Vec<RoleOfRouter<'_>> = self.roles.iter().map(RoleOfWorld::of_router).collect();
        let chance = self.chance;
        let merging = tracing::debug_span!("merge");
        let arrivals = merging
            .in_scope(|| self.router.arrivals(at + 1, &roles, |role| chance.key(role, at)))
            .map_err(|problem| WorldError::Arrivals { at, problem: problem.to_string() })?;
        let (seen, own) = (&self.seen, &self.roles);
        let hashing = tracing::debug_span!("hash").entered();
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
                for (member, hash) in &turns[place] {
                    link.section("turn", u64::from(*member));
                    link.bytes(hash);
                }
            }
        });
        drop(hashing);
        self.arrivals = Arc::new(arrivals);
        self.keep_what_is_kept();
        Ok(())
    }

    /// Give back what was paid for and is gone.
    fn keep_what_is_kept(&self) {
        let arriving = self.arrivals.iter().flatten().map(Inbox::bytes).sum::<u64>();
        let columns = self.seen.roles.iter().flat_map(|role| role.columns.values());
        let shown = columns.map(|values| values.as_slice().bytes()).sum::<u64>();
        let spaces = self.seen.roles.iter().filter_map(|role| role.space.as_ref());
        let shown = shown + spaces.map(Space::bytes).sum::<u64>();
        let letters = self.letters.iter().map(Letter::bytes).sum::<u64>();
        let sessions = self.roles.iter().filter_map(|role| role.sessions.as_ref());
        let sessions = sessions.map(Sessions::bytes).sum::<u64>();
        let under_way = self.router.bytes() + arriving + letters;
        self.memory.keep(self.standing + under_way + shown + sessions);
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
