//! How a world is made of its specification.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::births::Newborn;
use super::memory::SharedAccount;
use super::sessions::Sessions;
use super::shard::{FUEL, Shard};
use super::{CallTotals, RoleOfWorld, World, WorldError};
use crate::attributes::attributes;
use crate::chance::Chance;
use crate::fingerprint::Chain;
use crate::recording::Answers;
use crate::router::Router;
use crate::spec::{
    AggregateSpec, Deed, MAX_SESSIONS, MembersSpec, RowsSpec, ScheduleSpec, SpecError, WorldSpec,
};
use crate::topology::Topology;
use crate::view::Seen;
use dormouse_base::memory::MemoryBudget;
use dormouse_base::shares::{Share, Shares};
use dormouse_domain::agent::{Digest, Statefulness};
use dormouse_domain::id::Principal;
use dormouse_domain::simulation::{Description, Member, Named, PopulationSetup, Role, Schedule};
use dormouse_sandbox::{Code, Fault, Grant, Population};

/// The most rows of an instance: what they hand over in one call fits what a call may carry.
const MAX_ROWS: u32 = 1 << 20;
/// The fewest rows for which it is worth to use another thread.
const WORTH_A_THREAD: u32 = 4 << 10;

/// A population that members are rows of.
#[derive(Clone, Debug)]
pub struct MadeOf {
    /// Its code.
    pub code: Arc<Code>,
    /// What it is.
    pub digest: Digest,
}

/// Where the instances of a world live.
#[derive(Clone)]
pub struct Places {
    /// Of which each has one.
    pub instances: Arc<Semaphore>,
    /// How many there are, whoever has them.
    pub all: u32,
    /// The most memory of each, in bytes.
    pub max_memory_bytes: u64,
    /// What their memory is paid with.
    pub memory: MemoryBudget,
    /// How many threads step them.
    pub threads: usize,
    /// What principals share of them, and for whom the world is. `None`: there is nobody to share with.
    pub shares: Option<(Shares, Principal)>,
}

/// A place of an instance, as long as it is not dropped.
pub(super) struct InstancePlace {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
}

impl Places {
    /// A place for an instance.
    pub(super) fn take_one(&self) -> Result<InstancePlace, WorldError> {
        let none = || WorldError::NoPlace { all: self.all };
        let share = match &self.shares {
            Some((shares, owner)) => Some(shares.take(owner, 1).ok_or_else(none)?),
            None => None,
        };
        let taken = self.instances.clone().try_acquire_owned();
        Ok(InstancePlace { _permit: taken.map_err(|_| none())?, _share: share })
    }
}

impl World {
    /// Make a world before its first tick. `made_of` has a component for each of its roles: where it is a population, the members
    /// are its rows, and otherwise each is a session of it. What they ask models has these answers.
    ///
    /// # Errors
    /// [`WorldError::Invalid`] and [`WorldError::TooLarge`] say what to change.
    pub async fn make(
        spec: Arc<WorldSpec>,
        made_of: Vec<MadeOf>,
        answers: Answers,
        places: Places,
        runtime: Handle,
    ) -> Result<World, WorldError> {
        let mut world = World::empty(spec, &made_of, answers, places, runtime).await?;
        for place in 0..world.roles.len() {
            world.populate(place).await?;
        }
        world.memory.keep(world.standing);
        world.decide_what_is_read()?;
        world.begin(&made_of).await?;
        Ok(world)
    }

    /// Whether a specification makes sense, and its members are what their components make of them.
    ///
    /// # Errors
    /// [`SpecError::Invalid`] names the field.
    pub fn check(spec: &WorldSpec, made_of: &[MadeOf]) -> Result<(), SpecError> {
        spec.check()?;
        let mut members = spec.members.iter().zip(made_of).enumerate();
        members.try_for_each(|(place, (members, made_of))| {
            check_kind(members, made_of, place, spec.schedule)
        })?;
        let mut steps = spec.program.iter().enumerate();
        steps.try_for_each(|(place, step)| check_deed(spec, made_of, &step.deed, place))
    }

