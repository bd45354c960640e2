//! Versions: trees, each with the one before it, and what its maker says of it.

use bytes::Bytes;

use crate::blob::{BlobError, BlobId, NewBlob};
use crate::commit::Settlement;
use crate::node::Node;
use crate::source::Source;
use crate::stored::{Decoder, Encoder, Kind, Malformed};

/// A version of a workspace: a blob that names a tree, and the version before. So the history of a workspace is a chain
/// of blobs, and whoever keeps its last one keeps all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The root of the tree.
    pub tree: BlobId,
    /// The version before. `None`: the history begins with this one.
    pub parent: Option<BlobId>,
    /// How many versions come before it.
    pub number: u64,
    /// The bytes of the blobs that the commits of the whole history have brought, as their makers have counted.
    pub bytes: u64,
    /// What its maker says of it: [`Version::MAX_LABEL`] bytes at most.
    pub label: Bytes,
}

impl Version {
    /// The most bytes of a label.
    pub const MAX_LABEL: usize = 4 << 10;

    /// Read one.
    ///
    /// # Errors
    ///
    /// The blob cannot be read, or is no version.
    pub fn read(source: &Source, id: &BlobId) -> Result<Version, BlobError> {
        Ok(Version::clone(&*source.read::<Version>(id)?))
    }

    /// Its blob. A label that is too long is cut off.
    #[must_use]
    pub fn blob(&self) -> NewBlob {
        Encoder::of(self).finish(Kind::Version)
    }
}

impl Node for Version {
    const KIND: Kind = Kind::Version;

    fn encode(&self, out: &mut Encoder) {
        out.edge(self.tree);
        out.byte(u8::from(self.parent.is_some()));
        self.parent.iter().for_each(|parent| out.edge(*parent));
        out.number(self.number);
        out.number(self.bytes);
        out.bytes(&self.label[..self.label.len().min(Version::MAX_LABEL)]);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Version, Malformed> {
        let tree = from.edge()?;
        let parent = match from.byte()? {
            0 => None,
            1 => Some(from.edge()?),
            _ => return Err(Malformed("a version has a parent, or has none")),
        };
        let (number, bytes) = (from.number()?, from.number()?);
        let label = Bytes::copy_from_slice(from.bytes(Version::MAX_LABEL)?);
        Ok(Version { tree, parent, number, bytes, label })
    }

    fn settled(&self, _: &mut Settlement) -> Version {
        self.clone()
    }

    fn is_inline(&self, _: usize, _: usize) -> bool {
        false
    }

    fn weight(&self) -> usize {
        size_of::<Version>() + self.label.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored;

    fn id(number: u8) -> BlobId {
        BlobId([number; 32])
    }

    #[test]
    fn a_version_is_read_back_and_names_its_tree_and_the_one_before() {
        let first = Version {
            tree: id(1),
            parent: None,
            number: 0,
            bytes: 300,
            label: Bytes::from_static(b"turn 1"),
        };
        let second = Version { tree: id(2), parent: Some(id(9)), number: 1, ..first.clone() };
        for (version, edges) in [(first, vec![id(1)]), (second, vec![id(2), id(9)])] {
            let blob = version.blob();
            assert_eq!(blob.edges, edges);
            assert_eq!(stored::edges(&blob.id, &blob.bytes), Ok(edges));
            assert_eq!(stored::read(&blob.id, &blob.bytes), Ok(version));
        }
    }

    #[test]
    fn a_long_label_is_cut_off() {
        let label = Bytes::from(vec![7; Version::MAX_LABEL + 1]);
        let version = Version { tree: id(1), parent: None, number: 0, bytes: 0, label };
        let blob = version.blob();
        let read: Version = stored::read(&blob.id, &blob.bytes).expect("it is a version");
        assert_eq!(read.label.len(), Version::MAX_LABEL);
    }
}
