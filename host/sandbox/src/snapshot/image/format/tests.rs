//! Images as bytes: what is written is read again, and nothing else is.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::snapshot::image::access::AccessorCounts;
use crate::snapshot::image::chunk::{self, RANGE};
use crate::snapshot::image::pages::{BLOCK, MemoryImage, PageRun, differing};
use dormouse_base::memory::MemoryBudget;

fn pristine() -> Pristine {
    let mut first = MemoryImage::new();
    first.append(&vec![3; 2 * WASM_PAGE]);
    let (counts, account) = (AccessorCounts::of(3, 2), MemoryBudget::new(0).account());
    Pristine::new(vec![first, MemoryImage::new()], vec![1, 2, 3, 4, 5], counts, Vec::new(), account)
}

/// A memory of three pages that differs from the first of [`pristine`] where these say.
fn state(changes: &[(usize, u8)], globals: Vec<(u32, u64)>) -> ImageState {
    let pristine = pristine();
    let mut memory = vec![3; 2 * WASM_PAGE];
    memory.resize(3 * WASM_PAGE, 0);
    for (at, byte) in changes {
        let at = at % memory.len();
        memory[at] = *byte;
    }
    let mut difference = Difference::default();
    let before = (&pristine.memories[0], 0);
    let runs = differing(std::slice::from_ref(&(0..memory.len())), &memory, before);
    difference.add(&runs, 0, &memory, before);
    let first = MemoryState { size: 3, chunks: Vec::new(), difference };
    ImageState { memories: vec![first, MemoryState::default()], globals }
}

/// The same with chunks of these digests.
fn with_chunks(mut state: ImageState, digests: &[u8]) -> ImageState {
    let chunks = (0..).zip(digests).map(|(range, byte)| (range, Digest([*byte; 32])));
    state.memories[0].chunks = chunks.collect();
    state
}

fn sealed(mut image: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(&image);
    image[CHECKSUM..HEADER].copy_from_slice(&checksum.to_le_bytes());
    image
}

