//! How much of an instance's memories is really there, for those that are idle without having been
//! saved: a save finds it out by the way.

use wasmtime::Store;
use wasmtime::component::WasmList;

use super::FUEL;
use super::keeper::ImageKeeper;
use super::pagemap::written_or_all;
use super::save::{SCAN, piece};
use crate::fuel;
use crate::guest::Guest;

impl ImageKeeper {
    /// Bytes of its memories that are the process's own. All, where the kernel cannot tell.
    pub(crate) async fn present(&mut self, store: &mut Store<Guest>) -> wasmtime::Result<u64> {
        fuel::fill(store, FUEL)?;
        let image = self.image.clone();
        let mut seen = self.live.see(&image.access, &self.pristine.counts, store).await?;
        let mut present = 0;
        for list in self.lists(&mut seen, store).await? {
            for start in (0..list.as_ref().map_or(0, WasmList::len)).step_by(SCAN) {
                let written = written_or_all(piece(&list, store, start, SCAN));
                present += written.iter().map(|range| range.len() as u64).sum::<u64>();
                tokio::task::yield_now().await;
            }
        }
        Ok(present)
    }
}
