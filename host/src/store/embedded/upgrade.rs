//! From the first layout of a store, in which a session had one snapshot in its own value.
//!
//! It is done once, when the store is opened, a bounded number of sessions at a time. Each batch is
//! whole or not at all, and the store takes its new layout with the last: one that is killed in
//! between goes on where it was.

use bytes::Bytes;

use super::cell::{PartRef, SessionCell};
use super::commit::Places;
use super::disk;
use super::group::Group;
use super::{OpenError, Shared, keys, recovery};
use crate::session::id::SessionId;
use crate::session::snapshot::Snapshot;
use crate::store::StoreError;
use crate::store::codec::{self, CodecError, Kind};

/// The most sessions of one batch.
const BATCH: usize = 256;

/// Move the heads of these sessions to where snapshots are kept.
pub(super) fn move_heads(shared: &Shared, sessions: &[SessionId]) -> Result<(), OpenError> {
    if !sessions.is_empty() {
        tracing::info!(sessions = sessions.len(), "the snapshots of an earlier Dormouse are moved");
    }
    for some in sessions.chunks(BATCH) {
        let mut group = Group::new(shared);
        for id in some {
            move_head(shared, &mut group, *id)?;
        }
        let sealed = group.seal();
        if let Some(batch) = sealed.batch {
            shared.disk.write(batch).map_err(|disk::WriteFailed(reason)| broken(&reason))?;
        }
        shared.files.remove(&sealed.then.unlink);
    }
    recovery::set_layout(&shared.disk)
}

fn move_head(shared: &Shared, group: &mut Group<'_>, id: SessionId) -> Result<(), OpenError> {
    let key = keys::session(id);
    let Some(sealed) = shared.disk.get(&key)? else { return Ok(()) };
    let damaged =
        |error: CodecError| OpenError::Damaged(format!("{}: {error}", keys::describe(&key)));
    let value = codec::unseal(Kind::Session, &key, &sealed).map_err(damaged)?;
    let cell = SessionCell::read(&value).map_err(damaged)?;
    let Some(part) = &cell.old_head else { return Ok(()) };
    let names = shared.files.names();
    let mut places = Places::new(&names);
    let head = match read_head(shared, part)? {
        Ok(head) => Some(places.snapshot(id, head)),
        Err(reason) => {
            tracing::error!(session = %id, reason, "the snapshot of a session is damaged");
            None
        }
    };
    let (_, mut shares, blobs) = places.finish()?;
    if let Some(blobs) = blobs {
        shares.write(&shared.files, &blobs)?;
    }
    Ok(group.adopt(id, cell, head, &shares)?)
}

/// The head, or why it does not decode.
fn read_head(shared: &Shared, part: &PartRef<'_>) -> Result<Result<Snapshot, String>, OpenError> {
    let bytes = match part {
        PartRef::Inline(bytes) => Bytes::copy_from_slice(bytes),
        PartRef::File(name) => match shared.files.read(Kind::Head, name) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Err("its file is not there".to_owned())),
            Err(StoreError::Damaged(file)) => return Ok(Err(format!("{file} is damaged"))),
            Err(error) => return Err(error.into()),
        },
    };
    Ok(codec::decode_snapshot(&bytes).map_err(|error| error.to_string()))
}

fn broken(reason: &str) -> OpenError {
    OpenError::Io(std::io::Error::other(reason.to_owned()))
}
