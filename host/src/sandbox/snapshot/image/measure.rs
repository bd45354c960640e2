//! How much of an instance's memories is really there, for those that are idle without having been
//! saved: a save finds it out by the way.

use wasmtime::Store;

use super::access::Live;
use super::keeper::{Keeper, with_transfer};
use super::pages::PAGE;
use super::{FUEL, pagemap};
use crate::sandbox::fuel;
use crate::sandbox::guest::Guest;

impl Keeper {
    /// Bytes of its memories that are the process's own. All, where the kernel cannot tell.
    pub(in crate::sandbox) async fn present(
        &self,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<u64> {
        let live = Live { access: &self.image.access, instance: self.instance };
        fuel::fill(store, FUEL)?;
        let mut present = 0;
        for memory in live.access.memories() {
            if live.size(store, memory).await? == 0 {
                continue;
            }
            let list = with_transfer(store, async |store| live.read(store, memory).await).await?;
            let bytes = list.as_le_slice(&*store);
            present += match pagemap::written(bytes) {
                Some(ranges) => ranges.iter().map(|range| range.len()).sum(),
                None => bytes.len().next_multiple_of(PAGE),
            } as u64;
        }
        Ok(present)
    }
}
