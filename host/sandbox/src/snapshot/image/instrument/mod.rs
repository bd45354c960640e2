//! What is added to a component at upload, so that its state can be read and put back from outside.
//!
//! # What is added
//!
//! Every section of the component is copied as it is, and everything of ours comes after it: no index
//! moves, and nothing that the component says gets another meaning.
//!
//! - `module`: each core module exports every memory and every mutable global that it defines, under
//!   names that begin with [`RESERVED`].
//! - `pins`: where a core module asks WASI for its standard streams (and for a pollable of one, for the
//!   network, or for the directories that it begins with), its calls go to a function of the module that asks once and gives the same
//!   handle from then on, and ignores that it is dropped. Libraries keep these handles for good; so
//!   the handles of an instance that was just made are those that the snapshot remembers.
//! - `accessor`: one core module more, instantiated last, which imports those memories and globals and
//!   has functions to read and to write them. The component exports them as an instance.
//! - `append`: the same inside nested components, whose accessors are exported through each level.
//!
//! # Why it cannot change what an agent does
//!
//! Exports that nobody asks for have no effect inside a component: what imports a module, an instance
//! or a component asks for the names that it knows. The accessors run between the turns only, when
//! the host calls them, and leave every memory and global as they found it, but for what the host
//! writes on purpose. The only instructions of the agent that are replaced are direct calls of the
//! pinned imports. A module that uses such an import in another way (in a table, as an export, as its
//! start) is left alone, and what it holds open keeps its session resident. The fuel of a call
//! through a pin is its own, a few units, and the same whether the session slept or not.
//!
//! # What is refused, and why
//!
//! State that no accessor can reach would be lost without a word, so a component that could have it
//! is refused, with the reason: tables that change while it runs, segments that are dropped, globals
//! that hold references or vectors, memories that are shared or of another shape, resources that
//! the component itself defines (their handles lie in tables of the engine), asynchronous functions,
//! and modules or components that come from elsewhere and are not instrumented.
//!
//! The result is validated like an upload: a flaw in here is a refusal too, and no way in.

mod accessor;
mod append;
mod component;
mod module;
mod pins;
mod rewrite;

pub(super) use accessor::{GROUP, LISTS};
pub(crate) use component::instrument;
pub(super) use pins::DIRECTORY_COUNT;

/// The version of all this. Snapshots and compiled forms say which one they were made with: raise it
/// with any change of what is added or in which order it is exported.
pub(crate) const RECIPE: u16 = 3;

/// The version before instances began with directories. Its states are those of instances of this one: they have the same
/// memories and globals, and fewer handles.
pub(super) const BEFORE_DIRECTORIES: u16 = 2;

/// What the names of our exports of core modules begin with.
const RESERVED: &str = "dormouse:snapshot/";

/// The name of the export with accessors of this number, at any level.
pub(super) fn access_name(number: u32) -> String {
    format!("dormouse:snapshot/a{number}")
}

/// Names of the functions of an accessor: those for the whole of it,
pub(super) mod name {
    /// `(offset…)`: where the lists of the next write go.
    pub(in super::super) const SEEK: &str = "seek";
    /// `() -> count`: how many globals there are, the pinned handles last.
    pub(in super::super) const GLOBALS: &str = "globals";
    /// `() -> count`: how many of them are pinned handles.
    pub(in super::super) const PINNED: &str = "pinned";
    /// `(group) -> (values, bytes)`: some values, and the memory by whose number it is called.
    pub(in super::super) const LOOK: &str = "look";
    /// `(index) -> bits`: a value, where there is no memory to look at.
    pub(in super::super) const GET: &str = "get";
    /// `(index, bits)`
    pub(in super::super) const SET: &str = "set";

    /// `(directory)`: what takes the handles of directories, by the number of its pin.
    pub(in super::super) const PIN_DIRECTORY: &str = "pin-directory";

    /// and those of each memory or pin, by its number.
    pub(in super::super) fn of(what: &str, number: u32) -> String {
        format!("{what}{number}")
    }
}

/// Why a component cannot be snapshotted. Reads as the rest of a sentence about it.
pub(crate) type InstrumentError = String;

fn unreadable(error: wasmparser::Error) -> InstrumentError {
    format!("it cannot be read: {error}")
}
