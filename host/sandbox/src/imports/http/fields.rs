//! `fields`: headers and trailers.

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Resource, WasmList};

use super::super::interface::{HostWork, Interface};
use super::super::price;
use super::super::text::GuestText;
use super::held::{HeldPart, TooMuch};
use super::types::HeaderError;
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::http::HEADERS_OF_THE_HOST;

/// The most headers that are kept together.
const MAX_HEADERS: usize = 200;
/// The most bytes of them.
const MAX_BYTES: usize = 64 << 10;

/// Headers or trailers, in order, with their names in lower case.
pub(in crate::imports) struct Fields {
    entries: Vec<(String, Bytes)>,
    /// Whether they belong to a request or a response.
    is_fixed: bool,
    held: HeldPart,
}

type Store<'s> = StoreContextMut<'s, Guest>;
type Handle = Resource<Fields>;
type Done = (Result<(), HeaderError>,);
type Entry = (String, Vec<u8>);

impl Fields {
    /// Those of a request or a response.
    pub(super) fn fixed(
        entries: Vec<(String, Bytes)>,
        mut held: HeldPart,
    ) -> wasmtime::Result<Fields> {
        held.grow(entries.iter().map(size).sum()).map_err(too_much)?;
        Ok(Fields { entries, is_fixed: true, held })
    }

    /// The same, which belong to a request from now on.
    pub(super) fn fix(self) -> Fields {
        Fields { is_fixed: true, ..self }
    }

    /// The same, as they are sent.
    pub(super) fn into_entries(mut self) -> Vec<(String, Bytes)> {
        std::mem::take(&mut self.entries)
    }

    pub(super) fn entries(&self) -> &[(String, Bytes)] {
        &self.entries
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(size).sum()
    }

    /// Whether headers of this name may be changed.
    fn may_change(&self, name: &str) -> Result<(), HeaderError> {
        if !is_name(name) {
            Err(HeaderError::InvalidSyntax)
        } else if HEADERS_OF_THE_HOST.contains(&name) {
            Err(HeaderError::Forbidden)
        } else if self.is_fixed {
            Err(HeaderError::Immutable)
        } else {
            Ok(())
        }
    }

    fn remove(&mut self, name: &str) {
        let removed = self.entries.extract_if(.., |(it, _)| it == name);
        let bytes = removed.map(|entry| size(&entry)).sum();
        self.held.shrink(bytes);
    }

    /// # Errors
    /// A trap: there are too many.
    fn add(&mut self, name: String, value: Vec<u8>) -> wasmtime::Result<()> {
        let entry = (name, Bytes::from(value));
        if self.entries.len() == MAX_HEADERS || self.bytes() + size(&entry) > MAX_BYTES {
            return Err(wasmtime::Error::msg(format!(
                "it makes more than {MAX_HEADERS} headers, or more than {MAX_BYTES} bytes of them"
            )));
        }
        self.held.grow(size(&entry)).map_err(too_much)?;
        self.entries.push(entry);
        Ok(())
    }
}

fn size((name, value): &(String, Bytes)) -> usize {
    name.len() + value.len()
}

/// A trap, where a guest hands over more than is held for it.
pub(super) fn too_much(TooMuch: TooMuch) -> wasmtime::Error {
    wasmtime::Error::msg("it has too much of HTTP open at once: requests, responses and headers")
}

/// Whether this may be the name of a header, in lower case (RFC 9110, 5.6.2).
fn is_name(name: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_sign)
}

/// Whether this may be the value of a header (RFC 9110, 5.5).
fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

/// Link the resource.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.resource::<Fields>("fields", |guest, fields| {
        guest.resources().delete(fields)?;
        Ok(())
    })?;
    interface.simple("[constructor]fields", price::HANDLE, |guest, (): ()| {
        let fields = Fields { entries: Vec::new(), is_fixed: false, held: guest.http.held.part() };
        Ok((guest.resources().push(fields)?,))
    })?;
    interface.metered("[static]fields.from-list", from_list)?;
    interface.metered("[method]fields.get", get)?;
    interface.metered("[method]fields.has", |mut store, (fields, name): (Handle, GuestText)| {
        Box::pin(async move {
            let name = read_name(&mut store, &name).await?;
            let fields = store.data_mut().resources().get(&fields)?;
            Ok((fields.entries.iter().any(|(it, _)| *it == name),))
        })
    })?;
    interface.metered("[method]fields.set", set)?;
    interface.metered("[method]fields.delete", delete)?;
    interface.metered("[method]fields.append", append)?;
    interface.metered("[method]fields.entries", |mut store, (fields,): (Handle,)| {
        Box::pin(async move {
            pay_for_copy(&mut store, &fields).await?;
            let fields = store.data_mut().resources().get(&fields)?;
            let entry = |(name, value): &(String, Bytes)| (name.clone(), value.to_vec());
            Ok((fields.entries.iter().map(entry).collect::<Vec<Entry>>(),))
        })
    })?;
    interface.metered("[method]fields.clone", |mut store, (fields,): (Handle,)| {
        Box::pin(async move {
            pay_for_copy(&mut store, &fields).await?;
            let copy = copy(store.data_mut(), &fields, false)?;
            store.data_mut().pay_for_kept()?;
            Ok((copy,))
        })
    })
}

