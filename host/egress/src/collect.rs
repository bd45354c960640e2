//! The body of a response, as much of it as the caller takes, paid for as it comes.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;

use crate::error::{EgressError, EgressTimeout};
use crate::request::{BodyLimit, LimitAction, MAX_RESPONSE_BODY};
use crate::secrets::Mask;
use dormouse_base::memory::pool::Charge;
use dormouse_domain::egress::EgressHost;

/// What is searched for secrets on the thread that has it, in bytes. More is searched elsewhere.
const SMALL: usize = 64 << 10;

/// Collects the body of one response.
pub(crate) struct Collector<'c> {
    pub(crate) host: &'c EgressHost,
    pub(crate) limit: BodyLimit,
    pub(crate) between_bytes: Duration,
    pub(crate) mask: Option<&'c Mask>,
}

/// A body that was collected.
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    /// There is more of it.
    pub(crate) is_cut: bool,
    /// It has placeholders of secrets.
    pub(crate) is_masked: bool,
}

impl Collector<'_> {
    fn most(&self) -> usize {
        self.limit.most.min(MAX_RESPONSE_BODY)
    }

    /// Collect it, with placeholders in the place of secrets.
    pub(crate) async fn collect(
        &self,
        mut response: Response,
        charge: &mut Charge,
    ) -> Result<Body, EgressError> {
        let length = response.content_length().and_then(|length| usize::try_from(length).ok());
        // Of what has no body the length says something else.
        let bytes = self.read(&mut response, length, charge).await?;
        let (bytes, is_masked) = self.masked(bytes, charge).await?;
        let is_cut = bytes.len() > self.most();
        match (is_cut, self.limit.action) {
            (true, LimitAction::Refuse) => Err(self.too_large()),
            (true, LimitAction::Cut) | (false, _) => {
                Ok(Body { bytes: bytes.slice(..bytes.len().min(self.most())), is_cut, is_masked })
            }
        }
    }

    /// Read what is taken of it, and one byte more where there is more. Where there are secrets as much more as the
    /// longest has: else the beginning of one would not be known for what it is.
    async fn read(
        &self,
        response: &mut Response,
        length: Option<usize>,
        charge: &mut Charge,
    ) -> Result<Vec<u8>, EgressError> {
        if length.is_some_and(|length| length > self.most())
            && self.limit.action == LimitAction::Refuse
        {
            return Err(self.too_large());
        }
        let enough = self.most() + 1 + self.mask.map_or(0, Mask::longest);
        let mut bytes = Vec::new();
        while bytes.len() < enough {
            let Some(chunk) = self.next(response).await? else { break };
            let taken = &chunk[..chunk.len().min(enough - bytes.len())];
            let needed = bytes.len() + taken.len();
            if needed > bytes.capacity() {
                let capacity = needed.max(bytes.capacity() * 2).min(enough);
                let more = capacity - bytes.capacity();
                charge.grow(more as u64).map_err(|_| EgressError::OutOfMemory)?;
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(taken);
        }
        Ok(bytes)
    }

    async fn next(&self, response: &mut Response) -> Result<Option<Bytes>, EgressError> {
        match tokio::time::timeout(self.between_bytes, response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(_)) => Err(EgressError::Broken { host: self.host.clone() }),
            Err(_) => Err(EgressError::TimedOut {
                host: self.host.clone(),
                timeout: EgressTimeout::BetweenBytes,
            }),
        }
    }

    async fn masked(
        &self,
        bytes: Vec<u8>,
        charge: &mut Charge,
    ) -> Result<(Bytes, bool), EgressError> {
        let Some(mask) = self.mask else { return Ok((bytes.into(), false)) };
        let most = self.most();
        let (bytes, is_masked) = match bytes.len() > SMALL {
            false => hide(mask, bytes, most),
            true => {
                let mask = mask.clone();
                let hiding = tokio::task::spawn_blocking(move || hide(&mask, bytes, most));
                hiding.await.map_err(|_| EgressError::Host)?
            }
        };
        if is_masked {
            charge.force(bytes.len() as u64);
        }
        Ok((bytes, is_masked))
    }

    fn too_large(&self) -> EgressError {
        EgressError::ResponseTooLarge { most: self.most() }
    }
}

fn hide(mask: &Mask, bytes: Vec<u8>, most: usize) -> (Bytes, bool) {
    match mask.hide(&bytes, most) {
        Cow::Owned(hidden) => (hidden.into(), true),
        Cow::Borrowed(_) => (bytes.into(), false),
    }
}
