//! `wasi:clocks`.

use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};

use super::super::super::interface::Interface;
use super::super::super::price;

pub(super) fn monotonic(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    use monotonic_clock::Host;

    interface.simple("now", 0, |guest, (): ()| Ok((Host::now(&mut guest.clocks())?,)))?;
    interface
        .simple("resolution", 0, |guest, (): ()| Ok((Host::resolution(&mut guest.clocks())?,)))?;
    interface.simple("subscribe-instant", 2 * price::HANDLE, |guest, (when,): (u64,)| {
        Ok((Host::subscribe_instant(&mut guest.clocks(), when)?,))
    })?;
    interface.simple("subscribe-duration", 2 * price::HANDLE, |guest, (when,): (u64,)| {
        Ok((Host::subscribe_duration(&mut guest.clocks(), when)?,))
    })
}

pub(super) fn wall(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    use wall_clock::Host;

    interface.simple("now", 0, |guest, (): ()| Ok((Host::now(&mut guest.clocks())?,)))?;
    interface.simple("resolution", 0, |guest, (): ()| Ok((Host::resolution(&mut guest.clocks())?,)))
}
