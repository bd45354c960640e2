//! How values are laid out, inside of their envelopes: parts with their lengths before them. What the value
//! of each kind has stands in the file of its table.
//!
//! The committer takes values apart and puts them together again without decoding what is in them.

use crate::codec::CodecError;

/// Write what `write` writes, with its length before it.
pub(super) fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start - 4).expect("a commit has far less than 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// A part of a value with its length before it, and what comes after it.
pub(super) fn framed(bytes: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    bytes
        .split_first_chunk()
        .and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
        })
        .ok_or_else(|| malformed("a value is cut short"))
}

/// A number, and what comes after it.
pub(super) fn numbered(bytes: &[u8]) -> Result<(u64, &[u8]), CodecError> {
    bytes
        .split_first_chunk()
        .map(|(number, rest)| (u64::from_le_bytes(*number), rest))
        .ok_or_else(|| malformed("a value is cut short"))
}

fn malformed(what: &str) -> CodecError {
    CodecError::Malformed(what.to_owned())
}
