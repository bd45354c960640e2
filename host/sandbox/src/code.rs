//! Code: an agent that is compiled and linked, from which instances are made.

use std::sync::Arc;

use wasmtime::component::types::{ComponentExtern, ComponentItem};
use wasmtime::component::{Component, ComponentNamedList, InstancePre, Lift, Linker, Lower};
use wasmtime::{Engine, Store};

use super::bindings::exports::dormouse::agent::{handler, state};
use super::entry::{EntryIndices, EntryPoint, HANDLER, INCOMING_HANDLER, POPULATION, RUN};
use super::fault::{Fault, bounded};
use super::fuel;
use super::guest::{Guest, MAX_RESOURCES, StartConditions};
use super::imports;
use super::instance::{Grant, Instance, MAX_TRANSFER, population};
use super::refusal::Refusal;
use super::snapshot::{Keeper, STATE, SnapshotForm, Unpinned, starts_alone};
use super::ticker::Ticker;
use dormouse_base::clock::Clock;
use dormouse_base::memory::{Account, MemoryBudget};
use dormouse_domain::agent::{
    ComponentInfo, ComponentKind, Export, Exports, StartRandomness, Statefulness,
};

/// The fuel that a new instance may use to start, each time that a session wakes. The components of
/// `agents/build` use 2,126 units with StarlingMonkey, 5,032 with QuickJS and 11,573 with CPython: what takes
/// long in them was done when they were built.
pub(super) const MAX_START: u64 = 100_000_000;

/// What all instances of a sandbox share.
pub(super) struct SandboxShared {
    pub(super) ticker: Ticker,
    pub(super) memory: MemoryBudget,
    pub(super) clock: Clock,
    /// The largest memory of one instance, whatever it is granted.
    pub(super) max_memory_bytes: u64,
}

/// An agent that is compiled and linked.
pub struct Code {
    agent: InstancePre<Guest>,
    exports: Exports,
    entry: EntryIndices,
    form: SnapshotForm,
    start: StartConditions,
    start_fuel: u64,
    start_randomness: StartRandomness,
    /// Whether its instances can ask the world of a call for effects.
    has_effects: bool,
    shared: Arc<SandboxShared>,
}

/// What was found out about a component when it was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Findings {
    /// Why no image can be taken of its instances. `None`: it is instrumented.
    pub(super) unimaged: Option<String>,
    /// In which world its instances start.
    pub(super) start: StartConditions,
    /// The fuel that they use to start.
    pub(super) start_fuel: u64,
    /// Whether they draw random bytes there that are the same in all sessions.
    pub(super) start_randomness: StartRandomness,
    /// Handles that they do not take there, because to ask for them traps.
    pub(super) unpinned: Unpinned,
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Code").field("statefulness", &self.statefulness()).finish_non_exhaustive()
    }
}

impl Code {
    /// Make an instance in its first state, whose memory is paid with this account: with what is
    /// reserved there, and what it needs besides.
    ///
    /// # Errors
    /// [`Fault::Busy`] where all places are taken, [`Fault::HostOutOfMemory`] where the budget is
    /// spent, and otherwise what the agent did wrong while it started.
    pub async fn instantiate(&self, grant: Grant, account: Account) -> Result<Instance, Fault> {
        let store = self.store(&grant, account)?;
        self.start_in(store).await
    }

    /// Make an instance for a simulated world: its clocks stand where the grant says, also while it starts.
    ///
    /// # Errors
    /// As [`Code::instantiate`].
    pub async fn instantiate_in_world(
        &self,
        grant: Grant,
        account: Account,
    ) -> Result<Instance, Fault> {
        let mut store = self.store(&grant, account)?;
        store.data_mut().stand_still(grant.now, None, grant.turn);
        self.start_in(store).await
    }

    async fn start_in(&self, mut store: Store<Guest>) -> Result<Instance, Fault> {
        let shared = &self.shared;
        let begun = shared.clock.monotonic();
        let (entry, keeper) = match shared.ticker.watch(self.start(&mut store)).await {
            Ok(_) if fuel::is_overdrawn(&store) => Err(Fault::FuelExhausted),
            started => started,
        }
        .map_err(|fault| match fault {
            Fault::FuelExhausted => Fault::StartTooLong { limit: MAX_START },
            fault => fault,
        })?;
        // Work of the host between has had fuel of its own.
        let start_fuel = fuel::used_of(&store, MAX_START);
        store.data_mut().enter_session();
        metrics::histogram!("dormouse_instantiate_seconds")
            .record(shared.clock.monotonic().saturating_sub(begun).as_secs_f64());
        Ok(Instance::new(store, entry, keeper, shared.clone(), start_fuel, self.has_effects))
    }

