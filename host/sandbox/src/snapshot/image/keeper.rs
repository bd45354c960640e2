//! What saves and restores one instance. `save` is the way to sleep, `restore` the way back.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::WasmList;

use super::access::{AccessorShape, LiveAccessors};
use super::cut::Head;
use super::pristine::Pristine;
use super::{Image, read};
use crate::fault::{Fault, bounded};
use crate::guest::Guest;

/// What is up to here, in bytes, is compressed and read where it is: it takes less than to hand it on.
pub(super) const SMALL: usize = 256 << 10;
/// The most that is compared before others get their turn, in bytes.
pub(super) const YIELD: usize = 1 << 20;

const _: () = assert!(YIELD.is_multiple_of(super::chunk::RANGE));

/// The content of a memory that has any.
pub(super) type List = Option<WasmList<u8>>;

/// Saves and restores one instance.
pub(crate) struct ImageKeeper {
    pub(super) image: Arc<Image>,
    pub(super) pristine: Arc<Pristine>,
    pub(super) live: LiveAccessors,
    /// What of the state the store has. It is right as long as each state that is saved is stored, or
    /// the instance dropped.
    pub(super) head: Head,
}

impl ImageKeeper {
    /// Whether a second instance started as the first one did.
    pub(crate) async fn is_pristine(&mut self, store: &mut Store<Guest>) -> wasmtime::Result<bool> {
        let again = read(&self.image.access, &mut self.live, store).await?;
        let same_things = again.held == self.pristine.held;
        Ok(same_things && again.fingerprint == self.pristine.fingerprint)
    }

    /// The store has nothing of what was saved before.
    pub(crate) fn forget_saved(&mut self) {
        self.head = Head::default();
    }

    /// The content of all memories.
    pub(super) async fn lists(
        &self,
        seen: &mut AccessorShape,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<Vec<List>> {
        let mut lists = Vec::new();
        for (memory, size) in seen.sizes.clone().into_iter().enumerate() {
            lists.push(match size {
                0 => None,
                _ => Some(self.live.memory(&self.image.access, seen, store, memory).await?),
            });
        }
        Ok(lists)
    }
}

/// Run this on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Fault::Host(bounded(format!("the state was not saved: {error}"))))
}