/// A handle of a copy of headers, which can be changed or not.
fn copy(guest: &mut Guest, fields: &Handle, is_fixed: bool) -> wasmtime::Result<Handle> {
    let held = guest.http.held.part();
    let entries = guest.resources().get(fields)?.entries.clone();
    let copy = Fields { is_fixed, ..Fields::fixed(entries, held)? };
    Ok(guest.resources().push(copy)?)
}

/// Pay for what is copied of headers.
async fn pay_for_copy(store: &mut Store<'_>, fields: &Handle) -> wasmtime::Result<()> {
    let fields = store.data_mut().resources().get(fields)?;
    let cost =
        price::of(fields.entries.len(), price::FIELD) + price::of(fields.bytes(), price::BYTE);
    charge(store, cost).await
}

/// A name in lower case. What is too long for one is none.
async fn read_name(store: &mut Store<'_>, name: &GuestText) -> wasmtime::Result<String> {
    charge(store, price::FIELD + price::of(name.len(), price::BYTE)).await?;
    if name.len() > MAX_BYTES {
        return Ok(String::new());
    }
    Ok(name.read(&*store)?.to_ascii_lowercase())
}

/// A value, if it may be one.
async fn read_value(
    store: &mut Store<'_>,
    value: &WasmList<u8>,
) -> wasmtime::Result<Result<Vec<u8>, HeaderError>> {
    charge(store, price::FIELD + price::of(value.len(), price::BYTE)).await?;
    if value.len() > MAX_BYTES {
        return Ok(Err(HeaderError::InvalidSyntax));
    }
    let value = value.as_le_slice(&*store);
    Ok(if is_value(value) { Ok(value.to_vec()) } else { Err(HeaderError::InvalidSyntax) })
}

fn from_list(
    mut store: Store<'_>,
    (list,): (WasmList<(GuestText, WasmList<u8>)>,),
) -> HostWork<'_, (Result<Handle, HeaderError>,)> {
    Box::pin(async move {
        let held = store.data().http.held.part();
        let mut fields = Fields { entries: Vec::new(), is_fixed: false, held };
        for place in 0..list.len() {
            let Some(entry) = list.get(&mut store, place) else { break };
            let (name, value) = entry?;
            let name = read_name(&mut store, &name).await?;
            if let Err(error) = fields.may_change(&name) {
                return Ok((Err(error),));
            }
            match read_value(&mut store, &value).await? {
                Ok(value) => fields.add(name, value)?,
                Err(error) => return Ok((Err(error),)),
            }
        }
        store.data_mut().pay_for_kept()?;
        Ok((Ok(store.data_mut().resources().push(fields)?),))
    })
}

fn get(mut store: Store<'_>, (fields, name): (Handle, GuestText)) -> HostWork<'_, (Vec<Vec<u8>>,)> {
    Box::pin(async move {
        let name = read_name(&mut store, &name).await?;
        let fields = store.data_mut().resources().get(&fields)?;
        let found = fields.entries.iter().filter(|(it, _)| *it == name);
        let values: Vec<Vec<u8>> = found.map(|(_, value)| value.to_vec()).collect();
        let bytes = values.iter().map(Vec::len).sum();
        charge(&mut store, price::of(bytes, price::BYTE)).await?;
        Ok((values,))
    })
}

fn set(
    mut store: Store<'_>,
    (fields, name, list): (Handle, GuestText, WasmList<WasmList<u8>>),
) -> HostWork<'_, Done> {
    Box::pin(async move {
        let name = read_name(&mut store, &name).await?;
        if let Err(error) = store.data_mut().resources().get(&fields)?.may_change(&name) {
            return Ok((Err(error),));
        }
        let mut values = Vec::new();
        for place in 0..list.len().min(MAX_HEADERS + 1) {
            let Some(value) = list.get(&mut store, place) else { break };
            let value = value?;
            match read_value(&mut store, &value).await? {
                Ok(value) => values.push(value),
                Err(error) => return Ok((Err(error),)),
            }
        }
        let fields = store.data_mut().resources().get_mut(&fields)?;
        fields.remove(&name);
        for value in values {
            fields.add(name.clone(), value)?;
        }
        store.data_mut().pay_for_kept()?;
        Ok((Ok(()),))
    })
}

fn delete(mut store: Store<'_>, (fields, name): (Handle, GuestText)) -> HostWork<'_, Done> {
    Box::pin(async move {
        let name = read_name(&mut store, &name).await?;
        let fields = store.data_mut().resources().get_mut(&fields)?;
        let may_change = fields.may_change(&name);
        if may_change.is_ok() {
            fields.remove(&name);
        }
        Ok((may_change,))
    })
}

fn append(
    mut store: Store<'_>,
    (fields, name, value): (Handle, GuestText, WasmList<u8>),
) -> HostWork<'_, Done> {
    Box::pin(async move {
        let name = read_name(&mut store, &name).await?;
        if let Err(error) = store.data_mut().resources().get(&fields)?.may_change(&name) {
            return Ok((Err(error),));
        }
        let value = match read_value(&mut store, &value).await? {
            Ok(value) => value,
            Err(error) => return Ok((Err(error),)),
        };
        store.data_mut().resources().get_mut(&fields)?.add(name, value)?;
        store.data_mut().pay_for_kept()?;
        Ok((Ok(()),))
    })
}