    /// Make a world without instances.
    pub(super) async fn empty(
        spec: Arc<WorldSpec>,
        made_of: &[MadeOf],
        answers: Answers,
        places: Places,
        runtime: Handle,
    ) -> Result<World, WorldError> {
        World::check(&spec, made_of)?;
        let chance = Chance::of_seed(spec.seed);
        let schedule = Schedule::from(spec.schedule);
        let rows: Vec<u32> =
            spec.members.iter().map(|members| rows_of(members, schedule, places.threads)).collect();
        check_places(&spec, made_of, &rows, &places)?;
        let is_small = |members: &MembersSpec| schedule.splits() || members.count <= MAX_ROWS;
        if let Some(place) = spec.members.iter().position(|members| !is_small(members)) {
            return Err(WorldError::Invalid {
                field: format!("members[{place}].count"),
                problem: format!(
                    "under this schedule all members of a role are in one instance, which has {MAX_ROWS} rows at most"
                ),
            });
        }
        let memory = Arc::new(SharedAccount::new(&places.memory));
        let topologies = topologies(&spec, chance, &memory).await?;
        let standing = topologies.iter().map(Topology::bytes).sum();
        let roles = spec.members.iter().zip(made_of).zip(rows).zip(topologies);
        let roles = roles.map(|(((members, made_of), rows), topology)| {
            role_of(members, made_of, rows, Arc::new(topology))
        });
        let roles = roles.collect();
        Ok(World {
            chance,
            threads: places.threads.max(1),
            runtime,
            places,
            at: 0,
            roles,
            router: Router::default(),
            arrivals: Arc::new(spec.members.iter().map(|_| Vec::new()).collect()),
            letters: Vec::new(),
            answers: Arc::new(answers),
            seen: Arc::default(),
            read: Vec::new(),
            chain: Chain::begin(|_| {}),
            memory,
            standing,
            steps: 0,
            fuel: 0,
            fuel_limit: None,
            calls: CallTotals::default(),
            spec,
        })
    }

    /// What members of a role have from their beginning.
    async fn attributes_of(&mut self, place: usize) -> Result<Vec<Named>, WorldError> {
        let members = self.spec.members[place].clone();
        let values = u64::from(members.count) * members.attributes.len() as u64;
        self.memory.charge(values * 8).map_err(|needed| WorldError::OutOfMemory { needed })?;
        let chance = self.chance;
        blocking(move || attributes(&members, place as Role, &chance)).await
    }

    /// The members of a role as they begin, where they are sessions. `None`: they are rows.
    pub(super) async fn sessions_of(
        &mut self,
        place: usize,
    ) -> Result<Option<Sessions>, WorldError> {
        if self.roles[place].code.is_population() {
            return Ok(None);
        }
        let attributes = self.attributes_of(place).await?;
        let (spec, role) = (&self.spec.members[place], place as Role);
        Ok(Some(Sessions::new(role, spec, attributes, self.resident(), &self.chance)))
    }

    /// How many members of a role that are sessions are in memory at most: all such roles have as many places each, and one is left
    /// for a survey.
    fn resident(&self) -> u32 {
        let roles = self.roles.iter().filter(|role| !role.code.is_population()).count();
        let rows = self.roles.iter().filter(|role| role.code.is_population());
        let of_rows = rows.map(|role| role.size.div_ceil(role.rows)).sum::<u32>();
        let roles = u32::try_from(roles).unwrap_or(u32::MAX).max(1);
        (self.places.all.saturating_sub(of_rows + 1) / roles).max(1)
    }

    /// Make the instances of a role. Those of sessions are made when they are needed.
    async fn populate(&mut self, place: usize) -> Result<(), WorldError> {
        self.roles[place].sessions = self.sessions_of(place).await?;
        if self.roles[place].sessions.is_some() {
            return Ok(());
        }
        let members = self.spec.members[place].clone();
        let all = self.attributes_of(place).await?;
        let rows = self.roles[place].rows;
        for first in (0..members.count).step_by(rows as usize) {
            let count = rows.min(members.count - first);
            let range = first as usize..(first + count) as usize;
            let part = |own: &Named| Named {
                name: own.name.clone(),
                values: own.values.as_slice().part(range.clone()).to_owned(),
            };
            let shard =
                self.make_shard(place, first, count, all.iter().map(part).collect()).await?;
            self.roles[place].shards.push(shard);
        }
        Ok(())
    }

