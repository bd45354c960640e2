//! `wasi:io`: streams and pollables.
//!
//! The streams of a guest are its standard ones and bodies of HTTP, which are always ready: so the blocking forms of
//! their functions do what the others do. Where a guest waits for an exchange of HTTP, `http` decides what it learns.

use wasmtime::StoreContextMut;
use wasmtime::component::{Resource, ResourceTable, WasmList};
use wasmtime_wasi::p2::bindings::io::poll::{Host as Poll, HostPollable};
use wasmtime_wasi::p2::bindings::io::streams::{
    Host as Streams, HostInputStream, HostOutputStream, StreamError,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamResult};

use super::super::super::http;
use super::super::super::interface::{HostWork, Interface};
use super::super::super::price;
use super::super::stdio::PERMIT;
use crate::fuel::charge;
use crate::guest::{Guest, MAX_RESOURCES};

/// Bytes that are read, skipped or passed on at a time: a call answers how many there were.
const PIECE: u64 = PERMIT as u64;
/// Bytes that one blocking write may have, by its contract.
const BLOCKING: u64 = 4096;

type Store<'s> = StoreContextMut<'s, Guest>;
type Pollable = Resource<DynPollable>;
type Input = Resource<DynInputStream>;
type Output = Resource<DynOutputStream>;
type Answer<T> = (Result<T, StreamError>,);

pub(super) fn poll(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.resource::<DynPollable>("pollable", |guest, pollable| {
        guest.http.forget_wait(pollable.rep());
        guest.forget_timer(pollable.rep());
        HostPollable::drop(guest.resources(), pollable)
    })?;
    interface.metered("[method]pollable.ready", |mut store, (pollable,): (Pollable,)| {
        Box::pin(async move {
            charge(&mut store, price::POLLABLE).await?;
            if let Some(ready) = http::wait(&mut store, &[pollable.rep()], true).await? {
                return Ok((!ready.is_empty(),));
            }
            if let Some(ready) = store.data_mut().wait_in_world(&[pollable.rep()], true) {
                return Ok((!ready.is_empty(),));
            }
            Ok((HostPollable::ready(store.data_mut().resources(), pollable).await?,))
        })
    })?;
    interface.metered("[method]pollable.block", |mut store, (pollable,): (Pollable,)| {
        Box::pin(async move {
            charge(&mut store, price::POLLABLE).await?;
            if http::wait(&mut store, &[pollable.rep()], false).await?.is_some()
                || store.data_mut().wait_in_world(&[pollable.rep()], false).is_some()
            {
                return Ok(());
            }
            HostPollable::block(store.data_mut().resources(), pollable).await
        })
    })?;
    interface.metered("poll", poll_all)
}

fn poll_all(
    mut store: Store<'_>,
    (pollables,): (WasmList<Resource<DynPollable>>,),
) -> HostWork<'_, (Vec<u32>,)> {
    Box::pin(async move {
        let count = pollables.len();
        if count > MAX_RESOURCES {
            return Err(wasmtime::Error::msg(format!(
                "it waits for {count} things at once; {MAX_RESOURCES} may be"
            )));
        }
        charge(&mut store, price::of(count, price::POLLABLE)).await?;
        let pollables = pollables.iter(&mut store)?.collect::<wasmtime::Result<Vec<_>>>()?;
        let places: Vec<u32> = pollables.iter().map(Resource::rep).collect();
        if let Some(ready) = http::wait(&mut store, &places, false).await? {
            return Ok((ready,));
        }
        if let Some(ready) = store.data_mut().wait_in_world(&places, false) {
            return Ok((ready,));
        }
        Ok((Poll::poll(store.data_mut().resources(), pollables).await?,))
    })
}

pub(super) fn streams(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    input(interface)?;
    output(interface)
}

fn input(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.resource::<DynInputStream>("input-stream", |guest, stream| {
        guest.resources().delete(stream)?;
        Ok(())
    })?;
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        interface.metered(name, read)?;
    }
    for name in ["[method]input-stream.skip", "[method]input-stream.blocking-skip"] {
        interface.metered(name, skip)?;
    }
    interface.simple("[method]input-stream.subscribe", price::HANDLE, |guest, (stream,)| {
        Ok((HostInputStream::subscribe(guest.resources(), stream)?,))
    })
}

