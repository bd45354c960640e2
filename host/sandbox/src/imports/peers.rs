//! `dormouse:agent/peers`: what the agent sends to those of other sessions.
//!
//! What is sent is read within its bounds, paid for and checked here; who it goes to, and whether there is room for it,
//! the world of the call knows. It is kept with the call, and goes with the commit of its turn.

use std::borrow::Cow;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, WasmList};

use super::contract::peers::{Error, Peer};
use super::interface::{HostWork, Interface};
use super::price;
use super::text::GuestText;
use crate::fuel::charge;
use crate::guest::Guest;
use crate::handle::check;
use crate::world::NotSent;
use dormouse_domain::mail::{
    MAX_MAIL_BYTES, MAX_MAIL_PARTS, MAX_PEER_NAME, MAX_SENDS, MAX_SENT_BYTES,
};
use dormouse_domain::turn::Part;

/// Link the interface.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("list", list)?;
    interface.metered("send", send)
}

/// A part, of which no text is read yet.
#[derive(ComponentType, Lift)]
#[component(variant)]
enum PartParam {
    #[component(name = "text")]
    Text(GuestText),
    #[component(name = "json")]
    Json(GuestText),
    #[component(name = "blob")]
    Blob(BlobParam),
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct BlobParam {
    #[component(name = "media-type")]
    media_type: GuestText,
    data: WasmList<u8>,
}

type Sent = (Result<(), Error>,);

fn list(mut store: StoreContextMut<'_, Guest>, (): ()) -> HostWork<'_, (Vec<Peer>,)> {
    Box::pin(async move {
        // What a session may have of them bounds what is made here.
        let peers = store.data_mut().turn()?.peers().all().iter();
        let peers = peers.map(|(name, id)| Peer { name: name.clone(), id: id.to_string() });
        let peers: Vec<Peer> = peers.collect();
        let bytes = peers.iter().map(|peer| peer.name.len() + peer.id.len()).sum();
        let cost = price::of(peers.len(), price::FIELD) + price::of(bytes, price::BYTE);
        charge(&mut store, cost).await?;
        Ok((peers,))
    })
}

fn send(
    mut store: StoreContextMut<'_, Guest>,
    (to, content): (GuestText, WasmList<PartParam>),
) -> HostWork<'_, Sent> {
    Box::pin(async move {
        charge(&mut store, price::MAIL).await?;
        let Some(to) = address(&mut store, &to).await? else {
            return Ok((Err(Error::UnknownPeer),));
        };
        let content = match read(&mut store, &content, MAX_MAIL_BYTES).await? {
            Ok(content) => content,
            Err(error) => return Ok((Err(error),)),
        };
        let guest = store.data_mut();
        let sent = guest.turn()?.send(&to, content);
        guest.pay_for_kept()?;
        Ok((sent.map_err(told),))
    })
}

/// What the agent calls somebody. `None`: it is longer than any name.
async fn address(
    store: &mut StoreContextMut<'_, Guest>,
    to: &GuestText,
) -> wasmtime::Result<Option<String>> {
    if to.len() > MAX_PEER_NAME {
        return Ok(None);
    }
    charge(store, price::of(to.len(), price::BYTE)).await?;
    Ok(Some(to.read(&*store)?.into_owned()))
}

/// The parts of what is sent, checked: no more than so many bytes are read.
async fn read(
    store: &mut StoreContextMut<'_, Guest>,
    content: &WasmList<PartParam>,
    most: u64,
) -> wasmtime::Result<Result<Vec<Part>, Error>> {
    let count = content.len();
    if !(1..=MAX_MAIL_PARTS).contains(&count) {
        let why = format!("it has {count} parts; 1 to {MAX_MAIL_PARTS} may be");
        return Ok(Err(Error::Invalid(why)));
    }
    let mut reader = Reader { store, left: usize::try_from(most).unwrap_or(usize::MAX) };
    let mut parts = Vec::with_capacity(count);
    for place in 0..count {
        let Some(part) = reader.part(content, place).await? else {
            return Ok(Err(Error::TooLarge(most)));
        };
        parts.push(part);
    }
    let checked = (1..).zip(&parts).try_for_each(|(place, part)| {
        check(part).map_err(|why| Error::Invalid(format!("part {place}: {why}")))
    });
    Ok(checked.map(|()| parts))
}

struct Reader<'r, 's> {
    store: &'r mut StoreContextMut<'s, Guest>,
    /// Bytes that may be read yet.
    left: usize,
}

impl Reader<'_, '_> {
    /// A part of a list, which has more than this. `None`: it is too large.
    async fn part(
        &mut self,
        list: &WasmList<PartParam>,
        place: usize,
    ) -> wasmtime::Result<Option<Part>> {
        charge(self.store, price::FIELD).await?;
        let part = list.get(&mut *self.store, place);
        let part = part.unwrap_or_else(|| Err(wasmtime::Error::msg("a list ends too early")))?;
        Ok(match part {
            PartParam::Text(text) => self.text(&text, price::BYTE).await?.map(Part::Text),
            PartParam::Json(json) => self.text(&json, price::JSON_BYTE).await?.map(Part::Json),
            PartParam::Blob(BlobParam { media_type, data }) => {
                let media_type = self.text(&media_type, price::BYTE).await?;
                let data = self.bytes(&data).await?;
                media_type.zip(data).map(|(media_type, data)| Part::Blob { media_type, data })
            }
        })
    }

    async fn text(&mut self, text: &GuestText, each: u64) -> wasmtime::Result<Option<String>> {
        if !self.takes(text.len()) {
            return Ok(None);
        }
        charge(self.store, price::of(text.len(), each)).await?;
        let units = text.len();
        let text = text.read(&*self.store).map(Cow::into_owned)?;
        // In UTF-8 it may have more bytes than it has units in the guest.
        Ok(self.takes(text.len().saturating_sub(units)).then_some(text))
    }

    async fn bytes(&mut self, list: &WasmList<u8>) -> wasmtime::Result<Option<Vec<u8>>> {
        if !self.takes(list.len()) {
            return Ok(None);
        }
        charge(self.store, price::of(list.len(), price::BYTE)).await?;
        Ok(Some(list.as_le_slice(&*self.store).to_vec()))
    }

    fn takes(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

fn told(why: NotSent) -> Error {
    match why {
        NotSent::UnknownPeer => Error::UnknownPeer,
        NotSent::TooMany => Error::TooMany(MAX_SENDS),
        NotSent::TooLarge => Error::TooLarge(MAX_SENT_BYTES),
        NotSent::MailboxFull => Error::MailboxFull,
        NotSent::Ended => Error::Ended,
    }
}
