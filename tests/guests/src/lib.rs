//! Guests that do one thing each that a host must bear, as components.
//!
//! They are named for what they do. Each does it when a turn's text says so and is otherwise a
//! counter that answers `turn N: TEXT`, so a test can tell whether a failed turn left a trace. One is a
//! program that knows nothing of Dormouse.

#![deny(missing_docs)]

mod unimaged;

pub use unimaged::unimaged;

/// A guest for tests.
#[derive(Clone, Copy)]
pub struct TestGuest {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

impl std::fmt::Debug for TestGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.name, self.version, self.bytes.len())
    }
}

/// A program for WASI 0.1, over the adapter that comes with wasmtime. It prints how many arguments and
/// variables it gets, each number as a digit, and then its input.
pub const PRINTS_WHAT_IT_GETS: TestGuest = TestGuest {
    name: "prints_what_it_gets",
    version: "1",
    bytes: include_bytes!(concat!(env!("OUT_DIR"), "/prints_what_it_gets.wasm")),
};

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
