//! Large documents are read and rendered on threads of their own, a few at a time, principals in turns: what
//! takes milliseconds keeps nobody from an answer that takes none.

use std::sync::Arc;

use tracing::Span;

use super::error::ApiError;
use dormouse::{Part, Principal, TurnOutcome, TurnRecord};
use dormouse_base::shares::{Callers, FairSemaphore};

/// What is not larger is read or rendered at once, in bytes: it takes a fraction of a millisecond.
const SMALL: u64 = 64 << 10;

/// Documents that are read or rendered at a time; of one principal half as many, where there are several.
const PLACES: usize = 4;

/// The places for large documents.
#[derive(Clone, Debug)]
pub(super) struct Documents(Arc<FairSemaphore>);

impl Documents {
    pub(super) fn new(callers: Callers) -> Documents {
        Documents(Arc::new(FairSemaphore::new(PLACES, callers)))
    }

    /// Read or render a document of about so many bytes.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        principal: &Principal,
        bytes: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if bytes <= SMALL {
            return Ok(work());
        }
        let _admitted = self.0.wait(principal).await;
        let panicked = |error: tokio::task::JoinError| ApiError::internal(error.to_string());
        let request = Span::current();
        tokio::task::spawn_blocking(move || request.in_scope(work)).await.map_err(panicked)
    }
}

/// How many bytes an answer has at most that tells what came of this turn, besides a few that do not count.
pub(super) fn length_of(turn: &TurnRecord) -> u64 {
    let TurnOutcome::Answered { content, .. } = &turn.outcome else { return 0 };
    let text = |part: &Part| match part {
        Part::Text(text) | Part::Json(text) => escaped(text),
        Part::Blob { .. } => 0,
    };
    let texts = content.iter().map(text).sum();
    if content.iter().all(|part| matches!(part, Part::Text(_))) {
        return texts;
    }
    // The texts are told as one, and each part by itself.
    let part = |part: &Part| match part {
        Part::Text(text) | Part::Json(text) => escaped(text),
        Part::Blob { data, .. } => 4 * data.len().div_ceil(3) as u64,
    };
    texts + content.iter().map(part).sum::<u64>()
}

/// The most bytes of a text in a JSON string, in which no reader finds the end of a line.
fn escaped(text: &str) -> u64 {
    let more = |byte: u8| match byte {
        // `\u0001`
        ..=0x1f => 5,
        b'"' | b'\\' => 1,
        // The first bytes of U+0085, which becomes `\u0085`, and of U+2028 and U+2029.
        0xc2 => 4,
        0xe2 => 3,
        _ => 0,
    };
    text.len() as u64 + text.bytes().map(more).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_document_keeps_the_thread_of_nobody() {
        let documents = Documents::new(Callers::one());
        let principal = Principal::local();
        let here = std::thread::current().id();
        let work = async |bytes| {
            documents.work(&principal, bytes, || std::thread::current().id()).await.unwrap()
        };
        assert_eq!(work(SMALL).await, here);
        assert_ne!(work(SMALL + 1).await, here);
    }

    #[tokio::test]
    async fn a_principal_with_many_large_documents_is_passed_by_another() {
        let documents = Documents::new(Callers::several());
        let (ann, ben) = (Principal("ann".to_owned()), Principal("ben".to_owned()));
        let (open, closed) = std::sync::mpsc::channel::<()>();
        let closed = Arc::new(std::sync::Mutex::new(closed));
        let many: Vec<_> = (0..10)
            .map(|_| {
                let (documents, ann, closed) = (documents.clone(), ann.clone(), closed.clone());
                let wait = move || closed.lock().expect("not poisoned").recv();
                tokio::spawn(async move { documents.work(&ann, SMALL + 1, wait).await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(documents.work(&ben, SMALL + 1, || 7).await.unwrap(), 7);
        drop(open);
        for one in many {
            let ended = one.await.expect("no panic").expect("it was done");
            assert!(ended.is_err(), "nobody has sent anything");
        }
    }

    #[test]
    fn no_answer_is_longer_than_it_is_said_to_be() {
        for text in ["", "plain", "\u{1}\n\t\"\\", "\u{85}\u{2028}\u{2029}é“𝄞", &"\u{0}".repeat(99)]
        {
            let rendered = serde_json::to_string(text).expect("a string");
            let breaks =
                rendered.matches(['\u{85}', '\u{2028}', '\u{2029}']).map(|it| 6 - it.len());
            assert!(
                (rendered.len() + breaks.sum::<usize>() - 2) as u64 <= escaped(text),
                "{text:?}"
            );
        }
    }
}
