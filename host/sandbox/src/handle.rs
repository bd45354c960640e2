//! One turn of an agent: its `handle` is called, and its reply is taken as far as it is one.

use wasmtime::{AsContextMut, Store};

use super::bindings::exports::dormouse::agent::handler;
use super::call::{AgentAnswer, Call, MAX_REPLY_PARTS};
use super::fault::{Fault, GuestFailure, bounded};
use super::fuel;
use super::guest::Guest;
use super::imports::price::{self, Carried};
use super::instance::is_too_much;
use dormouse_domain::json;
use dormouse_domain::turn::{MAX_REPLY_BYTES, Part, Sender};

/// JSON of a reply that is checked where the guest runs, in bytes.
const SMALL_REPLY: usize = 64 << 10;
/// The longest media type that anything may have.
const MAX_MEDIA_TYPE: usize = 255;

/// Call the agent, and take its reply as far as it is one.
pub(super) async fn run(
    handler: &handler::Guest,
    store: &mut Store<Guest>,
    call: Call,
) -> Result<AgentAnswer, Fault> {
    let Call { id, number, attempt: _, sender, content, deadline, fuel } = call;
    let parts: Vec<handler::PartParam<'_>> = content.iter().map(lower).collect();
    let from = match &sender {
        Sender::Agent(peer) => peer.address(),
        Sender::Schedule(name) => format!("schedule:{name}"),
        Sender::User | Sender::Timer(_) => String::new(),
    };
    let turn = handler::Turn {
        id: &id,
        number,
        sender: match &sender {
            Sender::User => handler::Sender::User,
            Sender::Timer(name) => handler::Sender::Timer(name),
            Sender::Agent(_) => handler::Sender::Agent(&from),
            Sender::Schedule(_) => handler::Sender::Timer(&from),
        },
        content: &parts,
        deadline: u64::try_from(deadline.0).unwrap_or(0),
        fuel,
    };
    match handler.call_handle(&mut *store, turn).await {
        Ok(Ok(reply)) => {
            pay_for_reply(store, &reply.content).await?;
            let complete = reply.complete;
            Ok(AgentAnswer { content: take(reply.content).await?, complete })
        }
        Ok(Err(failure)) => Err(Fault::Failed(failure.into())),
        // What an import takes is bounded before it is read: this is the reply.
        Err(error) if is_too_much(&error) => Err(Fault::ReplyTooLarge { limit: MAX_REPLY_BYTES }),
        Err(error) => Err(store.data_mut().fault(&error)),
    }
}

/// Charge for reading and checking a reply.
async fn pay_for_reply(
    store: &mut Store<Guest>,
    parts: &[handler::PartResult],
) -> Result<(), Fault> {
    let cost = price::reply(parts.iter().map(|part| match part {
        handler::PartResult::Text(text) => Carried::Bytes(text.len()),
        handler::PartResult::Json(json) => Carried::Json(json.len()),
        handler::PartResult::Blob(blob) => Carried::Bytes(blob.media_type.len() + blob.data.len()),
    }));
    let charged = fuel::charge(&mut store.as_context_mut(), cost).await;
    charged.map_err(|error| store.data_mut().fault(&error))
}

/// The parts of a reply, checked where the guest runs or, where that takes long, on a thread that may
/// block.
async fn take(parts: Vec<handler::PartResult>) -> Result<Vec<Part>, Fault> {
    let bytes: usize = parts
        .iter()
        .map(|part| match part {
            handler::PartResult::Json(json) => json.len(),
            handler::PartResult::Text(_) | handler::PartResult::Blob(_) => 0,
        })
        .sum();
    if bytes <= SMALL_REPLY {
        return lift(parts);
    }
    let lifted = tokio::task::spawn_blocking(move || lift(parts)).await;
    lifted.map_err(|error| Fault::Host(error.to_string()))?
}

impl From<handler::Failure> for GuestFailure {
    fn from(failure: handler::Failure) -> GuestFailure {
        match failure {
            handler::Failure::Invalid(why) => GuestFailure::Invalid(bounded(why)),
            handler::Failure::Declined => GuestFailure::Declined,
            handler::Failure::Failed(why) => GuestFailure::Failed(bounded(why)),
        }
    }
}

