//! Requests that a guest makes: `outgoing-request`, `request-options`, `outgoing-body`, and `handle`, which sends them.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::DynOutputStream;

use super::super::interface::{HostWork, Interface};
use super::super::price;
use super::super::text::GuestText;
use super::body::{BodyState, RequestBody};
use super::exchanges::Made;
use super::fields::{Fields, too_much};
use super::response::FutureResponse;
use super::types::{ErrorCode, Method, MethodParam, Scheme, SchemeParam};
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::http::HttpPatience;

/// The longest text of a request besides its headers and its body: its path, its authority and so on.
const MAX_TEXT: usize = 8 << 10;

/// A request that is being made.
pub(in crate::imports) struct OutgoingRequest {
    pub(super) method: Method,
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<String>,
    pub(super) path: Option<String>,
    pub(super) headers: Fields,
    /// Its body, where the guest has asked for it.
    pub(super) body: Option<RequestBody>,
}

/// How long the guest wants to wait.
#[derive(Default)]
pub(in crate::imports) struct RequestOptions(HttpPatience);

/// The body of a request, which the guest writes.
pub(in crate::imports) struct OutgoingBody {
    body: RequestBody,
    has_stream: bool,
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        self.body.end(BodyState::GivenUp);
    }
}

type Store<'s> = StoreContextMut<'s, Guest>;
type Handle = Resource<OutgoingRequest>;
type Done = (Result<(), ()>,);

pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    request(interface)?;
    options(interface)?;
    body(interface)
}

fn request(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.resource::<OutgoingRequest>("outgoing-request", |guest, request| {
        guest.resources().delete(request)?;
        Ok(())
    })?;
    interface.simple(
        "[constructor]outgoing-request",
        price::HANDLE,
        |guest, (headers,): (Resource<Fields>,)| {
            let headers = guest.resources().delete(headers)?.fix();
            let request = OutgoingRequest {
                method: Method::default(),
                scheme: None,
                authority: None,
                path: None,
                headers,
                body: None,
            };
            Ok((guest.resources().push(request)?,))
        },
    )?;
    interface.simple("[method]outgoing-request.body", price::HANDLE, |guest, (request,)| {
        let body = RequestBody::new(guest.http.held.part());
        let request: &mut OutgoingRequest = guest.resources().get_mut(&request)?;
        if request.body.is_some() {
            return Ok((Err(()),));
        }
        request.body = Some(body.clone());
        let body = OutgoingBody { body, has_stream: false };
        Ok((Ok(guest.resources().push(body)?),))
    })?;
    interface.simple("[method]outgoing-request.headers", price::HANDLE, |guest, (request,)| {
        let held = guest.http.held.part();
        let request: &OutgoingRequest = guest.resources().get(&request)?;
        let headers = Fields::fixed(request.headers.entries().to_vec(), held)?;
        Ok((guest.resources().push(headers)?,))
    })?;
    interface.simple("[method]outgoing-request.method", price::FIELD, |guest, (request,)| {
        let request: &OutgoingRequest = guest.resources().get(&request)?;
        Ok((request.method.clone(),))
    })?;
    interface.simple("[method]outgoing-request.scheme", price::FIELD, |guest, (request,)| {
        let request: &OutgoingRequest = guest.resources().get(&request)?;
        Ok((request.scheme.clone(),))
    })?;
    let copied = price::of(MAX_TEXT, price::BYTE);
    interface.simple("[method]outgoing-request.authority", copied, |guest, (request,)| {
        let request: &OutgoingRequest = guest.resources().get(&request)?;
        Ok((request.authority.clone(),))
    })?;
    interface.simple("[method]outgoing-request.path-with-query", copied, |guest, (request,)| {
        let request: &OutgoingRequest = guest.resources().get(&request)?;
        Ok((request.path.clone(),))
    })?;
    interface.metered("[method]outgoing-request.set-method", set_method)?;
    interface.metered("[method]outgoing-request.set-scheme", set_scheme)?;
    interface.metered("[method]outgoing-request.set-authority", |store, (request, text)| {
        set_text(store, request, text, |request, text| request.authority = text)
    })?;
    interface.metered("[method]outgoing-request.set-path-with-query", |store, (request, text)| {
        set_text(store, request, text, |request, text| request.path = text)
    })
}

fn set_method(
    mut store: Store<'_>,
    (request, method): (Handle, MethodParam),
) -> HostWork<'_, Done> {
    Box::pin(async move {
        let method = match method {
            MethodParam::Get => Method::Get,
            MethodParam::Head => Method::Head,
            MethodParam::Post => Method::Post,
            MethodParam::Put => Method::Put,
            MethodParam::Delete => Method::Delete,
            MethodParam::Connect => Method::Connect,
            MethodParam::Options => Method::Options,
            MethodParam::Trace => Method::Trace,
            MethodParam::Patch => Method::Patch,
            MethodParam::Other(text) => match read(&mut store, &text).await? {
                Some(text) => Method::Other(text),
                None => return Ok((Err(()),)),
            },
        };
        store.data_mut().resources().get_mut(&request)?.method = method;
        Ok((Ok(()),))
    })
}

