//! Agents: immutable components, named by the digest of their bytes.
//!
//! An owner, a name and a version point at a digest, and never change what they point at. The agents
//! that come with the host belong to the host; all others to the principal that uploaded them, and
//! nobody else can name one unless its owner has made it public. What an agent is made of is for
//! the sandbox to say; where its bytes lie, for the store.

mod reference;

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};

pub use reference::{AgentName, AgentSelector, InvalidName, Version};

use crate::id::Principal;
use crate::time::Timestamp;

/// The BLAKE3 digest of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
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

/// The owner of an agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentOwner {
    /// The host: the agent comes with the build that runs, or came with an earlier one.
    Host,
    /// The principal that uploaded it.
    Principal(Principal),
}

impl AgentOwner {
    /// The principal, where it is one.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        match self {
            AgentOwner::Host => None,
            AgentOwner::Principal(principal) => Some(principal),
        }
    }
}

/// One agent: what serves a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentRef {
    /// The owner of the agent.
    pub owner: AgentOwner,
    /// Its name, among those of its owner.
    pub name: AgentName,
    /// The version under that name.
    pub version: Version,
    /// The component itself.
    pub digest: Digest,
}

/// `name@version` of an agent of the host, `owner/name@version` of one that was uploaded: text that
/// selects it.
impl fmt::Display for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AgentRef { owner, name, version, .. } = self;
        match owner {
            AgentOwner::Host => write!(f, "{name}@{version}"),
            AgentOwner::Principal(owner) => write!(f, "{owner}/{name}@{version}"),
        }
    }
}

/// The principals that can name an agent that was uploaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Its owner alone.
    #[default]
    Private,
    /// Everybody, as `owner/name`. To list, show and use it, not to change or remove it.
    Public,
}

impl Visibility {
    /// Both of them.
    pub const ALL: [Visibility; 2] = [Visibility::Private, Visibility::Public];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Visibility::Private => "private",
            Visibility::Public => "public",
        }
    }
}

/// Something that a component exports and a host can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// `dormouse:agent/handler`: it answers turns.
    Handler,
    /// `wasi:cli/run`: a program that knows nothing of the host. It runs once, from its start to its end,
    /// in an ephemeral session: the prompt is its input, and what it prints is the reply.
    Command,
    /// `dormouse:agent/state`: it saves its state by itself, so that another version can take it.
    State,
    /// `wasi:http/incoming-handler`: it answers requests of HTTP. No host calls that yet.
    IncomingHandler,
    /// `dormouse:agent/population`: it has many members of a simulation.
    Population,
}

/// What a component is to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentKind {
    /// It answers the turns of a session, and keeps its state between them.
    Agent,
    /// It is a program that is run once, in an ephemeral session.
    Command,
    /// It has many members of a simulation, and answers no turns.
    Population,
}

/// What a component exports of what a host can call: any of it, together.
///
/// ```
/// use dormouse_domain::agent::{ComponentKind, Export, Exports};
///
/// let exports = Exports::from_iter([Export::Command, Export::State]);
/// assert!(exports.has(Export::State) && exports.kind() == Some(ComponentKind::Command));
/// assert_eq!(exports.with(Export::Handler).kind(), Some(ComponentKind::Agent));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Exports(u8);

impl Export {
    /// All of them.
    pub const ALL: [Export; 5] = [
        Export::Handler,
        Export::Command,
        Export::State,
        Export::IncomingHandler,
        Export::Population,
    ];

    fn bit(self) -> u8 {
        match self {
            Export::Handler => 1,
            Export::Command => 2,
            Export::State => 4,
            Export::IncomingHandler => 8,
            Export::Population => 16,
        }
    }
}

impl Exports {
    /// Whether this is among them.
    #[must_use]
    pub fn has(self, export: Export) -> bool {
        self.0 & export.bit() != 0
    }

    /// These and one more.
    #[must_use]
    pub fn with(self, export: Export) -> Exports {
        Exports(self.0 | export.bit())
    }

    /// What the component is to the host: the first that it can be of an agent, a population and a command.
    /// `None`: the host can do nothing with it.
    #[must_use]
    pub fn kind(self) -> Option<ComponentKind> {
        let kinds = [
            (Export::Handler, ComponentKind::Agent),
            (Export::Population, ComponentKind::Population),
            (Export::Command, ComponentKind::Command),
        ];
        kinds.into_iter().find(|(export, _)| self.has(*export)).map(|(_, kind)| kind)
    }
}

impl FromIterator<Export> for Exports {
    fn from_iter<I: IntoIterator<Item = Export>>(exports: I) -> Exports {
        exports.into_iter().fold(Exports::default(), Exports::with)
    }
}

impl std::fmt::Debug for Exports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(Export::ALL.iter().filter(|export| self.has(**export))).finish()
    }
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

/// Which random bytes the instances of an agent draw while they start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartRandomness {
    /// They draw none, or each its own.
    #[default]
    None,
    /// Each draws the same, in every session of every host: nothing that is made of them is a secret or
    /// unique.
    Shared,
}

impl StartRandomness {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StartRandomness::None => "none",
            StartRandomness::Shared => "shared",
        }
    }
}

/// What is known of a component without running it in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// What it exports that a host can call. Of an agent that comes from a store: what answers its turns,
    /// and whether it saves its state by itself; the rest is known where the component is loaded.
    pub exports: Exports,
    /// The interfaces it imports, in the order of the component.
    pub imports: Vec<String>,
    /// What a session needs to grant for these imports: a word for each.
    pub capabilities: Vec<String>,
    /// How its state outlives its instance.
    pub statefulness: Statefulness,
    /// The fuel that an instance used to start, when the component was uploaded. 0: it was uploaded before
    /// that was measured, or needs none.
    pub start_fuel: u64,
    /// Which random bytes its instances draw while they start.
    pub start_randomness: StartRandomness,
}

/// What is known of an uploaded agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its owner, name, version and digest.
    pub reference: AgentRef,
    /// The principals that can name it. Everybody can name the agents of the host, whatever this says.
    pub visibility: Visibility,
    /// The size of the component, in bytes.
    pub size: u64,
    /// What its component is.
    pub component: ComponentInfo,
    /// How long it took to compile, in milliseconds.
    pub compile_ms: u64,
    /// When it was uploaded.
    pub uploaded_at: Timestamp,
}

impl Agent {
    /// Whether it comes with the host.
    #[must_use]
    pub fn is_bundled(&self) -> bool {
        self.reference.owner == AgentOwner::Host
    }

    /// Whether this principal uploaded it.
    #[must_use]
    pub fn is_owned_by(&self, principal: &Principal) -> bool {
        self.reference.owner.principal() == Some(principal)
    }

    /// Whether it was uploaded, by this principal or by one that has made it public.
    #[must_use]
    pub fn is_usable_by(&self, principal: &Principal) -> bool {
        self.is_owned_by(principal) || (!self.is_bundled() && self.visibility == Visibility::Public)
    }

    /// Whether it is among the uploaded agents that this principal may use, or where no principal is named,
    /// among those of all.
    #[must_use]
    pub fn is_listed_for(&self, principal: Option<&Principal>) -> bool {
        principal.map_or(!self.is_bundled(), |principal| self.is_usable_by(principal))
    }
}