fn lower(part: &Part) -> handler::PartParam<'_> {
    match part {
        Part::Text(text) => handler::PartParam::Text(text),
        Part::Json(json) => handler::PartParam::Json(json),
        Part::Blob { media_type, data } => {
            handler::PartParam::Blob(handler::BlobParam { media_type, data })
        }
    }
}

/// The parts of a reply, once they are what they say and no more than may be kept.
fn lift(parts: Vec<handler::PartResult>) -> Result<Vec<Part>, Fault> {
    if parts.len() > MAX_REPLY_PARTS {
        let why = format!("it has {} parts; {MAX_REPLY_PARTS} may be", parts.len());
        return Err(Fault::Failed(GuestFailure::InvalidReply(why)));
    }
    let parts: Vec<Part> = parts
        .into_iter()
        .map(|part| match part {
            handler::PartResult::Text(text) => Part::Text(text),
            handler::PartResult::Json(json) => Part::Json(json),
            handler::PartResult::Blob(handler::BlobResult { media_type, data }) => {
                Part::Blob { media_type, data }
            }
        })
        .collect();
    let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
    if bytes > MAX_REPLY_BYTES {
        return Err(Fault::ReplyTooLarge { limit: MAX_REPLY_BYTES });
    }
    for (place, part) in (1..).zip(&parts) {
        check(part).map_err(|why| {
            let why: String = format!("part {place}: {why}");
            Fault::Failed(GuestFailure::InvalidReply(bounded(why)))
        })?;
    }
    Ok(parts)
}

/// Whether a part is what it says.
pub(super) fn check(part: &Part) -> Result<(), String> {
    match part {
        Part::Text(_) => Ok(()),
        Part::Json(text) => {
            json::check(text).map_err(|error| format!("it is no JSON document: {error}"))
        }
        Part::Blob { media_type, .. } if is_media_type(media_type) => Ok(()),
        Part::Blob { .. } => Err("its media type is none, such as `image/png` is".to_owned()),
    }
}

/// Whether this may be the media type of something. It becomes a header one day.
pub(super) fn is_media_type(text: &str) -> bool {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    plain && text.contains('/') && text.len() <= MAX_MEDIA_TYPE
}

#[cfg(test)]
mod tests {
    use super::*;
    use handler::{BlobResult, PartResult};

    #[test]
    fn a_reply_is_taken_only_if_each_part_is_what_it_says() {
        let taken = lift(vec![PartResult::Text("hello".into()), PartResult::Json("[1]".into())]);
        assert_eq!(taken, Ok(vec![Part::Text("hello".into()), Part::Json("[1]".into())]));

        let refused = lift(vec![PartResult::Text(String::new()), PartResult::Json("[1".into())]);
        let Err(Fault::Failed(GuestFailure::InvalidReply(why))) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.starts_with("part 2: it is no JSON document"), "{why}");

        let blob = |media_type: &str| {
            lift(vec![PartResult::Blob(BlobResult { media_type: media_type.into(), data: vec![] })])
        };
        let longest = format!("image/{}", "x".repeat(MAX_MEDIA_TYPE - "image/".len()));
        assert!(blob("image/png").is_ok() && blob(&longest).is_ok());
        let longer = longest + "x";
        for media_type in ["", "png", "image/png\r\nset-cookie: a=b", "bild/größe", &longer] {
            let refused = blob(media_type);
            assert!(matches!(refused, Err(Fault::Failed(GuestFailure::InvalidReply(_)))));
        }
    }

    #[test]
    fn a_reply_is_bounded_in_bytes_and_in_parts() {
        let large = "x".repeat(usize::try_from(MAX_REPLY_BYTES).expect("small"));
        assert!(lift(vec![PartResult::Text(large.clone())]).is_ok());
        assert_eq!(
            lift(vec![PartResult::Text(large + "x")]),
            Err(Fault::ReplyTooLarge { limit: MAX_REPLY_BYTES })
        );
        let many = |count| lift(vec![PartResult::Text(String::new()); count]);
        assert!(many(MAX_REPLY_PARTS).is_ok());
        let refused = many(MAX_REPLY_PARTS + 1);
        assert!(matches!(refused, Err(Fault::Failed(GuestFailure::InvalidReply(_)))));
    }

    #[test]
    fn json_that_nests_without_end_is_refused_and_not_followed() {
        let deep = "[".repeat(1 << 20);
        assert!(lift(vec![PartResult::Json(deep)]).is_err());
    }
}
