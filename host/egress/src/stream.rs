//! A response whose body the caller reads as it comes, for servers that answer in pieces over time.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::{Sleep, timeout};

use crate::error::{EgressError, EgressTimeout};
use crate::places::Place;
use crate::secrets::StreamMask;
use dormouse_base::memory::pool::Charge;
use dormouse_domain::egress::EgressHost;

/// A response with its body yet to be read. Its connection and its place among the exchanges of the host are held until
/// it is dropped.
pub struct EgressStream {
    /// 200 to 599
    pub status: u16,
    /// Its headers, with the names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub(crate) response: Response,
    pub(crate) host: EgressHost,
    pub(crate) between_bytes: Duration,
    /// The most bytes of the body, and how many of them have come.
    pub(crate) most: usize,
    pub(crate) taken: usize,
    pub(crate) mask: Option<StreamMask>,
    /// When the time for everything is over.
    pub(crate) end: Pin<Box<Sleep>>,
    pub(crate) held: Charge,
    pub(crate) _place: Place,
}

impl std::fmt::Debug for EgressStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EgressStream({}, {} bytes so far)", self.status, self.taken)
    }
}

impl EgressStream {
    /// The first header of this name, which is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_slice())
    }

    /// The next piece of the body, with placeholders in the place of secrets. `None`: the body is complete.
    ///
    /// # Errors
    /// The body is larger than the request said, the connection broke, or something took too long. Whoever goes on
    /// reading then gets the same kind of answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, EgressError> {
        loop {
            let Some(chunk) = self.chunk().await? else {
                let rest = self.mask.as_mut().map(StreamMask::rest).filter(|it| !it.is_empty());
                return Ok(rest.map(Bytes::from));
            };
            self.taken = self.taken.saturating_add(chunk.len());
            if self.taken > self.most {
                return Err(EgressError::ResponseTooLarge { most: self.most });
            }
            let piece = match &mut self.mask {
                Some(mask) => mask.hide(&chunk).into(),
                None => chunk,
            };
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// The whole rest of the body. Its memory is charged to the principal until this response is dropped.
    ///
    /// # Errors
    /// As [`EgressStream::next`], and where there is no memory.
    pub async fn collect(&mut self) -> Result<Vec<u8>, EgressError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            self.held.grow(piece.len() as u64).map_err(|_| EgressError::OutOfMemory)?;
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, EgressError> {
        let timed_out = |timeout| EgressError::TimedOut { host: self.host.clone(), timeout };
        let next = timeout(self.between_bytes, self.response.chunk());
        tokio::select! {
            biased;
            () = &mut self.end => Err(timed_out(EgressTimeout::Total)),
            chunk = next => match chunk {
                Ok(Ok(chunk)) => Ok(chunk),
                Ok(Err(_)) => Err(EgressError::Broken { host: self.host.clone() }),
                Err(_) => Err(timed_out(EgressTimeout::BetweenBytes)),
            },
        }
    }
}
