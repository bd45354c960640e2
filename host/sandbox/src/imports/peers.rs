//! `dormouse:agent/peers`: what the agent sends to those of other sessions.
//!
//! What is sent is read within its bounds, paid for and checked here; who it goes to, and whether there is room for it,
//! the world of the call knows. It is kept with the call, and goes with the commit of its turn.

use std::borrow::Cow;
use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, WasmList};

use super::contract::peers::{self, Error, Peer};
use super::interface::{HostWork, Interface};
use super::text::GuestText;
use super::{effect, price};
use crate::fuel::charge;
use crate::guest::Guest;
use crate::handle::check;
use crate::world::NotSent;
use dormouse_domain::ask::{
    AskError, DEFAULT_ASK_TIMEOUT, MAX_ASK_BYTES, MAX_ASK_TIMEOUT, PeerAsk,
};
use dormouse_domain::effect::Effect;
use dormouse_domain::mail::{
    MAX_MAIL_BYTES, MAX_MAIL_PARTS, MAX_PEER_NAME, MAX_SENDS, MAX_SENT_BYTES,
};
use dormouse_domain::turn::Part;

/// The most bytes of JSON that are checked where the guest runs: what takes longer is checked on a thread that
/// may block.
const SMALL: usize = 64 << 10;

/// Link the interface.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("list", list)?;
    interface.metered("send", send)?;
    interface.metered("ask", ask)
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
        let sent = guest.turn()?.send(to, content).await;
        // From here on it is kept with the call.
        guest.memory.keep(0);
        guest.pay_for_kept()?;
        Ok((sent.map_err(told),))
    })
}

type Asked = (Result<Vec<peers::Part>, Error>,);

fn ask(
    mut store: StoreContextMut<'_, Guest>,
    (to, content, timeout): (GuestText, WasmList<PartParam>, Option<u64>),
) -> HostWork<'_, Asked> {
    Box::pin(async move {
        charge(&mut store, price::MAIL).await?;
        let Some(address) = address(&mut store, &to).await? else {
            return Ok((Err(Error::UnknownPeer),));
        };
        let content = match read(&mut store, &content, MAX_ASK_BYTES).await? {
            Ok(content) => content,
            Err(error) => return Ok((Err(error),)),
        };
        let timeout = timeout.map_or(DEFAULT_ASK_TIMEOUT, Duration::from_millis);
        let timeout = timeout.min(MAX_ASK_TIMEOUT);
        let to = store.data_mut().turn()?.addressed(&address);
        let asked = Effect::Ask(PeerAsk { to, address, content, timeout });
        let answer = effect::ask(&mut store, asked).await?;
        let answered = answer.of_ask().map_err(wasmtime::Error::new)?;
        // The question is gone; what is handed over takes memory until the guest has it.
        store.data_mut().memory.keep(0);
        let (parts, bytes) = match &answered {
            Ok(content) => (content.len(), content.iter().map(Part::len).sum()),
            Err(error) => (1, error.to_string().len()),
        };
        store.data_mut().memory.hold(bytes as u64).map_err(wasmtime::Error::new)?;
        charge(&mut store, price::of(parts, price::FIELD) + price::of(bytes, price::BYTE)).await?;
        let lowered = |content: Vec<Part>| content.into_iter().map(lower).collect();
        Ok((answered.map(lowered).map_err(no_answer),))
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
    let bytes = usize::try_from(most).unwrap_or(usize::MAX);
    let mut reader = Reader { store, most: bytes, left: bytes };
    let mut parts = Vec::with_capacity(count);
    for place in 0..count {
        let Some(part) = reader.part(content, place).await? else {
            return Ok(Err(Error::TooLarge(most)));
        };
        parts.push(part);
    }
    let json = parts.iter().map(|part| match part {
        Part::Json(text) => text.len(),
        Part::Text(_) | Part::Blob { .. } => 0,
    });
    if json.sum::<usize>() <= SMALL {
        return Ok(checked(parts));
    }
    Ok(tokio::task::spawn_blocking(move || checked(parts)).await?)
}

/// The parts, if each is what it says.
fn checked(parts: Vec<Part>) -> Result<Vec<Part>, Error> {
    for (place, part) in (1..).zip(&parts) {
        check(part).map_err(|why| Error::Invalid(format!("part {place}: {why}")))?;
    }
    Ok(parts)
}

struct Reader<'r, 's> {
    store: &'r mut StoreContextMut<'s, Guest>,
    /// Bytes that may be read,
    most: usize,
    /// and those that may be read yet.
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
        if !self.takes(text.len())? {
            return Ok(None);
        }
        charge(self.store, price::of(text.len(), each)).await?;
        let units = text.len();
        let text = text.read(&*self.store).map(Cow::into_owned)?;
        // In UTF-8 it may have more bytes than it has units in the guest.
        let more = text.len().saturating_sub(units);
        Ok(self.takes(more)?.then_some(text))
    }

    async fn bytes(&mut self, list: &WasmList<u8>) -> wasmtime::Result<Option<Vec<u8>>> {
        if !self.takes(list.len())? {
            return Ok(None);
        }
        charge(self.store, price::of(list.len(), price::BYTE)).await?;
        Ok(Some(list.as_le_slice(&*self.store).to_vec()))
    }

    fn takes(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        // What is read lies in memory until it is sent or asked.
        let held = (self.most - self.left) as u64;
        self.store.data_mut().memory.hold(held).map_err(wasmtime::Error::new)?;
        Ok(left.is_some())
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

fn no_answer(error: AskError) -> Error {
    match error {
        AskError::UnknownPeer => Error::UnknownPeer,
        AskError::TooLarge => Error::TooLarge(MAX_ASK_BYTES),
        AskError::Ended => Error::Ended,
        AskError::Paused => Error::Paused,
        AskError::Busy => Error::Busy,
        AskError::Cycle => Error::Cycle,
        AskError::TimedOut => Error::TimedOut,
        AskError::Failed { code, message } => Error::Failed(peers::Failure { code, message }),
        AskError::Unavailable(why) => Error::Unavailable(why),
    }
}

fn lower(part: Part) -> peers::Part {
    match part {
        Part::Text(text) => peers::Part::Text(text),
        Part::Json(text) => peers::Part::Json(text),
        Part::Blob { media_type, data } => peers::Part::Blob(peers::Blob { media_type, data }),
    }
}