    /// Make one instance, with these rows.
    pub(super) async fn make_shard(
        &mut self,
        place: usize,
        first: Member,
        count: u32,
        attributes: Vec<Named>,
    ) -> Result<Shard, WorldError> {
        let members = &self.spec.members[place];
        let role = place as Role;
        let setup = PopulationSetup {
            roles: self.spec.members.iter().map(|members| members.role.clone()).collect(),
            role,
            first,
            count,
            size: members.count,
            schedule: self.spec.schedule.into(),
            parameters: self.roles[place].parameters(),
            attributes,
        };
        let permit = self.places.take_one()?;
        let code = self.roles[place].code.clone();
        let made = make(&code, self.grant(role), self.places.memory.account(), &setup).await;
        let (population, description) = made.map_err(|fault| not_made(place, fault))?;
        let own = &mut self.roles[place];
        if own.shards.is_empty() {
            check_description(&description).map_err(|problem| WorldError::Invalid {
                field: format!("members[{place}].agent"),
                problem,
            })?;
            own.description = description;
        }
        Ok(Shard::new(population, permit, first, count))
    }

    /// What instances of a role start with.
    pub(super) fn grant(&self, role: Role) -> Grant {
        Grant {
            max_memory_bytes: self.places.max_memory_bytes,
            seed: self.chance.of_guests(role),
            turn: 0,
            attempt: 0,
            now: self.spec.clock.at(self.at),
            monotonic_ns: 0,
            files: None,
        }
    }

    /// Which columns and aggregates are shown to members: those that any of them reads.
    pub(super) fn decide_what_is_read(&mut self) -> Result<(), WorldError> {
        let reads: Vec<String> =
            self.roles.iter().flat_map(|role| role.description.reads.iter().cloned()).collect();
        for role in &mut self.roles {
            let columns = role.description.columns.iter();
            let is_in_space = places_of(&self.spec, &role.description.columns);
            let of_space = |name: &String| is_in_space.is_some_and(|names| names.contains(name));
            let shown = columns.filter(|name| reads.contains(name) || of_space(name));
            role.shown = shown.cloned().collect();
        }
        if let Some(space) = &self.spec.space
            && !self
                .roles
                .iter()
                .any(|role| places_of(&self.spec, &role.description.columns).is_some())
        {
            let [x, y] = &space.columns;
            return Err(WorldError::Invalid {
                field: "space.columns".to_owned(),
                problem: format!("members of no role publish both `{x}` and `{y}`"),
            });
        }
        let read = self.spec.aggregates.iter().filter(|aggregate| reads.contains(&aggregate.name));
        self.read = read.cloned().collect();
        for (place, aggregate) in self.spec.aggregates.iter().enumerate() {
            let Some((role, column)) = aggregate.of.split_once('.') else { continue };
            let own = self.roles.iter().find(|own| own.name == role);
            let columns = own.map(|own| own.description.columns.as_slice()).unwrap_or_default();
            if !columns.iter().any(|name| name == column) {
                return Err(WorldError::Invalid {
                    field: format!("aggregates[{place}].of"),
                    problem: format!("members of the role `{role}` publish {}", listed(columns)),
                });
            }
        }
        Ok(())
    }

    /// Show what members read before the first tick, and begin the chain of hashes.
    async fn begin(&mut self, made_of: &[MadeOf]) -> Result<(), WorldError> {
        let mut columns: Vec<BTreeMap<_, _>> = Vec::new();
        for place in 0..self.roles.len() {
            let mut shown = BTreeMap::new();
            for name in self.wanted(place, &[]) {
                let values = self.column(place, &name).await?;
                shown.insert(name, values);
            }
            columns.push(shown);
        }
        let aggregates =
            self.read.iter().map(|read| (read.name.clone(), self.statistic(read, &columns)));
        let aggregates = aggregates.collect();
        let roles = self.roles.iter().zip(columns).map(|(role, columns)| {
            let shown = columns.into_iter().filter(|(name, _)| role.shown.contains(name));
            self.show(role, role.size, shown.collect())
        });
        let roles = roles.collect::<Result<Vec<_>, _>>()?;
        self.seen = Arc::new(Seen { roles, aggregates });
        let (spec, read, seen) = (&self.spec, &self.read, &self.seen);
        self.chain = Chain::begin(|link| {
            spec.hash(link);
            made_of.iter().for_each(|made_of| link.bytes(&made_of.digest.0));
            for AggregateSpec { name, of, is, every: _ } in read {
                link.document(&(name, of, is));
            }
            for role in &seen.roles {
                for (name, values) in &role.columns {
                    link.section(name, u64::from(role.size));
                    link.column(values.as_slice());
                }
            }
        });
        Ok(())
    }
}

