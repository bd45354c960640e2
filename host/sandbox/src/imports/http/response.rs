//! Responses: `future-incoming-response`, `incoming-response`, `incoming-body` and `future-trailers`.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynPollable, Pollable, subscribe};

use super::super::interface::Interface;
use super::super::price;
use super::body::ResponseBody;
use super::exchanges::{Arrived, Wait};
use super::fields::Fields;
use super::types::{DnsError, ErrorCode};
use crate::guest::Guest;
use dormouse_domain::http::{HttpError, HttpErrorKind};

/// A response that has not come yet, or that the guest has not taken.
pub(in crate::imports) struct FutureResponse {
    /// The call in which the request was made,
    call: u64,
    /// and its number there.
    number: u32,
    is_taken: bool,
}

/// A response that has come.
pub(in crate::imports) struct IncomingResponse {
    status: u16,
    headers: Fields,
    body: Option<ResponseBody>,
}

/// The body of a response.
pub(in crate::imports) struct IncomingBody(Option<ResponseBody>);

/// The trailers of a response: none are told.
pub(in crate::imports) struct FutureTrailers {
    is_taken: bool,
}

impl FutureResponse {
    pub(super) fn new(call: u64, number: u32) -> FutureResponse {
        FutureResponse { call, number, is_taken: false }
    }
}

#[async_trait::async_trait]
impl Pollable for FutureResponse {
    /// A guest that waits for it waits elsewhere: [`super::wait`].
    async fn ready(&mut self) {
        std::future::pending().await
    }
}

#[async_trait::async_trait]
impl Pollable for FutureTrailers {
    async fn ready(&mut self) {}
}

pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    future(interface)?;
    response(interface)?;
    body(interface)?;
    trailers(interface)
}

fn future(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    type Future = Resource<FutureResponse>;

    interface.resource::<FutureResponse>("future-incoming-response", |guest, future| {
        let FutureResponse { call, number, is_taken } = guest.resources().delete(future)?;
        if !is_taken {
            guest.http.give_up(call, number);
        }
        Ok(())
    })?;
    interface.simple(
        "[method]future-incoming-response.subscribe",
        2 * price::HANDLE,
        |guest, (future,): (Future,)| {
            let FutureResponse { call, number, .. } = guest.resources().get(&future)?;
            let wait = Wait::Exchange { call: *call, number: *number };
            let pollable: Resource<DynPollable> = subscribe(guest.resources(), future)?;
            guest.http.note_wait(pollable.rep(), wait);
            Ok((pollable,))
        },
    )?;
    interface.simple(
        "[method]future-incoming-response.get",
        2 * price::HANDLE,
        |guest, (future,): (Future,)| Ok((get(guest, &future)?,)),
    )
}

type Taken = Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>;

fn get(guest: &mut Guest, future: &Resource<FutureResponse>) -> wasmtime::Result<Taken> {
    let FutureResponse { call, number, is_taken } = guest.resources().get_mut(future)?;
    if *is_taken {
        return Ok(Some(Err(())));
    }
    let (call, number) = (*call, *number);
    let arrived = match guest.http.take_arrived(call, number) {
        Arrived::NotYet => return Ok(None),
        Arrived::Late => Err(late()),
        Arrived::Answer(answer) => answer,
    };
    guest.resources().get_mut(future)?.is_taken = true;
    Ok(Some(Ok(match arrived {
        Ok(response) => {
            let held = guest.http.held.part();
            let headers = Fields::fixed(response.headers, held)?;
            let body = guest.http.body(response.body)?;
            let response = IncomingResponse { status: response.status, headers, body: Some(body) };
            Ok(guest.resources().push(response)?)
        }
        Err(error) => Err(code(&error)),
    })))
}

fn late() -> HttpError {
    let text = "the turn in which it was asked for is over".to_owned();
    HttpError { kind: HttpErrorKind::Broken, text }
}

