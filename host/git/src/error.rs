//! Why there is no answer.

use bytes::Bytes;

use crate::history::HistoryError;
use crate::packet;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The client does not speak the protocol.
    #[error("this is no request of git-upload-pack: {0}")]
    Malformed(&'static str),
    /// The client asks for something that this repository does not have or do.
    #[error("{0}")]
    Refused(String),
    /// The request or the repository is larger than the [`Limits`](crate::Limits) allow.
    #[error("there are more than {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: u64,
    },
    /// The contents of a file are made to have the SHA-1 of others. Clients of git refuse them as well.
    #[error("a file is part of an attack on SHA-1: remove it, and rewind the session to before it")]
    Collision,
    /// The name of a reference is none that git takes: a fault of the host.
    #[error("git takes no reference of the name {0:?}")]
    InvalidReference(String),
    /// A revision cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A file cannot be read.
    #[error("the files of a revision cannot be read: {0}")]
    Files(#[from] dormouse_workspace::Error),
    /// What was read twice differs.
    #[error("the history changed while it was read: {0}")]
    Inconsistent(&'static str),
}

impl From<dormouse_workspace::BlobError> for Error {
    fn from(error: dormouse_workspace::BlobError) -> Error {
        Error::Files(error.into())
    }
}

impl Error {
    /// Whether the fault lies with the host or its disk, and somebody has to look at it.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        match self {
            Error::Malformed(_) | Error::Refused(_) | Error::TooMany { .. } | Error::Collision => {
                false
            }
            Error::InvalidReference(_)
            | Error::History(_)
            | Error::Files(_)
            | Error::Inconsistent(_) => true,
        }
    }

    /// What a client is told: nothing of the inside of the host.
    #[must_use]
    pub fn public(&self) -> String {
        if self.is_fault() {
            "the host cannot read this repository now".into()
        } else {
            self.to_string()
        }
    }

    /// A body that a client of git shows to its user as an error. It is read where the status is `200` alone.
    #[must_use]
    pub fn body(&self) -> Bytes {
        error_body(&self.public())
    }
}

/// A body that a client of git shows to its user as an error, in these words. It is read where the status is `200`
/// alone.
#[must_use]
pub fn error_body(message: &str) -> Bytes {
    let mut out = Vec::new();
    packet::text(&mut out, &format!("ERR {message}"));
    Bytes::from(out)
}
