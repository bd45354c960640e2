//! The form of blobs.
//!
//! ```text
//! blob     version u8 = 1 │ kind u8 │ count u8 │ count × id [32] │ payload
//! root     time │ bytes │ names │ height u8 │ top of the table
//! table    0 │ mask u16 │ inode …                            numbers of one group of 16
//!          level u8 │ mask u16 │ (inodes below, child) …     level 1 and up
//! inode    kind u8 │ links: count, (parent, name) … │ changed │ born, modified, accessed: differences to it │ rest
//!          rest of a file       length │ 0, or the top of the contents
//!          rest of a directory  reach │ count of names │ names
//!          rest of a link       target
//! names    0 │ count │ (name, number, kind u8) …             a bucket, sorted
//!          1 │ at │ prefix │ mask u16 │ (names below, child) …
//! contents level u8 │ mask u16 │ child …
//! chunk    bytes without the zeros at their end
//! version  tree │ 0, or 1 and the version before │ number │ bytes │ label
//! child    1, the next of the ids of the blob │ 2, the node itself, here
//! ```
//! Numbers are LEB128 in as few bytes as they need, bytes have their length before them. The ids stand in front, so
//! that the store finds the edges of a blob without knowing kinds. Nothing may be left at the end. Which child stands
//! in its parent follows from the child alone (`Node::is_inline`): equal contents have equal blobs.

use bytes::Bytes;

use crate::EDGES;
use crate::blob::{BlobError, BlobId, NewBlob};
use crate::node::Node;

/// The version of this form.
const VERSION: u8 = 1;
/// The most bytes of a blob: a group of inodes that have as many and as long names as they may have.
const MAX_BLOB: usize = 1 << 20;
/// How deep nodes stand in nodes: names or a chunk in a group of inodes in a node of the table.
const NESTED: u8 = 2;
const HEADER: usize = 3;
const ID: usize = 32;

/// What a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Root = 1,
    Table = 2,
    Names = 3,
    Contents = 4,
    Chunk = 5,
    Version = 6,
}

/// Why bytes are no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Writes one blob.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Encoder {
    edges: Vec<BlobId>,
    payload: Vec<u8>,
}

impl Encoder {
    pub(crate) fn of<N: Node>(node: &N) -> Encoder {
        let mut out = Encoder::default();
        node.encode(&mut out);
        out
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.payload.push(byte);
    }

    pub(crate) fn mask(&mut self, mask: u16) {
        self.payload.extend_from_slice(&mask.to_le_bytes());
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.payload.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.payload.push(number as u8);
    }

    /// What is added to `base` to have `number`, around the end of all numbers if need be: small either way.
    pub(crate) fn difference(&mut self, number: u64, base: u64) {
        let difference = number.wrapping_sub(base).cast_signed();
        self.number(((difference << 1) ^ (difference >> 63)).cast_unsigned());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.payload.extend_from_slice(bytes);
    }

    pub(crate) fn edge(&mut self, id: BlobId) {
        self.edges.push(id);
    }

    /// How many bytes the payload has.
    pub(crate) fn len(&self) -> usize {
        self.payload.len()
    }

    /// How many edges there are.
    pub(crate) fn edges(&self) -> usize {
        self.edges.len()
    }

    pub(crate) fn finish(mut self, kind: Kind) -> NewBlob {
        debug_assert!(self.edges.len() <= EDGES, "a blob has few edges");
        let mut bytes = Vec::with_capacity(HEADER + self.edges.len() * ID + self.payload.len());
        bytes.extend_from_slice(&[VERSION, kind as u8, self.edges.len() as u8]);
        for edge in &self.edges {
            bytes.extend_from_slice(&edge.0);
        }
        bytes.extend_from_slice(&self.payload);
        self.edges.sort_unstable();
        self.edges.dedup();
        NewBlob { id: BlobId::of(&bytes), edges: self.edges, bytes: Bytes::from(bytes) }
    }
}

/// Reads one blob.
pub(crate) struct Decoder<'a> {
    edges: &'a [[u8; ID]],
    payload: &'a [u8],
    /// How many nodes stand around the one that is read.
    depth: u8,
}

/// The node in these bytes, which have to be those that `id` names.
pub(crate) fn read<N: Node>(id: &BlobId, bytes: &[u8]) -> Result<N, BlobError> {
    let damaged = |what| BlobError::Damaged { id: *id, what };
    if bytes.len() > MAX_BLOB {
        return Err(damaged("it is too large"));
    }
    if BlobId::of(bytes) != *id {
        return Err(damaged("its bytes are others"));
    }
    decode(bytes).map_err(|Malformed(what)| damaged(what))
}

/// The blobs that the blob with these bytes names, each once, in the order of their ids. Whether they are the bytes
/// of `id` is not asked.
///
/// # Errors
///
/// They are not the bytes of a blob.
pub fn edges(id: &BlobId, bytes: &[u8]) -> Result<Vec<BlobId>, BlobError> {
    let damaged = |Malformed(what)| BlobError::Damaged { id: *id, what };
    let (_, edges, _) = split(bytes).map_err(damaged)?;
    let mut edges: Vec<BlobId> = edges.iter().map(|edge| BlobId(*edge)).collect();
    edges.sort_unstable();
    edges.dedup();
    Ok(edges)
}

