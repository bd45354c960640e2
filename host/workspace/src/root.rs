//! The root of a tree: the top of its table, and what is known of all of it.

use crate::MAX_NAMES;
use crate::commit::Settlement;
use crate::inode::{Directory, Inode, Kind as InodeKind};
use crate::node::Node;
use crate::quota::Usage;
use crate::stored::{Decoder, Encoder, Kind, Malformed};
use crate::table::Table;

/// The most bytes that a tree holds, whatever the quotas say.
const MAX_BYTES: u64 = 1 << 60;

/// The root of a tree.
#[derive(Clone)]
pub(crate) struct Root {
    /// The time of the last change, in nanoseconds.
    pub(crate) time: u64,
    pub(crate) usage: Usage,
    pub(crate) table: Table,
}

impl Root {
    /// A tree with nothing but its own directory, made at this time.
    pub(crate) fn empty(time: u64) -> Root {
        let directory = Inode::new(InodeKind::Directory(Directory::default()), time);
        Root { time, usage: Usage::default(), table: Table::of(directory) }
    }
}

impl Node for Root {
    const KIND: Kind = Kind::Root;

    fn encode(&self, out: &mut Encoder) {
        out.number(self.time);
        out.number(self.usage.bytes);
        out.number(self.usage.names);
        self.table.encode(out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Root, Malformed> {
        let time = from.number()?;
        let (bytes, names) = (from.bounded(MAX_BYTES)?, from.bounded(MAX_NAMES)?);
        let usage = Usage { bytes, names };
        Ok(Root { time, usage, table: Table::decode(from)? })
    }

    fn settled(&self, into: &mut Settlement) -> Root {
        Root { table: self.table.settled(into), ..self.clone() }
    }

    fn is_inline(&self, _: usize, _: usize) -> bool {
        false
    }

    fn weight(&self) -> usize {
        self.table.weight()
    }
}
