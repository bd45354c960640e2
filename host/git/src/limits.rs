//! How much is done for one request.

/// What a request and a repository may have at most. The defaults let a request take about 200 MB of memory at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of a request, after it is unpacked.
    pub request_bytes: usize,
    /// The objects that a client asks for in one request.
    pub wants: usize,
    /// The commits that a client says it has in one request.
    pub haves: usize,
    /// The references of a repository.
    pub references: usize,
    /// The revisions of a repository: about 250 bytes each while a request is answered.
    pub revisions: usize,
    /// The files, directories and links of one revision: about 150 bytes each while a request is answered.
    pub names: u64,
    /// The objects that one answer has: about 50 bytes each.
    pub objects: usize,
}

/// 8 MiB; 65,536 wants, 131,072 haves; 4,096 references, 250,000 revisions, 500,000 files, 2,000,000 objects.
impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_bytes: 8 << 20,
            wants: 1 << 16,
            haves: 1 << 17,
            references: 1 << 12,
            revisions: 250_000,
            names: 500_000,
            objects: 2_000_000,
        }
    }
}
