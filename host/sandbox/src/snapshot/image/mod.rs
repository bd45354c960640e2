//! Images: the memories and globals of a guest, saved from outside. The guest knows nothing of it.
//!
//! ```text
//! upload    instrument: the component exports accessors of its state; prove that it starts the
//!           same each time
//! start     pin the handles that libraries keep; the first time, read the pristine image
//! sleep     nothing held open? read what differs from the pristine image, compress it
//! wake      start, grow the memories, write what differs
//! ```
//!
//! The parts:
//!
//! - `instrument`: what is added to a component, why it cannot change what the agent does, and what
//!   is refused. Read this first.
//! - `save` and `restore`: sleep and wake, both by the `keeper` of an instance. `access`: how the host
//!   calls what was added. `pagemap` and `pages`: what differs; `pristine`: from what. `cut` and
//!   `chunk`: large images. `format` and `bytes`: how all of it is written, with all checks of what is
//!   read. `measure`: what is really in memory. `held`: what a guest has open.
//!
//! # Large images
//!
//! What a small agent differs in is one piece of some kilobytes. Above 128 KiB an image is cut at fixed
//! places of the memory into chunks, each under the digest of its content: a turn that changes little
//! of much names, compresses and writes little. An instance knows the chunks of its head and
//! recognises what has not changed by reading it once. What is read or written is bounded by the
//! limits of the guest's memory and charged with it to the budget of the host; what is copied of it at
//! a time is a few megabytes, however large the memory.
//!
//! # Starting the same each time
//!
//! A difference is of use only if the next instance starts as the last one did. WebAssembly is
//! deterministic; what the host answers is not. Most agents ask nothing while they are instantiated:
//! that is proven at upload, by an instance whose every import traps ([`starts_alone`]). The others
//! start in a world that is the same for all instances: one time, one random stream, and only
//! then in that of their session. At upload two instances are compared all the same.
//!
//! # The bill
//!
//! What is done here is the host's doing: it has fuel of its own and is not billed, and a turn that
//! has used up its fuel is saved like any other. Large memories are read and written in pieces, with
//! room for other guests between them, and compressed on threads that may block.

mod access;
mod bytes;
mod chunk;
mod cut;
mod format;
mod held;
mod instrument;
mod keeper;
mod measure;
mod pagemap;
mod pages;
mod pristine;
mod restore;
mod save;
mod unpinned;

use std::sync::{Arc, OnceLock};

use wasmtime::Store;
use wasmtime::component::{Component, Instance, Linker};

pub(crate) use instrument::{RECIPE, instrument};
pub(crate) use keeper::ImageKeeper;
pub(crate) use unpinned::Unpinned;

use crate::fault::Fault;
use crate::fuel;
use crate::guest::Guest;
use access::{Access, LiveAccessors};
use chunk::Recognition;
use cut::Head;
use keeper::YIELD;
use pages::MemoryImage;
use pristine::Pristine;

/// Fuel for one round of accessors: far more than any has use for.
const FUEL: u64 = 1_000_000_000;

/// The images of an agent.
pub(crate) struct Image {
    access: Access,
    /// Handles that its instances do not take when they start.
    unpinned: Unpinned,
    /// How its instances know again what they have saved.
    recognition: Recognition,
    /// Read from the first instance.
    pristine: OnceLock<Arc<Pristine>>,
}

/// Whether instances start without any help of the host: every import of this one traps.
///
/// # Errors
/// The linker could not be made; nothing is known then.
pub(crate) async fn starts_alone(
    component: &Component,
    store: &mut Store<Guest>,
) -> wasmtime::Result<bool> {
    let mut linker = Linker::new(component.engine());
    linker.define_unknown_imports_as_traps(component)?;
    let agent = linker.instantiate_pre(component)?;
    Ok(agent.instantiate_async(store).await.is_ok())
}

impl Image {
    /// For an agent whose component was instrumented. The key is random.
    pub(crate) fn of(component: &Component, unpinned: Unpinned, key: u64) -> Image {
        Image {
            unpinned,
            access: Access::of(component),
            recognition: Recognition::new(key),
            pristine: OnceLock::new(),
        }
    }

    /// The first of its pins that traps in this new instance, which is of no use afterwards.
    ///
    /// # Errors
    /// A pin failed, and not because of the agent.
    pub(crate) async fn failing_pin(
        &self,
        store: &mut Store<Guest>,
        instance: Instance,
    ) -> Result<Option<u32>, Fault> {
        let live = LiveAccessors::of(&self.access, instance);
        fuel::fill(store, FUEL).map_err(|error| Fault::Host(format!("{error:#}")))?;
        match live.pin(&self.access, self.unpinned, store).await {
            Ok(()) => Ok(None),
            Err((number, error)) => match store.data_mut().fault(&error) {
                Fault::Trapped(_) => Ok(Some(number)),
                fault => Err(fault),
            },
        }
    }

    /// Whether its instances take any handles when they start.
    pub(crate) fn has_pins(&self) -> bool {
        self.access.pins().next().is_some()
    }

    /// Make a new instance ready for its first turn, or for what it is restored to.
    pub(crate) async fn start(
        self: &Arc<Image>,
        store: &mut Store<Guest>,
        instance: Instance,
    ) -> Result<ImageKeeper, Fault> {
        let mut live = LiveAccessors::of(&self.access, instance);
        let started = async {
            // Within the fuel of the start: it is what the agent imports that is asked for.
            live.pin(&self.access, self.unpinned, store).await.map_err(|(_, error)| error)?;
            match self.pristine.get() {
                Some(pristine) => Ok(pristine.clone()),
                None => {
                    let left = store.get_fuel()?;
                    fuel::fill(store, FUEL)?;
                    let pristine = Arc::new(read(&self.access, &mut live, store).await?);
                    store.set_fuel(left)?;
                    // Whoever came first: both are the same.
                    Ok(self.pristine.get_or_init(|| pristine).clone())
                }
            }
        };
        let started: wasmtime::Result<_> = started.await;
        let pristine = started.map_err(|error| store.data_mut().fault(&error))?;
        Ok(ImageKeeper { image: self.clone(), pristine, live, head: Head::default() })
    }
}

/// The pristine image, from an instance that has done nothing yet.
async fn read(
    access: &Access,
    live: &mut LiveAccessors,
    store: &mut Store<Guest>,
) -> wasmtime::Result<Pristine> {
    let counts = live.counts(access, store).await?;
    let mut seen = live.see(access, &counts, store).await?;
    let mut memories = Vec::new();
    let mut bytes = 0;
    for (memory, size) in seen.sizes.clone().into_iter().enumerate() {
        let mut image = MemoryImage::new();
        if size > 0 {
            let list = live.memory(access, &mut seen, store, memory).await?;
            // A copy that grows may take twice what it holds.
            store.data_mut().memory.hold(bytes + 2 * list.len() as u64)?;
            for start in (0..list.len()).step_by(YIELD) {
                let content = list.as_le_slice(&*store);
                image.append(&content[start..content.len().min(start + YIELD)]);
                tokio::task::yield_now().await;
            }
            image.shrink();
        }
        bytes += image.bytes() as u64;
        store.data_mut().memory.keep(bytes);
        memories.push(image);
    }
    let account = store.data_mut().memory.detach();
    let held = held::held(store.data_mut().resources());
    Ok(Pristine::new(memories, seen.globals, counts, held, account))
}
