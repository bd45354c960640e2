//! Wake: the state of an image, written to a new instance.
//!
//! All of an image is checked before any of it is written: but for its chunks, which are checked one
//! by one, each before it is written. The guest is called only after the last of them.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::task::JoinHandle;
use wasmtime::Store;

use super::FUEL;
use super::chunk::{self, MAX_STORED, RANGE, RANGE_PAGES, Recognition};
use super::cut::{Head, KnownChunk};
use super::format::{ImageState, Unusable};
use super::keeper::{ImageKeeper, SMALL, blocking};
use super::pages::{PAGE, PageRun, index};
use super::pristine::Pristine;
use crate::fault::Fault;
use crate::fuel;
use crate::guest::Guest;
use dormouse_domain::agent::Digest;
use dormouse_domain::snapshot::Chunk;

/// Pages that are written at once.
const PIECE_PAGES: u32 = 256;
/// Chunks that are read at once.
const BATCH: usize = 16;

/// A chunk, and where it belongs.
struct Place {
    memory: usize,
    range: u32,
    /// Pages of the range.
    pages: u32,
    digest: Digest,
    data: Bytes,
}

/// A chunk that was read: the pages of its range that differ.
struct Read {
    memory: usize,
    known: KnownChunk,
    pages: Vec<(PageRun, Vec<u8>)>,
}

impl ImageKeeper {
    /// Give a new instance the state of an image.
    pub(crate) async fn restore(
        &mut self,
        store: &mut Store<Guest>,
        image: &Bytes,
        chunks: &[Chunk],
    ) -> Result<(), Fault> {
        let size = ImageState::decoded_size(image);
        let given = chunks.iter().filter_map(|chunk| chunk.data.as_ref()).map(Bytes::len);
        let given = image.len() + given.sum::<usize>();
        // What was read of the store, and what the image is decoded to.
        store.data_mut().memory.hold((given + size) as u64)?;
        let state = {
            let (pristine, image) = (self.pristine.clone(), image.clone());
            let decode = move || ImageState::decode(&image, &pristine);
            if size > SMALL { blocking(decode).await? } else { decode() }?
        };
        let places = places(&state, chunks)?;
        // What is read while what was read before is written.
        let most = 2 * places.len().min(BATCH) * (MAX_STORED + RANGE);
        store.data_mut().memory.hold((given + size + most) as u64)?;
        fuel::fill(store, FUEL).map_err(|error| Fault::Host(format!("{error:#}")))?;
        self.head = Head {
            ranges: state.memories.iter().map(|_| Vec::new()).collect(),
            large: !places.is_empty(),
        };
        match self.write(store, &state).await {
            Ok(true) => {}
            // A growth was denied, and the limiter knows why.
            Ok(false) => {
                return Err(store.data_mut().fault(&wasmtime::Error::msg("no memory")));
            }
            Err(error) => return Err(store.data_mut().fault(&error)),
        }
        self.write_chunks(store, places).await
    }

    /// Write all but the chunks. Answers whether there was memory for it.
    async fn write(
        &mut self,
        store: &mut Store<Guest>,
        state: &ImageState,
    ) -> wasmtime::Result<bool> {
        let (image, pristine) = (self.image.clone(), self.pristine.clone());
        let access = &image.access;
        for (number, (memory, before)) in state.memories.iter().zip(&pristine.memories).enumerate()
        {
            let missing = memory.size.saturating_sub(before.size());
            if missing > 0 && !self.live.grow(access, store, number, missing).await? {
                return Ok(false);
            }
            let written = memory.difference.written(0, PIECE_PAGES, before);
            self.live.write(access, store, number, written.map(placed)).await?;
        }
        self.live.set_globals(access, &pristine.counts, store, &state.globals).await?;
        Ok(true)
    }

    /// Read the next chunks while the last ones are written.
    async fn write_chunks(
        &mut self,
        store: &mut Store<Guest>,
        places: Vec<Place>,
    ) -> Result<(), Fault> {
        let image = self.image.clone();
        let recognition = image.recognition;
        let stored: usize = places.iter().map(|place| place.data.len()).sum();
        if stored <= SMALL {
            let read = read(places, &self.pristine, recognition)?;
            return self.write_ranges(store, read).await;
        }
        let mut places = places.into_iter().peekable();
        let mut reading: Option<JoinHandle<Result<Vec<Read>, Unusable>>> = None;
        while reading.is_some() || places.peek().is_some() {
            let batch: Vec<Place> = places.by_ref().take(BATCH).collect();
            let pristine = self.pristine.clone();
            let next = (!batch.is_empty())
                .then(|| tokio::task::spawn_blocking(move || read(batch, &pristine, recognition)));
            if let Some(reading) = std::mem::replace(&mut reading, next) {
                let read = reading.await.map_err(|error| Fault::Host(error.to_string()))??;
                self.write_ranges(store, read).await?;
            }
        }
        Ok(())
    }

    async fn write_ranges(
        &mut self,
        store: &mut Store<Guest>,
        ranges: Vec<Read>,
    ) -> Result<(), Fault> {
        let image = self.image.clone();
        let mut ranges = ranges.into_iter().peekable();
        while let Some(memory) = ranges.peek().map(|range| range.memory) {
            let mut pages = Vec::new();
            while let Some(read) = ranges.next_if(|range| range.memory == memory) {
                self.head.ranges[memory].push(read.known);
                pages.extend(read.pages.into_iter().map(placed));
            }
            let written = self.live.write(&image.access, store, memory, pages).await;
            written.map_err(|error| store.data_mut().fault(&error))?;
        }
        Ok(())
    }
}

/// Where each chunk belongs, all of them present.
fn places(state: &ImageState, chunks: &[Chunk]) -> Result<Vec<Place>, Unusable> {
    let chunks: HashMap<Digest, &Bytes> =
        chunks.iter().filter_map(|chunk| Some((chunk.digest, chunk.data.as_ref()?))).collect();
    let mut places = Vec::new();
    for (number, memory) in state.memories.iter().enumerate() {
        for (range, digest) in memory.chunks.iter().copied() {
            let data = chunks.get(&digest).ok_or(Unusable::Damaged("a chunk of it is missing"))?;
            let data = Bytes::clone(data);
            let pages = memory.pages_in(range);
            places.push(Place { memory: number, range, pages, digest, data });
        }
    }
    Ok(places)
}

/// Read these chunks, with all checks.
fn read(
    places: Vec<Place>,
    pristine: &Pristine,
    recognition: Recognition,
) -> Result<Vec<Read>, Unusable> {
    let read = |place: Place| {
        let Place { memory, range, pages, digest, data } = place;
        let difference = chunk::read(&data, digest, pages)?;
        let first = range * RANGE_PAGES;
        let pages = match pristine.memories.get(memory) {
            Some(before) => difference.written(first, RANGE_PAGES, before).collect(),
            None => Vec::new(),
        };
        let runs = pages.iter().map(|(run, pages): &(PageRun, Vec<u8>)| {
            (PageRun { first: run.first - first, count: run.count }, pages.as_slice())
        });
        let content = recognition.of(runs);
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        Ok(Read { memory, known: KnownChunk { range, content, digest, size }, pages })
    };
    places.into_iter().map(read).collect()
}

/// Pages at their place in the memory.
fn placed((run, pages): (PageRun, Vec<u8>)) -> (u32, Vec<u8>) {
    // A memory has 2 GiB at most, and all pages were seen to lie in it.
    (u32::try_from(index(run.first) * PAGE).unwrap_or(u32::MAX), pages)
}