fn set_scheme(
    mut store: Store<'_>,
    (request, scheme): (Handle, Option<SchemeParam>),
) -> HostWork<'_, Done> {
    Box::pin(async move {
        let scheme = match scheme {
            None => None,
            Some(SchemeParam::Http) => Some(Scheme::Http),
            Some(SchemeParam::Https) => Some(Scheme::Https),
            Some(SchemeParam::Other(text)) => match read(&mut store, &text).await? {
                Some(text) => Some(Scheme::Other(text)),
                None => return Ok((Err(()),)),
            },
        };
        store.data_mut().resources().get_mut(&request)?.scheme = scheme;
        Ok((Ok(()),))
    })
}

fn set_text(
    mut store: Store<'_>,
    request: Handle,
    text: Option<GuestText>,
    set: fn(&mut OutgoingRequest, Option<String>),
) -> HostWork<'_, Done> {
    Box::pin(async move {
        let text = match text {
            None => None,
            Some(text) => match read(&mut store, &text).await? {
                Some(text) => Some(text),
                None => return Ok((Err(()),)),
            },
        };
        set(store.data_mut().resources().get_mut(&request)?, text);
        Ok((Ok(()),))
    })
}

/// A text, unless it is too long.
async fn read(store: &mut Store<'_>, text: &GuestText) -> wasmtime::Result<Option<String>> {
    if text.len() > MAX_TEXT {
        return Ok(None);
    }
    charge(store, price::of(text.len(), price::BYTE)).await?;
    Ok(Some(text.read(&*store)?.into_owned()))
}

fn options(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    type Options = Resource<RequestOptions>;
    type Time = fn(&mut HttpPatience) -> &mut Option<Duration>;

    interface.resource::<RequestOptions>("request-options", |guest, options| {
        guest.resources().delete(options)?;
        Ok(())
    })?;
    interface.simple("[constructor]request-options", price::HANDLE, |guest, (): ()| {
        Ok((guest.resources().push(RequestOptions::default())?,))
    })?;
    let times: [(&str, Time); 3] = [
        ("connect-timeout", |patience| &mut patience.connect),
        ("first-byte-timeout", |patience| &mut patience.first_byte),
        ("between-bytes-timeout", |patience| &mut patience.between_bytes),
    ];
    for (name, time) in times {
        let get = format!("[method]request-options.{name}");
        interface.simple(&get, 0, move |guest, (options,): (Options,)| {
            let RequestOptions(patience) = guest.resources().get_mut(&options)?;
            let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            Ok((time(patience).map(nanos),))
        })?;
        let set = format!("[method]request-options.set-{name}");
        interface.simple(&set, 0, move |guest, (options, nanos): (Options, Option<u64>)| {
            let RequestOptions(patience) = guest.resources().get_mut(&options)?;
            *time(patience) = nanos.map(Duration::from_nanos);
            let done: Result<(), ()> = Ok(());
            Ok((done,))
        })?;
    }
    Ok(())
}

fn body(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    type Body = Resource<OutgoingBody>;

    interface.resource::<OutgoingBody>("outgoing-body", |guest, body| {
        guest.resources().delete(body)?;
        Ok(())
    })?;
    interface.simple("[method]outgoing-body.write", price::HANDLE, |guest, (body,): (Body,)| {
        let body = guest.resources().get_mut(&body)?;
        if std::mem::replace(&mut body.has_stream, true) {
            return Ok((Err(()),));
        }
        let stream: DynOutputStream = Box::new(body.body.clone());
        Ok((Ok(guest.resources().push(stream)?),))
    })?;
    interface.simple(
        "[static]outgoing-body.finish",
        price::HANDLE,
        |guest, (body, trailers): (Body, Option<Resource<Fields>>)| {
            let body = guest.resources().delete(body)?;
            if let Some(trailers) = trailers {
                guest.resources().delete(trailers)?;
                let error = "no trailers can be sent".to_owned();
                return Ok((Err(ErrorCode::InternalError(Some(error))),));
            }
            body.body.end(BodyState::Finished);
            Ok((Ok(()),))
        },
    )
}

/// Link `outgoing-handler`.
pub(super) fn link_handler(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("handle", price::HANDLE + price::REQUEST, handle)
}

type Answer = (Result<Resource<FutureResponse>, ErrorCode>,);

/// Take a request. It leaves when the guest waits.
fn handle(
    guest: &mut Guest,
    (request, options): (Handle, Option<Resource<RequestOptions>>),
) -> wasmtime::Result<Answer> {
    // A guest has exchanges in a call alone.
    guest.turn()?;
    let request = guest.resources().delete(request)?;
    let patience = match options {
        Some(options) => guest.resources().delete(options)?.0,
        None => HttpPatience::default(),
    };
    if guest.is_in_world() {
        // The answer would be none that the world comes to again.
        return Ok((Err(ErrorCode::RequestDenied),));
    }
    let Some(authority) = &request.authority else {
        return Ok((Err(ErrorCode::RequestUriInvalid),));
    };
    let scheme = request.scheme.as_ref().map_or("https", Scheme::as_str);
    let path = request.path.as_deref().unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let url = format!("{scheme}://{authority}{slash}{path}");
    let mut held = guest.http.held.part();
    held.grow(url.len()).map_err(too_much)?;
    let method = request.method.as_str().to_owned();
    let OutgoingRequest { headers, body, .. } = request;
    let made = Made { method, url, headers, body, patience, _held: held };
    let Some(number) = guest.http.make(made) else {
        return Ok((Err(ErrorCode::ConnectionLimitReached),));
    };
    let future = FutureResponse::new(guest.http.call(), number);
    Ok((Ok(guest.resources().push(future)?),))
}
