//! What a repository shows: revisions of a file tree, each with the one before it.

use std::fmt;

use dormouse_workspace::Tree;

/// The key of a revision. Equal keys are one and the same revision, in all histories that share a
/// [`Cache`](crate::Cache).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionId(pub [u8; 32]);

/// 64 hexadecimal digits.
impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevisionId({self})")
    }
}

/// A tree, and what is said of it. It becomes one commit, whose id follows from these fields alone: who changes one of
/// them for a revision that was shown before breaks each clone.
#[derive(Clone)]
pub struct Revision {
    /// The files, as a commit of a workspace left them.
    pub tree: Tree,
    /// The revision before this one.
    pub parent: Option<RevisionId>,
    /// What the commit says. Zero bytes are left out, and what is beyond [`MAX_MESSAGE`](crate::MAX_MESSAGE).
    pub message: String,
    /// Who made the changes.
    pub author: Signature,
    /// Who recorded them.
    pub committer: Signature,
    /// When, in seconds since 1970.
    pub time: u64,
}

/// Who has done something. Control characters, `<` and `>` are left out, for git has no way to write them; an empty
/// name becomes `unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
}

/// Where revisions are read from. Reading blocks the thread.
pub trait History: Send + Sync {
    /// This revision.
    ///
    /// # Errors
    ///
    /// It is not there, or cannot be read.
    fn revision(&self, id: &RevisionId) -> Result<Revision, HistoryError>;
}

/// Why there is no revision: a fault of the host or of its disk, never of a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// It is not there.
    #[error("the revision {0} is missing: restore it from a backup, or rewind the session")]
    Missing(RevisionId),
    /// It is there and cannot be read now.
    #[error("the revision {id} cannot be read: {reason}")]
    Unavailable {
        /// Which one.
        id: RevisionId,
        /// Why, in the words of the store.
        reason: String,
    },
}