proptest! {
    #[test]
    fn an_image_is_read_as_it_was_written(
        changes in vec(any::<(usize, u8)>(), 0..200),
        bits in any::<[u64; 2]>(),
        digests in vec(any::<u8>(), 0..4),
    ) {
        let state = with_chunks(state(&changes, vec![(0, bits[0]), (2, bits[1])]), &digests);
        let encoded = state.encode(&pristine());
        prop_assert_eq!(ImageState::decode(&encoded, &pristine()), Ok(state));
    }

    #[test]
    fn an_image_with_any_byte_changed_or_lost_is_not_read(
        changes in vec(any::<(usize, u8)>(), 0..50),
        at in any::<usize>(),
        change in 1_u8..,
    ) {
        let encoded = state(&changes, vec![(1, 7)]).encode(&pristine());
        let mut changed = encoded.to_vec();
        let at = at % changed.len();
        changed[at] ^= change;
        prop_assert!(ImageState::decode(&changed, &pristine()).is_err());
        prop_assert!(ImageState::decode(&encoded[..at], &pristine()).is_err());
    }

    #[test]
    fn a_forged_image_is_refused_or_makes_sense(
        changes in vec(any::<(usize, u8)>(), 0..50),
        forgeries in vec(any::<(usize, u8)>(), 1..4),
        digests in vec(any::<u8>(), 0..4),
        plain in any::<bool>(),
    ) {
        let state = with_chunks(state(&changes, vec![(1, 7)]), &digests);
        let mut image = state.encode(&pristine()).to_vec();
        if plain && image[1] == LZ4 {
            let length = usize::from_le_bytes(image[20..28].try_into().expect("eight bytes"));
            let body = lz4_flex::block::decompress(&image[HEADER..], length).expect("it is ours");
            image.truncate(HEADER);
            image.extend(body);
            image[1] = 0;
        }
        for (at, byte) in forgeries {
            let at = HEADER + at % (image.len() - HEADER);
            image[at] = byte;
        }
        if let Ok(state) = ImageState::decode(&sealed(image), &pristine()) {
            for memory in &state.memories {
                prop_assert!(memory.size <= MAX_PAGES);
                makes_sense(&memory.difference, memory.pages())?;
                let mut last = None;
                for (range, _) in &memory.chunks {
                    prop_assert!(last.is_none_or(|last| last < range));
                    prop_assert!(memory.pages_in(*range) > 0);
                    last = Some(range);
                }
            }
            prop_assert!(state.globals.iter().all(|(number, _)| *number < 3));
        }
    }

    #[test]
    fn a_chunk_is_read_as_it_was_stored_and_not_under_another_name_or_changed(
        changes in vec(any::<(usize, u8)>(), 1..200),
        at in any::<usize>(),
        change in 1_u8..,
    ) {
        let (digest, stored) = stored(&state(&changes, Vec::new()).memories[0].difference);
        let read = chunk::read(&stored, digest, RANGE_PAGES).expect("it is well");
        let mut again = Vec::new();
        chunk::plain(&mut again, &read);
        prop_assert_eq!(Digest::of(&again), digest);
        prop_assert!(chunk::read(&stored, Digest([1; 32]), RANGE_PAGES).is_err());
        let mut changed = stored.to_vec();
        let at = at % changed.len();
        changed[at] ^= change;
        prop_assert!(chunk::read(&changed, digest, RANGE_PAGES).is_err());
        prop_assert!(chunk::read(&stored[..at], digest, RANGE_PAGES).is_err());
    }

    #[test]
    fn a_forged_chunk_is_refused_or_makes_sense(
        changes in vec(any::<(usize, u8)>(), 1..50),
        forgeries in vec(any::<(usize, u8)>(), 1..4),
        pages in 1..=RANGE_PAGES,
    ) {
        // Forged by somebody who knows how to name it.
        let (_, stored) = stored(&state(&changes, Vec::new()).memories[0].difference);
        let length = u32::from_le_bytes(stored[2..6].try_into().expect("four bytes"));
        let length = usize::try_from(length).expect("small");
        let mut plain = match stored[1] {
            0 => stored[10..].to_vec(),
            _ => lz4_flex::block::decompress(&stored[10..], length).expect("it is ours"),
        };
        for (at, byte) in forgeries {
            let at = at % plain.len();
            plain[at] = byte;
        }
        let forged = chunk::store(&plain, &mut Vec::new());
        if let Ok(difference) = chunk::read(&forged, Digest::of(&plain), pages) {
            makes_sense(&difference, u64::from(pages))?;
        }
    }

    #[test]
    fn noise_is_not_read(noise in vec(any::<u8>(), 0..200)) {
        prop_assert!(ImageState::decode(&noise, &pristine()).is_err());
        prop_assert!(chunk::read(&noise, Digest::of(&noise), RANGE_PAGES).is_err());
    }
}

/// The first range of a difference as a chunk.
fn stored(difference: &Difference) -> (Digest, Bytes) {
    let pristine = pristine();
    let mut memory = vec![0; RANGE];
    for (run, pages) in difference.written(0, 1, &pristine.memories[0]) {
        let start = usize::try_from(run.first).expect("small") * PAGE;
        if let Some(page) = memory.get_mut(start..start + PAGE) {
            page.copy_from_slice(&pages);
        }
    }
    let nothing = MemoryImage::new();
    let runs = differing(std::slice::from_ref(&(0..RANGE)), &memory, (&nothing, 0));
    let mut first = Difference::default();
    first.add(&runs, 0, &memory, (&nothing, 0));
    let mut plain = Vec::new();
    chunk::plain(&mut plain, &first);
    (Digest::of(&plain), chunk::store(&plain, &mut Vec::new()))
}

fn makes_sense(difference: &Difference, pages: u64) -> Result<(), TestCaseError> {
    let end = difference.runs.last().map_or(0, |run| run.first + run.count);
    prop_assert!(u64::from(end) <= pages);
    let set: u32 = difference.blocks.iter().map(|bits| bits.count_ones()).sum();
    prop_assert_eq!(usize::try_from(set).expect("small") * BLOCK, difference.data.len());
    let pages: u32 = difference.runs.iter().map(|run| run.count).sum();
    prop_assert_eq!(usize::try_from(pages).expect("small"), difference.blocks.len());
    Ok(())
}

