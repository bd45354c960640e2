//! The functions of WASI that a guest can call, each with its price.
//!
//! `wasmtime-wasi` links all of WASI first; what is linked here takes the place of what it linked. What
//! is left of its own needs a handle that no guest has, as a socket, or only reads, as an error of a stream.

mod cli;
mod clocks;
mod filesystem;
mod io;
mod network;
mod random;

use wasmtime::component::Linker;

use super::super::interface::Interface;
use crate::guest::Guest;

/// Links one interface.
type Link = fn(&mut Interface<'_>) -> wasmtime::Result<()>;

/// Link all of them.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let parts: [(&str, Link); 22] = [
        ("wasi:cli/environment@0.2.12", cli::environment),
        ("wasi:cli/exit@0.2.12", cli::exit),
        ("wasi:cli/stdin@0.2.12", cli::stdin),
        ("wasi:cli/stdout@0.2.12", cli::stdout),
        ("wasi:cli/stderr@0.2.12", cli::stderr),
        ("wasi:cli/terminal-stdin@0.2.12", cli::terminal_stdin),
        ("wasi:cli/terminal-stdout@0.2.12", cli::terminal_stdout),
        ("wasi:cli/terminal-stderr@0.2.12", cli::terminal_stderr),
        ("wasi:clocks/monotonic-clock@0.2.12", clocks::monotonic),
        ("wasi:clocks/wall-clock@0.2.12", clocks::wall),
        ("wasi:filesystem/preopens@0.2.12", filesystem::preopens),
        ("wasi:filesystem/types@0.2.12", filesystem::types),
        ("wasi:io/poll@0.2.12", io::poll),
        ("wasi:io/streams@0.2.12", io::streams),
        ("wasi:random/insecure-seed@0.2.12", random::insecure_seed),
        ("wasi:random/insecure@0.2.12", random::insecure),
        ("wasi:random/random@0.2.12", random::random),
        ("wasi:sockets/instance-network@0.2.12", network::instance),
        ("wasi:sockets/ip-name-lookup@0.2.12", network::ip_name_lookup),
        ("wasi:sockets/network@0.2.12", network::network),
        ("wasi:sockets/tcp-create-socket@0.2.12", network::tcp_create_socket),
        ("wasi:sockets/udp-create-socket@0.2.12", network::udp_create_socket),
    ];
    for (name, link) in parts {
        link(&mut Interface::new(linker, name)?)?;
    }
    Ok(())
}