fn decode<N: Node>(bytes: &[u8]) -> Result<N, Malformed> {
    let (kind, edges, payload) = split(bytes)?;
    if kind != N::KIND as u8 {
        return Err(Malformed("it is of another kind"));
    }
    let mut from = Decoder { edges, payload, depth: 0 };
    let node = N::decode(&mut from)?;
    if !from.edges.is_empty() || !from.payload.is_empty() {
        return Err(Malformed("something is left at its end"));
    }
    Ok(node)
}

/// What a blob says: its kind, the ids that it names, and the rest.
type Parts<'a> = (u8, &'a [[u8; ID]], &'a [u8]);

fn split(bytes: &[u8]) -> Result<Parts<'_>, Malformed> {
    let [version, kind, count, rest @ ..] = bytes else { return Err(CUT) };
    if *version != VERSION {
        return Err(Malformed("it is of another version"));
    }
    let count = usize::from(*count);
    if count > EDGES {
        return Err(Malformed("it has too many edges"));
    }
    let (edges, payload) = rest.split_at_checked(count * ID).ok_or(CUT)?;
    let (edges, _) = edges.as_chunks();
    Ok((*kind, edges, payload))
}

const CUT: Malformed = Malformed("it is cut short");

impl<'a> Decoder<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.payload.split_at_checked(count).ok_or(CUT)?;
        self.payload = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|taken| taken[0])
    }

    pub(crate) fn mask(&mut self) -> Result<u16, Malformed> {
        self.take(2).map(|taken| u16::from_le_bytes([taken[0], taken[1]]))
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                let is_short = shift == 0 || bits != 0;
                return if is_short { Ok(number) } else { Err(Malformed("a number is too long")) };
            }
        }
        Err(Malformed("a number is too large"))
    }

    /// A number of this size at most.
    pub(crate) fn bounded(&mut self, most: u64) -> Result<u64, Malformed> {
        let number = self.number()?;
        if number > most { Err(Malformed("a number is too large")) } else { Ok(number) }
    }

    pub(crate) fn difference(&mut self, base: u64) -> Result<u64, Malformed> {
        let number = self.number()?;
        let difference = (number >> 1) ^ (number & 1).wrapping_neg();
        Ok(base.wrapping_add(difference))
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let count = self.bounded(most as u64)?;
        self.take(count as usize)
    }

    pub(crate) fn text(&mut self, most: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(most)?).map_err(|_| Malformed("a text is no UTF-8"))
    }

    /// Read a node that stands in its parent.
    pub(crate) fn nested<N: Node>(&mut self) -> Result<N, Malformed> {
        if self.depth == NESTED {
            return Err(Malformed("nodes stand in nodes too deep"));
        }
        self.depth += 1;
        let node = N::decode(self)?;
        self.depth -= 1;
        let out = Encoder::of(&node);
        if !node.is_inline(out.len(), out.edges()) {
            return Err(Malformed("a node stands where it does not belong"));
        }
        Ok(node)
    }

    pub(crate) fn edge(&mut self) -> Result<BlobId, Malformed> {
        let (edge, rest) = self.edges.split_first().ok_or(Malformed("an edge is missing"))?;
        self.edges = rest;
        Ok(BlobId(*edge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunk;
    use crate::root::Root;

    fn decoder(payload: &[u8]) -> Decoder<'_> {
        Decoder { edges: &[], payload, depth: 0 }
    }

    #[test]
    fn numbers_are_read_back_and_have_one_form() {
        for number in [0, 1, 127, 128, 300, 1 << 35, u64::MAX - 1, u64::MAX] {
            let mut out = Encoder::default();
            out.number(number);
            assert_eq!(decoder(&out.payload).number(), Ok(number));
            for base in [0, 5, number, u64::MAX] {
                let mut out = Encoder::default();
                out.difference(number, base);
                assert_eq!(decoder(&out.payload).difference(base), Ok(number));
            }
        }
        let too_long = Malformed("a number is too long");
        assert_eq!(decoder(&[0x80, 0]).number(), Err(too_long));
        let too_large = Malformed("a number is too large");
        assert_eq!(decoder(&[0xff; 11]).number(), Err(too_large));
        let over = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(decoder(&over).number(), Err(too_large));
        assert_eq!(decoder(&[0x80]).number(), Err(CUT));
    }

    #[test]
    fn a_blob_has_one_form() {
        let good = Encoder::of(&Root::empty(7)).finish(Kind::Root).bytes.to_vec();
        assert!(decode::<Root>(&good).is_ok());
        assert_eq!(decode::<Chunk>(&good).err(), Some(Malformed("it is of another kind")));
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            decode::<Root>(&bytes).err().map(|Malformed(what)| what)
        };
        let left = Some("something is left at its end");
        assert_eq!(changed(&|bytes| bytes.push(0)), left);
        let edge = |bytes: &mut Vec<u8>| {
            bytes[2] = 1;
            bytes.splice(3..3, [9; ID]);
        };
        assert_eq!(changed(&edge), left);
        assert_eq!(changed(&|bytes| bytes[0] += 1), Some("it is of another version"));
        assert_eq!(changed(&|bytes| bytes[2] = 17), Some("it has too many edges"));
        assert_eq!(changed(&|bytes| bytes[2] = 16), Some("it is cut short"));
        for length in 0..good.len() {
            assert_eq!(changed(&|bytes| bytes.truncate(length)), Some("it is cut short"));
        }
    }
}
