//! The host's side of the accessors: where they are, and how they are called.
//!
//! A function is looked up when it is called for the first time in an instance, and kept: most
//! instances call two or three of them.

use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, Resource,
    TypedFunc, WasmList,
};

use super::instrument::{DIRECTORY_COUNT, GROUP, LISTS, access_name, name};
use super::keeper::YIELD;
use super::unpinned::Unpinned;
use crate::files::Descriptor;
use crate::guest::Guest;
use crate::instance::MAX_TRANSFER;

/// The accessors of an agent, one for each component of it that has state.
pub(super) struct Access {
    accessors: Vec<Accessor>,
    memories: Vec<MemoryAt>,
}

struct Accessor {
    seek: ComponentExportIndex,
    globals: ComponentExportIndex,
    pinned: ComponentExportIndex,
    values: Values,
    set: ComponentExportIndex,
    memories: Vec<Memory>,
    pins: Vec<Pin>,
}

/// What takes handles when an instance starts.
pub(super) enum Pin {
    /// It asks for all that it takes.
    Asks(ComponentExportIndex),
    /// It is handed the directories.
    Directories(ComponentExportIndex),
}

/// How the values of an accessor are read.
enum Values {
    /// With the memory of this number.
    Look(usize, ComponentExportIndex),
    /// One by one.
    Get(ComponentExportIndex),
}

struct Memory {
    grow: ComponentExportIndex,
    read: ComponentExportIndex,
    write: ComponentExportIndex,
}

/// A memory: its accessor, and its number there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct MemoryAt {
    accessor: usize,
    number: usize,
}

/// How many globals each accessor has. The same for all instances.
#[derive(Clone, Debug)]
pub(super) struct AccessorCounts(Vec<Globals>);

/// The globals of an accessor.
#[derive(Clone, Copy, Debug, Default)]
struct Globals {
    /// Those of the agent.
    ordinary: usize,
    /// Pinned handles.
    pinned: usize,
    /// How many of these, the last, are of directories.
    directories: usize,
}

/// What an instance is, but for the content of its memories.
pub(super) struct AccessorShape {
    /// Pages of WebAssembly, for each memory in the order of snapshots.
    pub(super) sizes: Vec<u32>,
    /// The bits of its globals, in the order of snapshots, those of pinned handles last.
    pub(super) globals: Vec<u64>,
    /// Memories that came with them. They are for [`LiveAccessors::memory`].
    lists: Vec<Option<WasmList<u8>>>,
}

/// Lists of bytes, for one call of `write`.
type Lists = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);
const _: () = assert!(LISTS == 4);

type Look = TypedFunc<(u32,), ((Vec<u64>, WasmList<u8>),)>;
type Seek = TypedFunc<(u32, u32, u32, u32), ()>;

/// The accessors of one instance.
pub(super) struct LiveAccessors {
    instance: Instance,
    looks: Vec<Option<Look>>,
    seeks: Vec<Option<Seek>>,
    writes: Vec<Option<TypedFunc<Lists, ()>>>,
}

impl Access {
    /// The accessors that an instrumented component exports.
    pub(super) fn of(component: &Component) -> Access {
        let accessors = (0..).map_while(|number| {
            let instance = component.get_export_index(None, access_name(number))?;
            let find = |name: &str| component.get_export_index(Some(&instance), name);
            let numbered = |what: &str, number: usize| {
                find(&name::of(what, u32::try_from(number).unwrap_or(u32::MAX)))
            };
            let memories: Vec<Memory> = (0..)
                .map_while(|number| {
                    Some(Memory {
                        grow: numbered("grow", number)?,
                        read: numbered("read", number)?,
                        write: numbered("write", number)?,
                    })
                })
                .collect();
            let look = (0..memories.len())
                .find_map(|number| Some(Values::Look(number, numbered(name::LOOK, number)?)));
            Some(Accessor {
                seek: find(name::SEEK)?,
                globals: find(name::GLOBALS)?,
                pinned: find(name::PINNED)?,
                values: look.or_else(|| Some(Values::Get(find(name::GET)?)))?,
                set: find(name::SET)?,
                memories,
                pins: (0..)
                    .map_while(|number| numbered("pin", number))
                    .map(Pin::Asks)
                    .chain(
                        (0..)
                            .map_while(|number| numbered(name::PIN_DIRECTORY, number))
                            .map(Pin::Directories),
                    )
                    .collect(),
            })
        });
        let accessors: Vec<Accessor> = accessors.collect();
        let numbers = |of: &Accessor| 0..of.memories.len();
        let memories = accessors.iter().enumerate().flat_map(|(accessor, of)| {
            numbers(of).map(move |number| MemoryAt { accessor, number })
        });
        Access { memories: memories.collect(), accessors }
    }

    /// The functions that take handles, in their order.
    pub(super) fn pins(&self) -> impl Iterator<Item = &Pin> {
        self.accessors.iter().flat_map(|accessor| &accessor.pins)
    }

