//! The tags of a session in few bytes: the index keeps those of all sessions in memory.

use std::sync::Arc;

/// What is counted beside shared bytes.
const COUNTS: usize = 2 * size_of::<usize>();

/// A list of tags: the length of each in two bytes, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tags(Arc<[u8]>);

impl Tags {
    /// These tags. One of more than 64 KiB, which no session can have, is cut: it is found by nobody.
    pub(super) fn new(tags: &[String]) -> Tags {
        let mut bytes = Vec::with_capacity(tags.iter().map(|tag| tag.len() + 2).sum());
        for tag in tags {
            let length = u16::try_from(tag.len()).unwrap_or(u16::MAX);
            bytes.extend(length.to_le_bytes());
            bytes.extend(&tag.as_bytes()[..usize::from(length)]);
        }
        Tags(bytes.into())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that they take in memory.
    pub(super) fn bytes(&self) -> usize {
        COUNTS + self.0.len()
    }

    /// Bytes that these would take in memory.
    pub(super) fn bytes_of(tags: &[String]) -> usize {
        COUNTS + tags.iter().map(|tag| tag.len() + 2).sum::<usize>()
    }

    /// Whether one of these is among them.
    pub(super) fn any_of(&self, wanted: &[String]) -> bool {
        let mut rest = &*self.0;
        while let Some((length, after)) = rest.split_first_chunk() {
            let (tag, after) = after.split_at(usize::from(u16::from_le_bytes(*length)));
            if wanted.iter().any(|wanted| wanted.as_bytes() == tag) {
                return true;
            }
            rest = after;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_tag_is_found_and_nothing_else(
            tags in proptest::collection::vec(".{0,5}", 0..6),
            other in ".{0,5}",
        ) {
            let kept = Tags::new(&tags);
            prop_assert_eq!(kept.is_empty(), tags.is_empty());
            prop_assert_eq!(kept.bytes(), Tags::bytes_of(&tags));
            prop_assert_eq!(kept.any_of(std::slice::from_ref(&other)), tags.contains(&other));
            for tag in &tags {
                prop_assert!(kept.any_of(&[other.clone(), tag.clone()]));
            }
        }
    }
}
