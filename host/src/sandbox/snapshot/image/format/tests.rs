//! Images as bytes: what is written is read again, and nothing else is.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::memory::MemoryBudget;
use crate::sandbox::snapshot::image::pages::Image;

fn pristine() -> Pristine {
    let mut first = Image::new();
    first.append(&vec![3; 2 * WASM_PAGE]);
    let account = MemoryBudget::new(0).account();
    Pristine::new(vec![first, Image::new()], vec![1, 2, 3, 4, 5], 2, Vec::new(), account)
}

/// A memory of three pages that differs from the first of [`pristine`] where these say.
fn state(changes: &[(usize, u8)], globals: Vec<(u32, u64)>) -> State {
    let pristine = pristine();
    let mut memory = vec![3; 2 * WASM_PAGE];
    memory.resize(3 * WASM_PAGE, 0);
    for (at, byte) in changes {
        let at = at % memory.len();
        memory[at] = *byte;
    }
    let mut difference = Difference::default();
    difference.compare_pages(0, &memory, &pristine.memories[0]);
    State { memories: vec![(3, difference), (0, Difference::default())], globals }
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
    ) {
        let state = state(&changes, vec![(0, bits[0]), (2, bits[1])]);
        let encoded = state.encode(&pristine());
        prop_assert_eq!(State::decode(&encoded, &pristine()), Ok(state));
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
        prop_assert!(State::decode(&changed, &pristine()).is_err());
        prop_assert!(State::decode(&encoded[..at], &pristine()).is_err());
    }

    #[test]
    fn a_forged_image_is_refused_or_makes_sense(
        changes in vec(any::<(usize, u8)>(), 0..50),
        forgeries in vec(any::<(usize, u8)>(), 1..4),
        plain in any::<bool>(),
    ) {
        let mut image = state(&changes, vec![(1, 7)]).encode(&pristine()).to_vec();
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
        if let Ok(state) = State::decode(&sealed(image), &pristine()) {
            for (pages, difference) in &state.memories {
                let end = difference.runs.last().map_or(0, |run| run.first + run.count);
                prop_assert!(end <= pages * 16 && *pages <= MAX_PAGES);
                let set: u32 = difference.blocks.iter().map(|bits| bits.count_ones()).sum();
                prop_assert_eq!(usize::try_from(set).expect("small") * BLOCK, difference.data.len());
                let pages: u32 = difference.runs.iter().map(|run| run.count).sum();
                prop_assert_eq!(usize::try_from(pages).expect("small"), difference.blocks.len());
            }
            prop_assert!(state.globals.iter().all(|(number, _)| *number < 3));
        }
    }

    #[test]
    fn noise_is_not_read(noise in vec(any::<u8>(), 0..200)) {
        prop_assert!(State::decode(&noise, &pristine()).is_err());
    }
}

#[test]
fn an_image_of_another_time_is_refused_by_name() {
    let image = state(&[(5, 1)], Vec::new()).encode(&pristine()).to_vec();
    let mut format = image.clone();
    format[0] = 9;
    assert_eq!(State::decode(&format, &pristine()), Err(Unusable::Format(9)));
    let mut recipe = image.clone();
    recipe[2..4].copy_from_slice(&77_u16.to_le_bytes());
    assert_eq!(State::decode(&sealed(recipe), &pristine()), Err(Unusable::Recipe(77)));
    let mut other = pristine();
    other.fingerprint[0] ^= 1;
    assert_eq!(State::decode(&image, &other), Err(Unusable::Pristine));
}

#[test]
fn a_small_change_makes_a_small_image() {
    let image = state(&[(0, 1), (70_000, 2)], vec![(0, 1)]).encode(&pristine());
    assert!(image.len() < 256, "{} bytes", image.len());
}