    async fn start(&self, store: &mut Store<Guest>) -> Result<(EntryPoint, Keeper), Fault> {
        let made = self.agent.instantiate_async(&mut *store).await;
        let instance = made.map_err(|error| store.data_mut().fault(&error))?;
        let entry = self.entry.load(store, &instance);
        let entry = entry.map_err(|error| Fault::Host(format!("{error:#}")))?;
        let keeper = self.form.start(store, instance).await?;
        Ok((entry, keeper))
    }

    /// Make an instance that only tries whether one can be made.
    ///
    /// # Errors
    /// As [`Code::instantiate`].
    pub(super) async fn try_out(&self, grant: Grant) -> Result<Instance, Fault> {
        self.instantiate(grant, self.shared.memory.account()).await
    }

    /// A store for one instance, with fuel to start it.
    fn store(&self, grant: &Grant, account: Account) -> Result<Store<Guest>, Fault> {
        let shared = &self.shared;
        let limit = grant.max_memory_bytes.min(shared.max_memory_bytes);
        let mut guest = Guest::new(grant, self.start, limit, account, &shared.clock);
        guest.memory.wake()?;
        let mut store = Store::new(self.agent.engine(), guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(MAX_TRANSFER);
        store.set_max_component_handles(MAX_RESOURCES);
        fuel::configure(&mut store)
            .and_then(|()| fuel::fill(&mut store, MAX_START))
            .map_err(|error| Fault::Host(format!("{error:#}")))?;
        Ok(store)
    }

    /// Whether instances start without asking the host for anything.
    ///
    /// # Errors
    /// There was no place to try it.
    pub(super) async fn starts_alone(&self, grant: &Grant) -> Result<bool, Fault> {
        let mut store = self.store(grant, self.shared.memory.account())?;
        let alone = starts_alone(self.agent.component(), &mut store);
        match self.shared.ticker.watch(alone).await {
            Ok(alone) => Ok(alone),
            Err(error) => Err(store.data_mut().fault(&error)),
        }
    }

    /// The first handle that an instance is to take when it starts for which it traps.
    ///
    /// # Errors
    /// As [`Code::instantiate`].
    pub(super) async fn failing_pin(&self, grant: &Grant) -> Result<Option<u32>, Fault> {
        if !self.form.has_pins() {
            return Ok(None);
        }
        let watch = &self.shared.ticker;
        let mut store = self.store(grant, self.shared.memory.account())?;
        let made = watch.watch(self.agent.instantiate_async(&mut store)).await;
        let instance = made.map_err(|error| store.data_mut().fault(&error))?;
        watch.watch(self.form.failing_pin(&mut store, instance)).await
    }

    /// Whether it is a population, whose instances have many members of a simulated world.
    #[must_use]
    pub fn is_population(&self) -> bool {
        self.exports.kind() == Some(ComponentKind::Population)
    }

    /// Whether all of the state of an instance can be put into another: it comes to the same then, whichever instance a call is
    /// made of.
    #[must_use]
    pub fn is_whole_in_snapshots(&self) -> bool {
        self.exports.kind() == Some(ComponentKind::Command) || self.form.has_image()
    }

    /// How the state of the agent outlives an instance.
    #[must_use]
    pub fn statefulness(&self) -> Statefulness {
        match self.exports.kind() {
            Some(ComponentKind::Command) => Statefulness::Stateless,
            Some(ComponentKind::Agent | ComponentKind::Population) | None => {
                self.form.statefulness()
            }
        }
    }

    /// What is known of the component.
    pub(super) fn info(&self) -> ComponentInfo {
        ComponentInfo {
            exports: self.exports,
            imports: self.imports(),
            capabilities: self.capabilities(),
            statefulness: self.statefulness(),
            start_fuel: self.start_fuel,
            start_randomness: self.start_randomness,
        }
    }

    /// Link a component.
    ///
    /// # Errors
    /// It imports or exports what the host knows under another type.
    pub(super) fn link(
        component: &Component,
        linker: &Linker<Guest>,
        shared: Arc<SandboxShared>,
        findings: &Findings,
    ) -> Result<Code, Refusal> {
        let agent = linker.instantiate_pre(component).map_err(|error| unlinked(&error))?;
        let exports = exports(component);
        check(&agent, exports)?;
        let entry = EntryIndices::of(&agent, exports).map_err(|error| wrong(&error))?;
        let form = SnapshotForm::of(
            &agent,
            findings.unimaged.as_deref(),
            findings.unpinned,
            &shared.clock,
        )
        .map_err(|error| wrong(&error))?;
        let Findings { start, start_fuel, start_randomness, .. } = *findings;
        let has_effects = imports_effects(&agent);
        Ok(Code {
            agent,
            exports,
            entry,
            form,
            start,
            start_fuel,
            start_randomness,
            has_effects,
            shared,
        })
    }

    /// The names of what the agent imports, in the order of the component.
    fn imports(&self) -> Vec<String> {
        let engine: &Engine = self.agent.engine();
        let component = self.agent.component().component_type();
        component.imports(engine).map(|(name, _)| name.to_owned()).collect()
    }

    /// What a session has to grant to the agent, a word each.
    fn capabilities(&self) -> Vec<String> {
        let imports = called_imports(&self.agent);
        let words = imports.iter().filter_map(|name| imports::capability(name));
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        words.sort_unstable();
        words.dedup();
        words
    }
}

/// Whether this agent imports an interface whose functions are effects.
fn imports_effects(agent: &InstancePre<Guest>) -> bool {
    called_imports(agent).iter().any(|name| imports::is_effect(name))
}

/// The names of what this agent imports to call it: an interface may be there for its types alone.
fn called_imports(agent: &InstancePre<Guest>) -> Vec<String> {
    let engine = agent.engine();
    let component = agent.component().component_type();
    let is_called = |item: &ComponentExtern<'_>| match &item.ty {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).any(|(_, item)| !matches!(item.ty, ComponentItem::Type(_)))
        }
        ComponentItem::Type(_) => false,
        ComponentItem::ComponentFunc(_)
        | ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_)
        | ComponentItem::Resource(_) => true,
    };
    let called = component.imports(engine).filter(|(_, item)| is_called(item));
    called.map(|(name, _)| name.to_owned()).collect()
}