/// What a guest is told of a failure.
fn code(error: &HttpError) -> ErrorCode {
    match error.kind {
        HttpErrorKind::NotAllowed => ErrorCode::RequestDenied,
        HttpErrorKind::UnknownHost => ErrorCode::DnsError(DnsError::default()),
        HttpErrorKind::PrivateAddress => ErrorCode::DestinationIpProhibited,
        HttpErrorKind::Unreachable => ErrorCode::ConnectionRefused,
        HttpErrorKind::Tls => ErrorCode::TlsProtocolError,
        HttpErrorKind::TimedOut => ErrorCode::ResponseTimeout,
        HttpErrorKind::TooLarge => ErrorCode::ResponseBodySize(None),
        HttpErrorKind::Broken => ErrorCode::ProtocolError,
        HttpErrorKind::Busy => ErrorCode::ConnectionLimitReached,
        HttpErrorKind::Invalid | HttpErrorKind::UnknownOutcome => {
            ErrorCode::InternalError(Some(error.text.clone()))
        }
    }
}

fn response(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    type Response = Resource<IncomingResponse>;

    interface.resource::<IncomingResponse>("incoming-response", |guest, response| {
        guest.resources().delete(response)?;
        Ok(())
    })?;
    interface.simple(
        "[method]incoming-response.status",
        0,
        |guest, (response,): (Response,)| Ok((guest.resources().get(&response)?.status,)),
    )?;
    interface.simple(
        "[method]incoming-response.headers",
        price::HANDLE + price::REQUEST,
        |guest, (response,): (Response,)| {
            let held = guest.http.held.part();
            let headers = guest.resources().get(&response)?.headers.entries().to_vec();
            let headers = Fields::fixed(headers, held)?;
            Ok((guest.resources().push(headers)?,))
        },
    )?;
    interface.simple(
        "[method]incoming-response.consume",
        price::HANDLE,
        |guest, (response,): (Response,)| {
            let Some(body) = guest.resources().get_mut(&response)?.body.take() else {
                return Ok((Err(()),));
            };
            Ok((Ok(guest.resources().push(IncomingBody(Some(body)))?),))
        },
    )
}

fn body(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    type Body = Resource<IncomingBody>;

    interface.resource::<IncomingBody>("incoming-body", |guest, body| {
        guest.resources().delete(body)?;
        Ok(())
    })?;
    interface.simple(
        "[method]incoming-body.stream",
        price::HANDLE,
        |guest, (body,): (Body,)| {
            let IncomingBody(body) = guest.resources().get_mut(&body)?;
            let Some(body) = body.take() else { return Ok((Err(()),)) };
            let stream: DynInputStream = Box::new(body);
            Ok((Ok(guest.resources().push(stream)?),))
        },
    )?;
    interface.simple("[static]incoming-body.finish", price::HANDLE, |guest, (body,): (Body,)| {
        guest.resources().delete(body)?;
        Ok((guest.resources().push(FutureTrailers { is_taken: false })?,))
    })
}

fn trailers(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    type Future = Resource<FutureTrailers>;
    type Trailers = Option<Result<Result<Option<Resource<Fields>>, ErrorCode>, ()>>;

    interface.resource::<FutureTrailers>("future-trailers", |guest, trailers| {
        guest.resources().delete(trailers)?;
        Ok(())
    })?;
    interface.simple(
        "[method]future-trailers.subscribe",
        2 * price::HANDLE,
        |guest, (trailers,): (Future,)| {
            let pollable: Resource<DynPollable> = subscribe(guest.resources(), trailers)?;
            Ok((pollable,))
        },
    )?;
    interface.simple("[method]future-trailers.get", 0, |guest, (trailers,): (Future,)| {
        let trailers = guest.resources().get_mut(&trailers)?;
        let told: Trailers = match std::mem::replace(&mut trailers.is_taken, true) {
            true => Some(Err(())),
            false => Some(Ok(Ok(None))),
        };
        Ok((told,))
    })
}
