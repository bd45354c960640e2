//! `wasi:cli`.

use wasmtime::StoreContextMut;
use wasmtime_wasi::cli::WasiCliView;
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_stderr, terminal_stdin, terminal_stdout,
};

use super::super::super::interface::{HostWork, Interface};
use super::super::super::price;
use crate::fuel::charge;
use crate::guest::Guest;

pub(super) fn environment(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("get-environment", get_environment)?;
    interface.metered("get-arguments", get_arguments)?;
    interface.simple("initial-cwd", 0, |guest, (): ()| {
        Ok((environment::Host::initial_cwd(&mut guest.cli())?,))
    })
}

type Variables = Vec<(String, String)>;

fn get_environment(mut store: StoreContextMut<'_, Guest>, (): ()) -> HostWork<'_, (Variables,)> {
    Box::pin(async move {
        let variables = environment::Host::get_environment(&mut store.data_mut().cli())?;
        let bytes = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
        let items = price::of(variables.len(), price::FIELD);
        // What a configuration may hold bounds what was copied.
        charge(&mut store, price::of(bytes, price::BYTE) + items).await?;
        Ok((variables,))
    })
}

fn get_arguments(mut store: StoreContextMut<'_, Guest>, (): ()) -> HostWork<'_, (Vec<String>,)> {
    Box::pin(async move {
        let arguments = environment::Host::get_arguments(&mut store.data_mut().cli())?;
        let bytes = arguments.iter().map(String::len).sum();
        charge(&mut store, price::of(bytes, price::BYTE)).await?;
        Ok((arguments,))
    })
}

pub(super) fn exit(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("exit", 0, |guest, (status,): (Result<(), ()>,)| {
        exit::Host::exit(&mut guest.cli(), status)
    })?;
    interface.simple("exit-with-code", 0, |guest, (code,): (u8,)| {
        exit::Host::exit_with_code(&mut guest.cli(), code)
    })
}

pub(super) fn stdin(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("get-stdin", price::HANDLE, |guest, (): ()| {
        Ok((stdin::Host::get_stdin(&mut guest.cli())?,))
    })
}

pub(super) fn stdout(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("get-stdout", price::HANDLE, |guest, (): ()| {
        Ok((stdout::Host::get_stdout(&mut guest.cli())?,))
    })
}

pub(super) fn stderr(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("get-stderr", price::HANDLE, |guest, (): ()| {
        Ok((stderr::Host::get_stderr(&mut guest.cli())?,))
    })
}

pub(super) fn terminal_stdin(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("get-terminal-stdin", 0, |guest, (): ()| {
        Ok((terminal_stdin::Host::get_terminal_stdin(&mut guest.cli())?,))
    })
}

pub(super) fn terminal_stdout(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("get-terminal-stdout", 0, |guest, (): ()| {
        Ok((terminal_stdout::Host::get_terminal_stdout(&mut guest.cli())?,))
    })
}

pub(super) fn terminal_stderr(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("get-terminal-stderr", 0, |guest, (): ()| {
        Ok((terminal_stderr::Host::get_terminal_stderr(&mut guest.cli())?,))
    })
}
