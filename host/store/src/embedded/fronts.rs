//! The fronts of sessions get what lists and statistics need: from layouts before 6, in which only the
//! bodies had threads, conversations, projects and what was spent.
//!
//! Sessions are written anew some at a time, and the layout is the present one at the end. Each batch
//! leaves a directory that an earlier version reads, so a crash costs time, and it is begun again.

use bytes::Bytes;

use super::disk::{Disk, ReadExtent};
use super::engine::{Batch, Class};
use super::owners::known;
use super::tables::LAYOUT;
use super::tables::sessions::{FRONT, SessionCell};
use super::{OpenError, keys};
use crate::codec::{self, CodecError, RecordKind};

/// A batch is written when it has this many bytes, about.
const BATCH: usize = if cfg!(test) { 500 } else { 1 << 20 };

/// Complete all fronts, and give the directory the present layout.
pub(super) fn complete(disk: &Disk) -> Result<(), OpenError> {
    let (mut batch, mut written) = (Batch::default(), 0_u64);
    for entry in disk.walk(&[keys::SESSION], ReadExtent::Whole) {
        let (key, Some(value)) = entry? else { continue };
        let Some((front, value)) = known(&key, completed(&key, &value))? else { continue };
        batch.put(SessionCell::class(&front), key, value);
        written += 1;
        if batch.size() > BATCH {
            disk.write(std::mem::take(&mut batch))?;
        }
    }
    batch.put(Class::Inline, keys::FORMAT, codec::seal(keys::FORMAT, &[&[LAYOUT]]));
    disk.write(batch)?;
    tracing::info!(
        written,
        "the data directory was written before lists had all filters: its sessions are found by them now"
    );
    Ok(())
}

/// The front and the value of a session, where it has to be written anew. One whose front would be too
/// large for that is not found by what is missing in it.
fn completed(key: &[u8], value: &Bytes) -> Result<Option<(Bytes, Vec<u8>)>, CodecError> {
    let value = Bytes::from(codec::unseal(RecordKind::Session, key, value)?.into_owned());
    let mut cell = SessionCell::read(&value)?;
    let front = codec::encode_front(&codec::decode_session(&cell.front, &cell.body)?);
    if front == cell.front || front.len() > FRONT {
        return Ok(None);
    }
    cell.front = front.into();
    Ok(Some((cell.front.clone(), cell.seal(key))))
}