    fn memory(&self, memory: usize) -> Option<(MemoryAt, &Memory)> {
        let at = *self.memories.get(memory)?;
        Some((at, self.accessors.get(at.accessor)?.memories.get(at.number)?))
    }
}

impl AccessorCounts {
    /// Those of one accessor.
    #[cfg(test)]
    pub(super) fn of(ordinary: usize, pinned: usize) -> AccessorCounts {
        AccessorCounts(vec![Globals { ordinary, pinned, directories: 0 }])
    }

    /// How many globals there are, and how many of them, the last, are pinned handles.
    pub(super) fn totals(&self) -> (usize, usize) {
        let pinned = self.0.iter().map(|it| it.pinned).sum();
        (self.0.iter().map(|it| it.ordinary).sum::<usize>() + pinned, pinned)
    }

    /// How many pinned handles are of directories.
    pub(super) fn directories(&self) -> usize {
        self.0.iter().map(|it| it.directories).sum()
    }

    /// These pinned handles without those of directories.
    pub(super) fn without_directories<'a>(&self, handles: &'a [u64]) -> Vec<&'a u64> {
        let mut rest = handles.iter();
        let mut kept = Vec::with_capacity(handles.len());
        for it in &self.0 {
            kept.extend(rest.by_ref().take(it.pinned - it.directories));
            rest.by_ref().take(it.directories).for_each(drop);
        }
        kept
    }
}

impl LiveAccessors {
    /// Those of a new instance.
    pub(super) fn of(access: &Access, instance: Instance) -> LiveAccessors {
        fn slots<T>(count: usize) -> Vec<Option<T>> {
            std::iter::repeat_with(|| None).take(count).collect()
        }
        let accessors = access.accessors.len();
        LiveAccessors {
            instance,
            looks: slots(accessors),
            seeks: slots(accessors),
            writes: slots(access.memories.len()),
        }
    }

    /// Take the handles that are pinned, but for those that are left out.
    ///
    /// # Errors
    /// The number of the pin that failed, and how.
    pub(super) async fn pin(
        &self,
        access: &Access,
        unpinned: Unpinned,
        store: &mut Store<Guest>,
    ) -> Result<(), (u32, wasmtime::Error)> {
        for (number, pin) in (0..).zip(access.pins()) {
            if !unpinned.contains(number) {
                self.pin_one(pin, store).await.map_err(|error| (number, error))?;
            }
        }
        Ok(())
    }

    async fn pin_one(&self, pin: &Pin, store: &mut Store<Guest>) -> wasmtime::Result<()> {
        match pin {
            Pin::Asks(pin) => self.call::<(), ()>(store, pin, ()).await,
            Pin::Directories(take) => {
                for _ in 0..DIRECTORY_COUNT {
                    let directory = store.data_mut().resources().push(Descriptor::root())?;
                    self.call::<(Resource<Descriptor>,), ()>(store, take, (directory,)).await?;
                }
                Ok(())
            }
        }
    }

