//! The host's side of the accessors: where they are, and how they are called.

use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, WasmList,
};

use super::instrument::{access_name, name};
use crate::sandbox::guest::Guest;

/// The accessors of an agent, one for each component of it that has state.
pub(super) struct Access(Vec<Accessor>);

struct Accessor {
    seek: ComponentExportIndex,
    globals: ComponentExportIndex,
    pinned: ComponentExportIndex,
    get: ComponentExportIndex,
    set: ComponentExportIndex,
    memories: Vec<Memory>,
    pins: Vec<ComponentExportIndex>,
}

struct Memory {
    size: ComponentExportIndex,
    grow: ComponentExportIndex,
    read: ComponentExportIndex,
    write: ComponentExportIndex,
}

/// A memory, by its place among all of them.
#[derive(Clone, Copy)]
pub(super) struct MemoryAt<'a>(&'a Accessor, &'a Memory);

/// The accessors of one instance.
#[derive(Clone, Copy)]
pub(super) struct Live<'a> {
    pub(super) access: &'a Access,
    pub(super) instance: Instance,
}

impl Access {
    /// The accessors that an instrumented component exports.
    pub(super) fn of(component: &Component) -> Access {
        let accessors = (0..).map_while(|number| {
            let instance = component.get_export_index(None, access_name(number))?;
            let find = |name: &str| component.get_export_index(Some(&instance), name);
            let numbered = |what: &str, number: u32| find(&name::of(what, number));
            Some(Accessor {
                seek: find(name::SEEK)?,
                globals: find(name::GLOBALS)?,
                pinned: find(name::PINNED)?,
                get: find(name::GET)?,
                set: find(name::SET)?,
                memories: (0..)
                    .map_while(|number| {
                        Some(Memory {
                            size: numbered("size", number)?,
                            grow: numbered("grow", number)?,
                            read: numbered("read", number)?,
                            write: numbered("write", number)?,
                        })
                    })
                    .collect(),
                pins: (0..).map_while(|number| numbered("pin", number)).collect(),
            })
        });
        Access(accessors.collect())
    }

    /// All memories, in the order of snapshots.
    pub(super) fn memories(&self) -> impl Iterator<Item = MemoryAt<'_>> {
        self.0.iter().flat_map(|accessor| {
            accessor.memories.iter().map(move |memory| MemoryAt(accessor, memory))
        })
    }
}

impl Live<'_> {
    /// Take the handles that are pinned.
    pub(super) async fn pin(&self, store: &mut Store<Guest>) -> wasmtime::Result<()> {
        for pin in self.access.0.iter().flat_map(|accessor| &accessor.pins) {
            self.call::<(), ()>(store, pin, ()).await?;
        }
        Ok(())
    }

    /// The bits of all globals, in the order of snapshots, and how many of them, the last, are
    /// pinned handles.
    pub(super) async fn globals(
        &self,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<(Vec<u64>, usize)> {
        let (mut globals, mut handles) = (Vec::new(), Vec::new());
        for accessor in &self.access.0 {
            let (ordinary, all) = self.counts(store, accessor).await?;
            for index in 0..all {
                let (bits,) = self.call::<_, (u64,)>(store, &accessor.get, (index,)).await?;
                let list = if index < ordinary { &mut globals } else { &mut handles };
                list.push(bits);
            }
        }
        let pinned = handles.len();
        globals.append(&mut handles);
        Ok((globals, pinned))
    }

    /// Set ordinary globals: numbers, ascending, and bits.
    pub(super) async fn set_globals(
        &self,
        store: &mut Store<Guest>,
        changed: &[(u32, u64)],
    ) -> wasmtime::Result<()> {
        let mut changed = changed.iter().peekable();
        let mut first = 0;
        for accessor in &self.access.0 {
            let (ordinary, _) = self.counts(store, accessor).await?;
            while let Some((number, bits)) =
                changed.next_if(|(number, _)| *number < first + ordinary)
            {
                self.call::<_, ()>(store, &accessor.set, (number - first, *bits)).await?;
            }
            first += ordinary;
        }
        Ok(())
    }

    async fn counts(
        &self,
        store: &mut Store<Guest>,
        accessor: &Accessor,
    ) -> wasmtime::Result<(u32, u32)> {
        let (all,) = self.call::<(), (u32,)>(store, &accessor.globals, ()).await?;
        let (pinned,) = self.call::<(), (u32,)>(store, &accessor.pinned, ()).await?;
        Ok((all.saturating_sub(pinned), all))
    }

    /// How many pages of WebAssembly a memory has.
    pub(super) async fn size(
        &self,
        store: &mut Store<Guest>,
        memory: MemoryAt<'_>,
    ) -> wasmtime::Result<u32> {
        let (pages,) = self.call::<(), (u32,)>(store, &memory.1.size, ()).await?;
        Ok(pages)
    }

    /// The whole of a memory, which has a page at least.
    pub(super) async fn read(
        &self,
        store: &mut Store<Guest>,
        memory: MemoryAt<'_>,
    ) -> wasmtime::Result<WasmList<u8>> {
        let (list,) = self.call::<(), (WasmList<u8>,)>(store, &memory.1.read, ()).await?;
        Ok(list)
    }

    /// Add pages to a memory. Answers whether it could be.
    pub(super) async fn grow(
        &self,
        store: &mut Store<Guest>,
        memory: MemoryAt<'_>,
        pages: u32,
    ) -> wasmtime::Result<bool> {
        let (before,) = self.call::<_, (u32,)>(store, &memory.1.grow, (pages,)).await?;
        Ok(before != u32::MAX)
    }

    /// Write these bytes to a memory.
    pub(super) async fn write(
        &self,
        store: &mut Store<Guest>,
        memory: MemoryAt<'_>,
        offset: u32,
        bytes: &[u8],
    ) -> wasmtime::Result<()> {
        self.call::<_, ()>(store, &memory.0.seek, (offset,)).await?;
        self.call::<_, ()>(store, &memory.1.write, (bytes,)).await
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
