//! `wasi:clocks`. What they say is said by the guest's side of the host: see [`Guest::now`].
//!
//! [`Guest::now`]: crate::guest::Guest::now

use std::time::Duration;

use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynPollable;

use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};

use super::super::super::http::Wait;
use super::super::super::interface::Interface;
use super::super::super::price;
use super::super::clock::{MONOTONIC_RESOLUTION, WALL_RESOLUTION, since_epoch};
use crate::guest::Guest;
use dormouse_base::clock::RealMoment;

pub(super) fn monotonic(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("now", 0, |guest, (): ()| Ok((guest.monotonic_ns(),)))?;
    interface.simple("resolution", 0, |_, (): ()| Ok((MONOTONIC_RESOLUTION,)))?;
    interface.simple("subscribe-instant", 2 * price::HANDLE, |guest, (when,): (u64,)| {
        let left = when.saturating_sub(guest.monotonic_ns());
        Ok((subscribe(guest, left)?,))
    })?;
    interface.simple("subscribe-duration", 2 * price::HANDLE, |guest, (when,): (u64,)| {
        Ok((subscribe(guest, when)?,))
    })
}

/// A pollable that is ready in so many nanoseconds.
fn subscribe(guest: &mut Guest, nanos: u64) -> wasmtime::Result<Resource<DynPollable>> {
    let pollable = monotonic_clock::Host::subscribe_duration(&mut guest.clocks(), nanos)?;
    let at = RealMoment::now().after(Duration::from_nanos(nanos));
    guest.http.note_wait(pollable.rep(), Wait::Time(at));
    guest.note_timer(pollable.rep(), nanos);
    Ok(pollable)
}

pub(super) fn wall(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("now", 0, |guest, (): ()| Ok((datetime(since_epoch(guest.now())),)))?;
    interface.simple("resolution", 0, |_, (): ()| Ok((datetime(WALL_RESOLUTION),)))
}

fn datetime(time: Duration) -> wall_clock::Datetime {
    wall_clock::Datetime { seconds: time.as_secs(), nanoseconds: time.subsec_nanos() }
}