    /// How many globals the instances of this agent have.
    pub(super) async fn counts(
        &self,
        access: &Access,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<AccessorCounts> {
        let mut counts = Vec::new();
        for accessor in &access.accessors {
            let (all,) = self.call::<(), (u32,)>(store, &accessor.globals, ()).await?;
            let (pinned,) = self.call::<(), (u32,)>(store, &accessor.pinned, ()).await?;
            let ordinary = usize::try_from(all.saturating_sub(pinned))?;
            let pinned = usize::try_from(pinned)?;
            let takers = accessor.pins.iter().filter(|pin| matches!(pin, Pin::Directories(_)));
            let directories = (DIRECTORY_COUNT * takers.count()).min(pinned);
            counts.push(Globals { ordinary, pinned, directories });
        }
        Ok(AccessorCounts(counts))
    }

    /// All but the content of memories. Some of them come with it.
    pub(super) async fn see(
        &mut self,
        access: &Access,
        counts: &AccessorCounts,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<AccessorShape> {
        let (mut sizes, mut globals) = (Vec::new(), Vec::new());
        let (mut handles, mut lists) = (Vec::new(), Vec::new());
        for (number, accessor) in access.accessors.iter().enumerate() {
            let Globals { ordinary, pinned, .. } =
                counts.0.get(number).copied().unwrap_or_default();
            let memories = accessor.memories.len();
            let mut values = Vec::new();
            let first = lists.len();
            lists.resize_with(first + memories, || None);
            match &accessor.values {
                Values::Look(memory, look) => {
                    let look = typed(&mut self.looks[number], self.instance, store, look)?;
                    let groups = (memories + ordinary + pinned).div_ceil(GROUP);
                    for group in 0..u32::try_from(groups)? {
                        let looked = with_transfer(store, async |store| {
                            look.call_async(store, (group,)).await
                        });
                        let ((some, list),) = looked.await?;
                        if group == 0 {
                            values = some;
                        } else {
                            values.extend(some);
                        }
                        lists[first + memory] = Some(list);
                    }
                }
                Values::Get(get) => {
                    for value in 0..u32::try_from(memories + ordinary + pinned)? {
                        let (bits,) = self.call::<_, (u64,)>(store, get, (value,)).await?;
                        values.push(bits);
                    }
                }
            }
            let mut values = values.into_iter();
            for size in values.by_ref().take(memories) {
                sizes.push(u32::try_from(size)?);
            }
            globals.extend(values.by_ref().take(ordinary));
            handles.extend(values);
        }
        globals.append(&mut handles);
        Ok(AccessorShape { sizes, globals, lists })
    }

    /// The whole of a memory, which has a page at least.
    pub(super) async fn memory(
        &self,
        access: &Access,
        seen: &mut AccessorShape,
        store: &mut Store<Guest>,
        memory: usize,
    ) -> wasmtime::Result<WasmList<u8>> {
        if let Some(list) = seen.lists.get_mut(memory).and_then(Option::take) {
            return Ok(list);
        }
        let (_, functions) = access.memory(memory).ok_or_else(missing)?;
        let read = with_transfer(store, async |store| {
            self.call::<(), (WasmList<u8>,)>(store, &functions.read, ()).await
        });
        let (list,) = read.await?;
        Ok(list)
    }

    /// Set ordinary globals: numbers, ascending, and bits.
    pub(super) async fn set_globals(
        &self,
        access: &Access,
        counts: &AccessorCounts,
        store: &mut Store<Guest>,
        changed: &[(u32, u64)],
    ) -> wasmtime::Result<()> {
        let mut changed = changed.iter().peekable();
        let mut first = 0;
        for (accessor, Globals { ordinary, .. }) in access.accessors.iter().zip(&counts.0) {
            let end = first + u32::try_from(*ordinary)?;
            while let Some((number, bits)) = changed.next_if(|(number, _)| *number < end) {
                self.call::<_, ()>(store, &accessor.set, (number - first, *bits)).await?;
            }
            first = end;
        }
        Ok(())
    }

    /// Add pages to a memory. Answers whether it could be.
    pub(super) async fn grow(
        &self,
        access: &Access,
        store: &mut Store<Guest>,
        memory: usize,
        pages: u32,
    ) -> wasmtime::Result<bool> {
        let (_, functions) = access.memory(memory).ok_or_else(missing)?;
        let (before,) = self.call::<_, (u32,)>(store, &functions.grow, (pages,)).await?;
        Ok(before != u32::MAX)
    }

    /// Write these bytes to these offsets of a memory, with room for other guests in between.
    pub(super) async fn write(
        &mut self,
        access: &Access,
        store: &mut Store<Guest>,
        memory: usize,
        lists: impl IntoIterator<Item = (u32, Vec<u8>)>,
    ) -> wasmtime::Result<()> {
        let (at, functions) = access.memory(memory).ok_or_else(missing)?;
        let accessor = access.accessors.get(at.accessor).ok_or_else(missing)?;
        let slot = &mut self.seeks[at.accessor];
        let seek = typed(slot, self.instance, store, &accessor.seek)?;
        let slot = &mut self.writes[memory];
        let write = typed(slot, self.instance, store, &functions.write)?;
        let mut lists = lists.into_iter().peekable();
        let mut worked = 0;
        while lists.peek().is_some() {
            let [one, two, three, four] = std::array::from_fn(|_| lists.next().unwrap_or_default());
            worked += one.1.len() + two.1.len() + three.1.len() + four.1.len();
            seek.call_async(&mut *store, (one.0, two.0, three.0, four.0)).await?;
            write.call_async(&mut *store, (one.1, two.1, three.1, four.1)).await?;
            if worked >= YIELD {
                tokio::task::yield_now().await;
                worked = 0;
            }
        }
        Ok(())
    }

    async fn call<Parameters, Results>(
        &self,
        store: &mut Store<Guest>,
        function: &ComponentExportIndex,
        parameters: Parameters,
    ) -> wasmtime::Result<Results>
    where
        Parameters: ComponentNamedList + Lower + Send + Sync,
        Results: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let function =
            self.instance.get_typed_func::<Parameters, Results>(&mut *store, function)?;
        function.call_async(&mut *store, parameters).await
    }
}

/// A function that is kept in this place, once it was looked up.
fn typed<Parameters, Results>(
    kept: &mut Option<TypedFunc<Parameters, Results>>,
    instance: Instance,
    store: &mut Store<Guest>,
    function: &ComponentExportIndex,
) -> wasmtime::Result<TypedFunc<Parameters, Results>>
where
    Parameters: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    if let Some(function) = kept {
        return Ok(*function);
    }
    let function = instance.get_typed_func::<Parameters, Results>(store, function)?;
    *kept = Some(function);
    Ok(function)
}

/// Let a list of any length pass to the host. The host reads it where it is, and copies nothing.
async fn with_transfer<T>(
    store: &mut Store<Guest>,
    read: impl AsyncFnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
) -> wasmtime::Result<T> {
    store.set_hostcall_fuel(usize::MAX);
    let result = read(store).await;
    store.set_hostcall_fuel(MAX_TRANSFER);
    result
}

fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("there is no such memory")
}
