//! What came of HTTP exchanges, as a journal keeps it.

use bytes::Bytes;
use minicbor::{CborLen, Decode, Encode};

use dormouse_domain::http::{HttpAnswer, HttpError, HttpErrorKind, HttpNews, HttpResponse};

#[derive(Encode, Decode, CborLen)]
pub(super) struct HttpNewsRow<'a> {
    #[b(0)]
    ended: Vec<EndedRow<'a>>,
    #[n(1)]
    times: Vec<u32>,
}

/// An exchange that is over.
#[derive(Encode, Decode, CborLen)]
struct EndedRow<'a> {
    #[n(0)]
    number: u32,
    #[b(1)]
    answer: AnswerRow<'a>,
}

#[derive(Encode, Decode, CborLen)]
enum AnswerRow<'a> {
    #[n(0)]
    Response {
        #[n(0)]
        status: u16,
        #[b(1)]
        headers: Vec<HeaderRow<'a>>,
        #[cbor(b(2), with = "minicbor::bytes")]
        body: &'a [u8],
    },
    #[n(1)]
    Failed {
        #[n(0)]
        kind: ErrorKindRow,
        #[b(1)]
        text: &'a str,
    },
}

#[derive(Encode, Decode, CborLen)]
struct HeaderRow<'a> {
    #[b(0)]
    name: &'a str,
    #[cbor(b(1), with = "minicbor::bytes")]
    value: &'a [u8],
}

#[derive(Clone, Copy, Encode, Decode, CborLen)]
#[cbor(index_only)]
enum ErrorKindRow {
    #[n(0)]
    NotAllowed,
    #[n(1)]
    Invalid,
    #[n(2)]
    UnknownHost,
    #[n(3)]
    PrivateAddress,
    #[n(4)]
    Unreachable,
    #[n(5)]
    Tls,
    #[n(6)]
    TimedOut,
    #[n(7)]
    TooLarge,
    #[n(8)]
    Broken,
    #[n(9)]
    Busy,
    #[n(10)]
    UnknownOutcome,
}

impl HttpNewsRow<'_> {
    pub(super) fn of(news: &HttpNews) -> HttpNewsRow<'_> {
        let ended = news.ended.iter();
        HttpNewsRow {
            ended: ended.map(|(number, answer)| EndedRow::of(*number, answer)).collect(),
            times: news.times.clone(),
        }
    }

    pub(super) fn news(self) -> HttpNews {
        let ended = self.ended.into_iter();
        HttpNews {
            ended: ended.map(|row| (row.number, row.answer.answer())).collect(),
            times: self.times,
        }
    }
}

impl EndedRow<'_> {
    fn of(number: u32, answer: &HttpAnswer) -> EndedRow<'_> {
        let answer = match answer {
            Ok(HttpResponse { status, headers, body }) => {
                let header = |(name, value)| HeaderRow { name, value };
                let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
                AnswerRow::Response {
                    status: *status,
                    headers: headers.map(header).collect(),
                    body,
                }
            }
            Err(HttpError { kind, text }) => {
                AnswerRow::Failed { kind: ErrorKindRow::of(*kind), text }
            }
        };
        EndedRow { number, answer }
    }
}

impl AnswerRow<'_> {
    fn answer(self) -> HttpAnswer {
        match self {
            AnswerRow::Response { status, headers, body } => {
                let header =
                    |row: HeaderRow<'_>| (row.name.to_owned(), Bytes::copy_from_slice(row.value));
                let headers = headers.into_iter().map(header).collect();
                Ok(HttpResponse { status, headers, body: Bytes::copy_from_slice(body) })
            }
            AnswerRow::Failed { kind, text } => {
                Err(HttpError { kind: kind.kind(), text: text.to_owned() })
            }
        }
    }
}

impl ErrorKindRow {
    fn of(kind: HttpErrorKind) -> ErrorKindRow {
        match kind {
            HttpErrorKind::NotAllowed => ErrorKindRow::NotAllowed,
            HttpErrorKind::Invalid => ErrorKindRow::Invalid,
            HttpErrorKind::UnknownHost => ErrorKindRow::UnknownHost,
            HttpErrorKind::PrivateAddress => ErrorKindRow::PrivateAddress,
            HttpErrorKind::Unreachable => ErrorKindRow::Unreachable,
            HttpErrorKind::Tls => ErrorKindRow::Tls,
            HttpErrorKind::TimedOut => ErrorKindRow::TimedOut,
            HttpErrorKind::TooLarge => ErrorKindRow::TooLarge,
            HttpErrorKind::Broken => ErrorKindRow::Broken,
            HttpErrorKind::Busy => ErrorKindRow::Busy,
            HttpErrorKind::UnknownOutcome => ErrorKindRow::UnknownOutcome,
        }
    }

    fn kind(self) -> HttpErrorKind {
        match self {
            ErrorKindRow::NotAllowed => HttpErrorKind::NotAllowed,
            ErrorKindRow::Invalid => HttpErrorKind::Invalid,
            ErrorKindRow::UnknownHost => HttpErrorKind::UnknownHost,
            ErrorKindRow::PrivateAddress => HttpErrorKind::PrivateAddress,
            ErrorKindRow::Unreachable => HttpErrorKind::Unreachable,
            ErrorKindRow::Tls => HttpErrorKind::Tls,
            ErrorKindRow::TimedOut => HttpErrorKind::TimedOut,
            ErrorKindRow::TooLarge => HttpErrorKind::TooLarge,
            ErrorKindRow::Broken => HttpErrorKind::Broken,
            ErrorKindRow::Busy => HttpErrorKind::Busy,
            ErrorKindRow::UnknownOutcome => HttpErrorKind::UnknownOutcome,
        }
    }
}
