//! WASI 0.2, with nothing granted: clocks, randomness and output of the guest's own, and otherwise an
//! empty world, but for the files of its session. No arguments, no variables, no network; standard input is at its end.
//! A command has arguments, variables and an input for each turn, and prints its reply.
//!
//! The clocks are those of the call that runs, and between calls those of the instance; random bytes never
//! come again. A guest that sleeps waits in real time, whatever clock the host has: its deadline is the caller's.

mod clock;
mod linked;
mod printed;
mod random;
mod stdio;

use wasmtime::component::Linker;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

pub(crate) use clock::{GuestClock, StandingClock};
pub(crate) use printed::{Printed, PrintedReply};
pub(crate) use random::{Moment, Occasion, RandomStream};

use super::log::StdStream;
use crate::guest::{Guest, SharedLog};
use stdio::Output;
pub(in crate::imports) use stdio::PERMIT;

/// Random bytes that a guest may ask for at once.
const MAX_RANDOM: u64 = 1 << 20;

/// What [`add_to_linker`] adds, by name.
pub(super) const INTERFACES: [&str; 27] = [
    "wasi:cli/environment@0.2.12",
    "wasi:cli/exit@0.2.12",
    "wasi:cli/stdin@0.2.12",
    "wasi:cli/stdout@0.2.12",
    "wasi:cli/stderr@0.2.12",
    "wasi:cli/terminal-input@0.2.12",
    "wasi:cli/terminal-output@0.2.12",
    "wasi:cli/terminal-stdin@0.2.12",
    "wasi:cli/terminal-stdout@0.2.12",
    "wasi:cli/terminal-stderr@0.2.12",
    "wasi:clocks/monotonic-clock@0.2.12",
    "wasi:clocks/wall-clock@0.2.12",
    "wasi:filesystem/preopens@0.2.12",
    "wasi:filesystem/types@0.2.12",
    "wasi:io/error@0.2.12",
    "wasi:io/poll@0.2.12",
    "wasi:io/streams@0.2.12",
    "wasi:random/insecure-seed@0.2.12",
    "wasi:random/insecure@0.2.12",
    "wasi:random/random@0.2.12",
    "wasi:sockets/instance-network@0.2.12",
    "wasi:sockets/ip-name-lookup@0.2.12",
    "wasi:sockets/network@0.2.12",
    "wasi:sockets/tcp-create-socket@0.2.12",
    "wasi:sockets/tcp@0.2.12",
    "wasi:sockets/udp-create-socket@0.2.12",
    "wasi:sockets/udp@0.2.12",
];

/// Add all interfaces of [`INTERFACES`].
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    linked::link(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// What one instance may use of WASI, with this randomness: that of its session, or the one that all
/// instances of an agent start with.
pub(crate) fn context(random: &RandomStream, log: &SharedLog) -> WasiCtx {
    builder(random, log).build()
}

/// What a command is started with.
pub(crate) struct Program {
    /// Its name, and what follows it.
    pub(crate) arguments: Vec<String>,
    /// Its variables, by name.
    pub(crate) environment: Vec<(String, String)>,
    /// What it can read.
    pub(crate) input: String,
    /// Where it prints to.
    pub(crate) output: Printed,
}

/// What a command may use of WASI.
pub(crate) fn context_of(program: Program, random: &RandomStream, log: &SharedLog) -> WasiCtx {
    builder(random, log)
        .args(&program.arguments)
        .envs(&program.environment)
        .stdin(MemoryInputPipe::new(program.input))
        .stdout(program.output)
        .build()
}

fn builder(random: &RandomStream, log: &SharedLog) -> WasiCtxBuilder {
    let mut builder = WasiCtxBuilder::new();
    builder
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .stdout(Output::new(StdStream::Stdout, log.clone()))
        .stderr(Output::new(StdStream::Stderr, log.clone()))
        .wall_clock(StandingClock)
        .monotonic_clock(StandingClock)
        // One stream for both: what comes from one never comes from the other.
        .secure_random(random.clone())
        .insecure_random(random.clone())
        .max_random_size(MAX_RANDOM);
    builder
}
