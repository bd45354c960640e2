//! A mail in a mailbox.

use minicbor::{CborLen, Decode, Encode};

use super::turn::PartRow;
use super::{CodecError, IdRow, from_cbor, to_cbor};
use dormouse_domain::id::SessionId;
use dormouse_domain::mail::Mail;
use dormouse_domain::time::Timestamp;

/// The row of this mail.
pub(crate) fn encode_mail(mail: &Mail) -> Vec<u8> {
    to_cbor(&MailRow {
        from: mail.from.0.into(),
        sent_at: mail.sent_at.0,
        content: mail.content.iter().map(PartRow::of).collect(),
    })
}

/// The mail of this row.
pub(crate) fn decode_mail(bytes: &[u8]) -> Result<Mail, CodecError> {
    let row: MailRow<'_> = from_cbor(bytes)?;
    Ok(Mail {
        from: SessionId(row.from.into()),
        sent_at: Timestamp(row.sent_at),
        content: row.content.into_iter().map(PartRow::part).collect(),
    })
}

#[derive(Encode, Decode, CborLen)]
struct MailRow<'a> {
    #[n(0)]
    from: IdRow,
    #[n(1)]
    sent_at: i64,
    #[b(2)]
    content: Vec<PartRow<'a>>,
}