/// The columns of the space of a world, where members that publish these columns are in it.
pub(super) fn places_of<'s>(spec: &'s WorldSpec, published: &[String]) -> Option<&'s [String; 2]> {
    let columns = &spec.space.as_ref()?.columns;
    columns.iter().all(|name| published.contains(name)).then_some(columns)
}

/// Who stands next to whom, for each role. It is made where threads may block: what is drawn takes a while.
async fn topologies(
    spec: &Arc<WorldSpec>,
    chance: Chance,
    memory: &SharedAccount,
) -> Result<Vec<Topology>, WorldError> {
    let mut made = Vec::with_capacity(spec.members.len());
    for place in 0..spec.members.len() {
        let spec = spec.clone();
        let one = move || {
            let members = &spec.members[place];
            Topology::of(&members.topology, members.count, place as Role, &chance)
        };
        let topology = blocking(one).await?;
        memory.charge(topology.bytes()).map_err(|needed| WorldError::OutOfMemory { needed })?;
        made.push(topology);
    }
    Ok(made)
}

/// Do this on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorldError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| WorldError::Host(error.to_string()))
}

/// Whether members are specified as what their component makes of them.
fn check_kind(
    members: &MembersSpec,
    made_of: &MadeOf,
    place: usize,
    schedule: ScheduleSpec,
) -> Result<(), SpecError> {
    let invalid = |field: &str, problem: String| {
        Err(SpecError::Invalid { field: format!("members[{place}].{field}"), problem })
    };
    if made_of.code.is_population() {
        return match members.of_sessions() {
            Some(field) => invalid(
                field,
                "its agent is a population, whose members are rows: they have parameters and attributes instead"
                    .to_owned(),
            ),
            None => Ok(()),
        };
    }
    if !members.parameters.is_empty() {
        let problem = "its agent is no population: members are sessions, and have a `config`";
        return invalid("parameters", problem.to_owned());
    }
    if members.count > MAX_SESSIONS {
        let problem = format!("a role of sessions has at most {MAX_SESSIONS} members");
        return invalid("count", problem);
    }
    if !matches!(schedule, ScheduleSpec::Simultaneous | ScheduleSpec::ByEvent) {
        let problem = "its agent is no population: members are sessions, which act at once; let the schedule be \
                       `simultaneous` or `by-event`";
        return invalid("agent", problem.to_owned());
    }
    if !made_of.code.is_whole_in_snapshots() {
        let problem = "no image can be taken of the agent: a member would not be the same in another instance";
        return invalid("agent", problem.to_owned());
    }
    Ok(())
}

/// Whether what is done to members can be done to members of their kind.
fn check_deed(
    spec: &WorldSpec,
    made_of: &[MadeOf],
    deed: &Deed,
    place: usize,
) -> Result<(), SpecError> {
    let (word, role, is_of_rows) = match deed {
        Deed::Pause => return Ok(()),
        Deed::Set(change) => ("set", &change.role, !change.parameters.is_empty()),
        Deed::Send(mail) => ("send", &mail.role, false),
    };
    let made_of = &made_of[spec.place_of(role)?];
    if made_of.code.is_population() == is_of_rows {
        return Ok(());
    }
    let problem = if is_of_rows {
        "its members are sessions: they have a configuration, and no parameters"
    } else {
        "its members are rows: they have parameters, and neither a configuration nor mail"
    };
    let (field, problem) = (format!("program[{place}].do.{word}.role"), problem.to_owned());
    Err(SpecError::Invalid { field, problem })
}

