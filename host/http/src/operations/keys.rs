//! `/api/keys`

use crate::codes::{Code, STORED};
use crate::operation::{Operation, Tag};

pub(crate) fn create() -> Operation {
    let summary = "Creates a key. The answer alone tells its secret.";
    Operation::new(Tag::Keys, "createKey", summary).fails(STORED).fails(&[
        Code::FirstKeyMustBeAdmin,
        Code::TooManyKeys,
        Code::KeyExists,
    ])
}

pub(crate) fn list() -> Operation {
    Operation::new(Tag::Keys, "listKeys", "Lists all keys, the oldest first.")
}

pub(crate) fn revoke() -> Operation {
    Operation::new(Tag::Keys, "revokeKey", "Revokes a key: from now on it admits nobody.")
        .fails(STORED)
        .fails(&[Code::KeyNotFound, Code::LastAdmin])
}