#[test]
fn an_image_of_another_time_is_refused_by_name() {
    let image = state(&[(5, 1)], Vec::new()).encode(&pristine()).to_vec();
    let mut format = image.clone();
    format[0] = 9;
    assert_eq!(ImageState::decode(&format, &pristine()), Err(Unusable::Format(9)));
    format[0] = 1;
    assert_eq!(ImageState::decode(&format, &pristine()), Err(Unusable::Format(1)));
    let mut recipe = image.clone();
    recipe[2..4].copy_from_slice(&77_u16.to_le_bytes());
    assert_eq!(ImageState::decode(&sealed(recipe), &pristine()), Err(Unusable::Recipe(77)));
    let mut earlier = image.clone();
    earlier[2..4].copy_from_slice(&2_u16.to_le_bytes());
    earlier[4..20].copy_from_slice(&pristine().before_directories);
    assert!(ImageState::decode(&sealed(earlier.clone()), &pristine()).is_ok());
    earlier[4] ^= 1;
    assert_eq!(ImageState::decode(&sealed(earlier), &pristine()), Err(Unusable::Pristine));
    let mut other = pristine();
    other.fingerprint[0] ^= 1;
    assert_eq!(ImageState::decode(&image, &other), Err(Unusable::Pristine));
    let mut chunk = chunk::store(b"whatever it holds", &mut Vec::new()).to_vec();
    chunk[0] = 7;
    let read = chunk::read(&chunk, Digest::of(b"whatever it holds"), RANGE_PAGES);
    assert_eq!(read, Err(chunk::UnreadableChunk::Format(7)));
}

#[test]
fn what_cannot_be_restored_is_told_apart_from_what_is_damaged() {
    for (unusable, damaged) in [
        (Unusable::Damaged("a chunk of it is missing"), true),
        (Unusable::Format(1), false),
        (Unusable::ChunkFormat(9), false),
        (Unusable::Recipe(1), false),
        (Unusable::Pristine, false),
    ] {
        let fault = Fault::from(unusable.clone());
        assert_eq!(matches!(fault, Fault::SnapshotDamaged(_)), damaged, "{unusable}");
        assert_eq!(matches!(fault, Fault::SnapshotUnusable(_)), !damaged, "{unusable}");
    }
}

#[test]
fn a_memory_of_two_gibibytes_is_written_and_read_to_its_last_page_and_no_further() {
    let mut state = state(&[], Vec::new());
    let last = MAX_PAGES - 1;
    state.memories[1] = MemoryState {
        size: MAX_PAGES,
        chunks: vec![(0, Digest([1; 32])), (last, Digest([2; 32]))],
        difference: Difference {
            runs: vec![PageRun { first: MAX_PAGES * 16 - 1, count: 1 }],
            blocks: vec![1],
            data: vec![9; BLOCK],
        },
    };
    assert_eq!(ImageState::decode(&state.encode(&pristine()), &pristine()).as_ref(), Ok(&state));
    let (run, pages) =
        state.memories[1].difference.written(0, 256, &MemoryImage::new()).next().expect("a page");
    let end = u64::from(run.first) * PAGE as u64 + pages.len() as u64;
    assert_eq!(end, 2 << 30);

    let mut beyond = state;
    beyond.memories[1].chunks[1].0 += 1;
    let read = ImageState::decode(&beyond.encode(&pristine()), &pristine());
    assert_eq!(read, Err(Unusable::Damaged("a chunk lies outside of its memory")));
    beyond.memories[1].chunks.pop();
    beyond.memories[1].difference.runs[0].first += 1;
    let read = ImageState::decode(&beyond.encode(&pristine()), &pristine());
    assert_eq!(read, Err(Unusable::Damaged("a page lies outside of its memory")));
    beyond.memories[1].size += 1;
    let read = ImageState::decode(&beyond.encode(&pristine()), &pristine());
    assert_eq!(read, Err(Unusable::Damaged("a memory has an impossible size")));
}

#[test]
fn a_small_change_makes_a_small_image() {
    let image = state(&[(0, 1), (70_000, 2)], vec![(0, 1)]).encode(&pristine());
    assert!(image.len() < 256, "{} bytes", image.len());
}
