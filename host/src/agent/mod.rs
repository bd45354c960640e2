//! Uploaded agents: immutable components, named by the digest of their bytes.
//!
//! `name@version` points at a digest. What an agent is made of is for `sandbox/` to say; where its
//! bytes lie, for `store/`.

pub mod catalog;
mod reference;

use std::fmt;
use std::str::FromStr;

pub use reference::{AgentName, AgentSelector, InvalidName, Version};

use crate::clock::Timestamp;
use crate::session::id::Principal;

/// The BLAKE3 digest of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Digest, blake3::HexError> {
        Ok(Digest(*blake3::Hash::from_hex(text)?.as_bytes()))
    }
}

/// Which agent serves a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRef {
    /// The name it was asked for by.
    pub name: AgentName,
    /// The version under that name.
    pub version: Version,
    /// The component itself.
    pub digest: Digest,
}

/// How an agent can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentKind {
    /// It exports `dormouse:agent/handler`.
    Agent,
    /// It exports `wasi:cli/run`: a program that knows nothing of the host. It runs once, from its start
    /// to its end, in an ephemeral session: the prompt is its input, and what it prints is the reply.
    Command,
}

/// How the guest state of an agent outlives its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statefulness {
    /// It exports `dormouse:agent/state`: its state can be taken to other versions of it. Between turns
    /// it sleeps as an image all the same, where one can be taken.
    Portable,
    /// It knows nothing of its state. The host takes an image of its memory.
    Image,
    /// Its state is lost with the instance. Says why nothing saves it.
    Unsaved(String),
    /// It has none from one turn to the next: each turn runs it anew, and nothing can be lost.
    Stateless,
}

/// What is known of an uploaded agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name, version and digest.
    pub reference: AgentRef,
    /// Who uploaded it; `None` for agents that come with the host.
    pub owner: Option<Principal>,
    /// The size of the component, in bytes.
    pub size: u64,
    /// How it is called.
    pub kind: AgentKind,
    /// The interfaces it imports, in the order of the component.
    pub imports: Vec<String>,
    /// What a session needs to grant for these imports: a word for each.
    pub capabilities: Vec<String>,
    /// How its state outlives its instance.
    pub statefulness: Statefulness,
    /// How long it took to compile, in milliseconds.
    pub compile_ms: u64,
    /// When it was uploaded.
    pub uploaded_at: Timestamp,
}