fn role_of(
    members: &MembersSpec,
    made_of: &MadeOf,
    rows: u32,
    topology: Arc<Topology>,
) -> RoleOfWorld {
    // What members that are sessions publish and read, their specification says.
    let description = if made_of.code.is_population() {
        Description::default()
    } else {
        let (columns, reads) = (members.columns.clone(), members.reads.clone());
        Description { columns, effects: Vec::new(), reads }
    };
    RoleOfWorld {
        name: members.role.clone(),
        code: made_of.code.clone(),
        description,
        sessions: None,
        parameters: members.parameters.clone(),
        topology,
        shown: Vec::new(),
        shards: Vec::new(),
        rows,
        size: members.count,
        ended: None,
        wakes: BTreeMap::new(),
        waiting: 0,
        newborn: Newborn::default(),
    }
}

/// How many rows an instance of this role has at most.
fn rows_of(members: &MembersSpec, schedule: Schedule, threads: usize) -> u32 {
    if !schedule.splits() {
        return MAX_ROWS;
    }
    match members.rows {
        RowsSpec::AtMost(rows) => rows.min(MAX_ROWS),
        RowsSpec::Auto => {
            let threads = u32::try_from(threads.max(1)).unwrap_or(1);
            members.count.div_ceil(threads).clamp(WORTH_A_THREAD, MAX_ROWS)
        }
    }
}

fn check_places(
    spec: &WorldSpec,
    made_of: &[MadeOf],
    rows: &[u32],
    places: &Places,
) -> Result<(), WorldError> {
    // Of members that are sessions as many are in memory as there are places for.
    let instances = |members: &MembersSpec, made_of: &MadeOf, rows: u32| {
        if made_of.code.is_population() { members.count.div_ceil(rows) } else { 1 }
    };
    let members = spec.members.iter().zip(made_of).zip(rows);
    let instances: u64 = members
        .map(|((members, made_of), rows)| u64::from(instances(members, made_of, *rows)))
        .sum();
    if instances <= u64::from(places.all) {
        return Ok(());
    }
    let all: u64 = spec.members.iter().map(|members| u64::from(members.count)).sum();
    // Each role has an instance that is not full.
    let full = u64::from(places.all).saturating_sub(spec.members.len() as u64).max(1);
    let rows = u32::try_from(all.div_ceil(full)).unwrap_or(u32::MAX);
    Err(WorldError::TooLarge { instances, places: places.all, rows })
}

/// What it means that no instance of a role could be made.
pub(super) fn not_made(place: usize, fault: Fault) -> WorldError {
    match fault {
        Fault::HostOutOfMemory { needed } => WorldError::OutOfMemory { needed },
        Fault::Busy => WorldError::Host(fault.to_string()),
        fault => {
            WorldError::Invalid { field: format!("members[{place}]"), problem: fault.to_string() }
        }
    }
}

/// Make an instance with these rows. It can describe them before they are there.
async fn make(
    code: &Code,
    grant: Grant,
    account: dormouse_base::memory::Account,
    setup: &PopulationSetup,
) -> Result<(Population, Description), Fault> {
    if let Statefulness::Unsaved(why) = code.statefulness() {
        return Err(Fault::Host(format!("its rows cannot be kept: {why}")));
    }
    let mut population = code.populate(grant, account).await?;
    let description = population.describe(FUEL).await?;
    population.init(setup, FUEL).await?;
    Ok((population, description))
}

/// The most columns and kinds of effects of a population.
const MAX_DESCRIBED: usize = 256;

fn check_description(description: &Description) -> Result<(), String> {
    let Description { columns, effects, reads } = description;
    if columns.len() > MAX_DESCRIBED || effects.len() > MAX_DESCRIBED || reads.len() > MAX_DESCRIBED
    {
        return Err(format!(
            "the population describes more than {MAX_DESCRIBED} columns, effects or reads"
        ));
    }
    let names = columns.iter().chain(reads).chain(effects.iter().map(|kind| &kind.name));
    for list in [columns.clone(), effects.iter().map(|kind| kind.name.clone()).collect()] {
        let mut once = std::collections::HashSet::new();
        if let Some(twice) = list.iter().find(|name| !once.insert(name.as_str())) {
            return Err(format!("the population describes `{twice}` twice"));
        }
    }
    match names.into_iter().find(|name| name.is_empty() || name.len() > 64) {
        Some(name) => Err(format!(
            "`{}` is no name: they have 1 to 64 bytes",
            name.chars().take(64).collect::<String>()
        )),
        None => Ok(()),
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
