//! The agents that come with Dormouse, as components.
//!
//! Each is a package beside this one, built when this crate is built.

#![deny(missing_docs)]

/// An agent that a host offers without an upload.
#[derive(Clone, Copy)]
pub struct BundledAgent {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

impl std::fmt::Debug for BundledAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.name, self.version, self.bytes.len())
    }
}

include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// The agent of sessions that are created without naming one.
pub const DEFAULT: BundledAgent = ASSISTANT;