fn output(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.resource::<DynOutputStream>("output-stream", |guest, stream| {
        guest.resources().delete(stream)?;
        Ok(())
    })?;
    interface.simple("[method]output-stream.check-write", 0, |guest, (stream,)| {
        let permit = HostOutputStream::check_write(guest.resources(), stream);
        answer(guest.resources(), permit)
    })?;
    interface.metered("[method]output-stream.write", |store, (stream, bytes)| {
        write(store, stream, bytes, PIECE)
    })?;
    interface
        .metered("[method]output-stream.blocking-write-and-flush", |store, (stream, bytes)| {
            write(store, stream, bytes, BLOCKING)
        })?;
    interface.metered("[method]output-stream.write-zeroes", |store, (stream, length)| {
        write_zeroes(store, stream, length, PIECE)
    })?;
    interface.metered(
        "[method]output-stream.blocking-write-zeroes-and-flush",
        |store, (stream, length)| write_zeroes(store, stream, length, BLOCKING),
    )?;
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        interface.simple(name, price::STREAM, |guest, (stream,)| {
            let flushed = HostOutputStream::flush(guest.resources(), stream);
            answer(guest.resources(), flushed)
        })?;
    }
    interface.simple("[method]output-stream.subscribe", price::HANDLE, |guest, (stream,)| {
        Ok((HostOutputStream::subscribe(guest.resources(), stream)?,))
    })?;
    for name in ["[method]output-stream.splice", "[method]output-stream.blocking-splice"] {
        interface.metered(name, splice)?;
    }
    Ok(())
}

fn read(mut store: Store<'_>, (stream, length): (Input, u64)) -> HostWork<'_, Answer<Vec<u8>>> {
    Box::pin(async move {
        charge(&mut store, price::STREAM).await?;
        let resources = store.data_mut().resources();
        let read = HostInputStream::blocking_read(resources, stream, length.min(PIECE)).await;
        let bytes = read.as_ref().map_or(0, Vec::len);
        let answer = answer(resources, read)?;
        charge(&mut store, price::of(bytes, price::BYTE)).await?;
        Ok(answer)
    })
}

fn skip(mut store: Store<'_>, (stream, length): (Input, u64)) -> HostWork<'_, Answer<u64>> {
    Box::pin(async move {
        charge(&mut store, price::STREAM).await?;
        let resources = store.data_mut().resources();
        let skipped = HostInputStream::blocking_skip(resources, stream, length.min(PIECE)).await;
        answer(resources, skipped)
    })
}

fn write(
    mut store: Store<'_>,
    stream: Output,
    bytes: WasmList<u8>,
    limit: u64,
) -> HostWork<'_, Answer<()>> {
    Box::pin(async move {
        pay_for_writing(&mut store, bytes.len() as u64, limit).await?;
        let bytes = bytes.as_le_slice(&store).to_vec();
        print(&mut store, stream, bytes)
    })
}

fn write_zeroes(
    mut store: Store<'_>,
    stream: Output,
    length: u64,
    limit: u64,
) -> HostWork<'_, Answer<()>> {
    Box::pin(async move {
        pay_for_writing(&mut store, length, limit).await?;
        let zeroes = vec![0; usize::try_from(length)?];
        print(&mut store, stream, zeroes)
    })
}

/// Charge for writing this many bytes, where that is not more than may be written at once.
async fn pay_for_writing(store: &mut Store<'_>, length: u64, limit: u64) -> wasmtime::Result<()> {
    if length > limit {
        return Err(wasmtime::Error::msg(format!(
            "it writes {length} bytes to a stream at once; {limit} may be"
        )));
    }
    charge(store, length.saturating_mul(price::PRINTED_BYTE)).await
}

/// Write to a stream, stream what that was where it is a reply, and pay for the memory that it is kept in.
fn print(store: &mut Store<'_>, stream: Output, bytes: Vec<u8>) -> wasmtime::Result<Answer<()>> {
    let resources = store.data_mut().resources();
    let written = HostOutputStream::write(resources, stream, bytes);
    let answer = answer(resources, written)?;
    store.data_mut().stream_printed()?;
    store.data_mut().pay_for_kept()?;
    Ok(answer)
}

fn splice(
    mut store: Store<'_>,
    (output, input, length): (Output, Input, u64),
) -> HostWork<'_, Answer<u64>> {
    Box::pin(async move {
        let length = length.min(PIECE);
        charge(&mut store, price::STREAM).await?;
        let resources = store.data_mut().resources();
        let read = HostInputStream::blocking_read(resources, input, length).await;
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => return answer(resources, Err(error)),
        };
        let count = bytes.len() as u64;
        pay_for_writing(&mut store, count, PIECE).await?;
        let (written,) = print(&mut store, output, bytes)?;
        Ok((written.map(|()| count),))
    })
}

/// What a guest is answered: a stream that failed is a trap, or an answer.
fn answer<T>(
    resources: &mut ResourceTable,
    result: StreamResult<T>,
) -> wasmtime::Result<Answer<T>> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(Streams::convert_stream_error(resources, error)?),
    },))
}