/// What this component exports that the host can call.
fn exports(component: &Component) -> Exports {
    let names = [
        (HANDLER, Export::Handler),
        (RUN, Export::Command),
        (STATE, Export::State),
        (INCOMING_HANDLER, Export::IncomingHandler),
        (POPULATION, Export::Population),
    ];
    let exported =
        names.into_iter().filter(|(name, _)| component.get_export_index(None, name).is_some());
    exported.map(|(_, export)| export).collect()
}

/// Whether the exports have the types that they are called with.
fn check(agent: &InstancePre<Guest>, exports: Exports) -> Result<(), Refusal> {
    type Handled = Result<handler::Reply, handler::Failure>;
    type Saved = Result<state::SavedResult, state::Error>;

    match exports.kind() {
        Some(ComponentKind::Command) => {
            check_function::<(), (Result<(), ()>,)>(agent, RUN, "run")?;
        }
        Some(ComponentKind::Population) => population::check(agent)?,
        Some(ComponentKind::Agent) | None => {
            check_function::<(handler::Turn<'_>,), (Handled,)>(agent, HANDLER, "handle")?;
        }
    }
    if exports.has(Export::State) {
        check_function::<(), (Saved,)>(agent, STATE, "save")?;
        check_function::<(state::SavedParam<'_>,), (Result<(), state::Error>,)>(
            agent, STATE, "restore",
        )?;
    }
    Ok(())
}

/// Whether the component exports this function of this interface, with this type.
pub(super) fn check_function<Parameters, Results>(
    agent: &InstancePre<Guest>,
    interface: &str,
    name: &str,
) -> Result<(), Refusal>
where
    Parameters: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    let component = agent.component();
    let instance = component.get_export_index(None, interface);
    let export = instance.and_then(|instance| component.get_export(Some(&instance), name));
    let checked = match export {
        Some((ComponentItem::ComponentFunc(function), _)) => {
            function.typecheck::<Parameters, Results>(&agent.instance_type())
        }
        Some(_) | None => Err(wasmtime::Error::msg("there is no such function")),
    };
    checked.map_err(|error| wrong(&format!("`{interface}` `{name}`: {error:#}")))
}

/// An import of ours under another type, or of a function that ours does not have.
fn unlinked(error: &wasmtime::Error) -> Refusal {
    Refusal::MissingImports(vec![bounded(format!("{error:#}"))])
}

fn wrong(error: &impl std::fmt::Display) -> Refusal {
    Refusal::WrongSignature(bounded(format!("{error:#}")))
}
