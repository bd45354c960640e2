//! The interfaces that a guest may import, one a file.
//!
//! Invariants: an import answers from values and from the world of the call, and waits for nothing but
//! time and, where it asks for an [`effect`], the world; it reaches the world through [`Guest`] alone, in a call; it is paid for before it works, by what
//! it carries, and refuses what is too large before it reads it; it works in pieces of a millisecond at
//! most, and makes room for others between them; what a guest hands in is bounded before it is kept, and
//! what is kept is charged to the budget of the guest's memory; no import reaches a file, a variable or a
//! socket of the host.
//!
//! Generated bindings read strings and lists before any code of ours runs, and know no fuel. So every
//! function that a guest can call is linked by hand, through an [`interface`] that takes its [`price`].
//!
//! A function whose effect takes time borrows the world while it waits. Meanwhile it holds nothing of the
//! host but the instance, whose memory can rest; a call that is dropped leaves the world in the instance.

mod effect;
pub(super) mod http;
mod interface;
pub(super) mod log;
mod metrics;
mod model;
pub(super) mod output;
mod peers;
pub(super) mod price;
pub(super) mod session;
mod text;
mod timers;
mod tools;
mod view;
pub(super) mod wasi;

use wasmtime::Engine;
use wasmtime::component::Linker;

use super::bindings::dormouse::agent as contract;
use super::guest::Guest;
use interface::Interface;

/// Interfaces of our own, by name.
const OWN: [&str; 9] = [
    "dormouse:agent/session@0.1.0",
    "dormouse:agent/output@0.1.0",
    "dormouse:agent/log@0.1.0",
    "dormouse:agent/model@0.1.0",
    "dormouse:agent/tools@0.1.0",
    "dormouse:agent/timers@0.1.0",
    "dormouse:agent/peers@0.1.0",
    "dormouse:agent/metrics@0.1.0",
    "dormouse:agent/view@0.1.0",
];

/// A linker with everything that a guest may import.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    let [session, output, log, model, tools, timers, peers, metrics, view] = OWN;
    session::link(&mut Interface::new(&mut linker, session)?)?;
    output::link(&mut Interface::new(&mut linker, output)?)?;
    log::link(&mut Interface::new(&mut linker, log)?)?;
    model::link(&mut Interface::new(&mut linker, model)?)?;
    tools::link(&mut Interface::new(&mut linker, tools)?)?;
    timers::link(&mut Interface::new(&mut linker, timers)?)?;
    peers::link(&mut Interface::new(&mut linker, peers)?)?;
    metrics::link(&mut Interface::new(&mut linker, metrics)?)?;
    view::link(&mut Interface::new(&mut linker, view)?)?;
    wasi::add_to_linker(&mut linker)?;
    http::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// The names of all interfaces that there are.
fn all() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain(wasi::INTERFACES).chain(http::INTERFACES)
}

/// Whether the host has this interface, in a version that will do.
pub(super) fn is_known(name: &str) -> bool {
    let wanted = compatible(name);
    all().any(|known| compatible(known) == wanted)
}

/// Whether functions of this import are effects.
pub(super) fn is_effect(import: &str) -> bool {
    matches!(
        compatible(import),
        "dormouse:agent/model@0.1"
            | "dormouse:agent/tools@0.1"
            | "dormouse:agent/peers@0.1"
            | "wasi:http/outgoing-handler@0.2"
    )
}

/// What a session has to grant for this import: a word, where it is anything at all.
pub(super) fn capability(import: &str) -> Option<&str> {
    let path = import.split('@').next().unwrap_or(import);
    let (package, interface) = path.split_once('/')?;
    match (package, interface) {
        ("dormouse:agent", interface) => Some(interface),
        ("wasi:clocks", _) => Some("clocks"),
        ("wasi:random", _) => Some("random"),
        ("wasi:filesystem", _) => Some("filesystem"),
        ("wasi:sockets", _) => Some("sockets"),
        ("wasi:http", _) => Some("http"),
        ("wasi:cli", "environment") => Some("environment"),
        ("wasi:cli", "stdin" | "stdout" | "stderr") => Some("stdio"),
        // Streams, polls and terminals are of use only with one of the above.
        _ => None,
    }
}

/// The name up to the part of its version that compatible versions share: `a:b/c@1`, `a:b/c@0.2`.
/// Versions 0.0.x and those with a suffix are compatible with themselves alone.
pub(super) fn compatible(name: &str) -> &str {
    let Some((_, version)) = name.split_once('@') else { return name };
    if version.contains(['-', '+']) {
        return name;
    }
    let mut numbers = version.split('.');
    let shared = match (numbers.next(), numbers.next()) {
        (Some("0"), Some("0")) | (None, _) => return name,
        (Some("0"), Some(minor)) => 2 + minor.len(),
        (Some(major), _) => major.len(),
    };
    &name[..name.len() - version.len() + shared]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compatible_as_far_as_semver_says() {
        assert_eq!(compatible("wasi:io/poll@0.2.6"), "wasi:io/poll@0.2");
        assert_eq!(compatible("a:b/c@1.2.3"), "a:b/c@1");
        assert_eq!(compatible("a:b/c@0.0.3"), "a:b/c@0.0.3");
        assert_eq!(compatible("a:b/c@1.0.0-rc1"), "a:b/c@1.0.0-rc1");
        assert_eq!(compatible("plain"), "plain");
        assert!(is_known("wasi:io/poll@0.2.0") && is_known("wasi:cli/stdout@0.2.9"));
        assert!(!is_known("wasi:io/poll@0.3.0") && !is_known("wasi:http/incoming-handler@0.2.0"));
    }

    #[test]
    fn the_linker_has_every_interface_that_is_listed() {
        let engine = super::super::engine::compiler().expect("an engine");
        let mut linker = linker(&engine).expect("it links");
        for name in all() {
            // A second definition of a name is an error, so this tells whether there is a first.
            let twice = linker.root().func_wrap(name, |_, (): ()| Ok(()));
            assert!(twice.is_err(), "{name} is not linked");
        }
    }

    #[test]
    fn capabilities_are_words_for_what_is_granted() {
        assert_eq!(capability("dormouse:agent/session@0.1.0"), Some("session"));
        assert_eq!(capability("wasi:clocks/wall-clock@0.2.6"), Some("clocks"));
        assert_eq!(capability("wasi:io/poll@0.2.6"), None);
    }
}
