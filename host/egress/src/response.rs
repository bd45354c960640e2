//! A response, whole and bounded, as a guest may see it.

use std::borrow::Cow;

use bytes::Bytes;
use reqwest::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};

use crate::error::EgressError;
use crate::secrets::Mask;
use dormouse_base::memory::pool::Charge;
use dormouse_domain::egress::EgressHost;

/// The most bytes of the names and values of all headers of a response.
pub const MAX_RESPONSE_HEADER_BYTES: usize = 64 << 10;

/// Headers of a connection: they say nothing to who did not make it.
const OF_CONNECTION: [HeaderName; 4] = [
    CONNECTION,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What a server has answered. Its memory is charged until it is dropped.
pub struct EgressResponse {
    /// 200 to 599
    pub status: u16,
    /// Its headers, with the names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Bytes,
    /// There was more of the body than the limit of the request.
    pub is_cut: bool,
    pub(crate) _held: Charge,
}

impl std::fmt::Debug for EgressResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EgressResponse({}, {} bytes)", self.status, self.body.len())
    }
}

impl EgressResponse {
    /// The first header of this name, which is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_slice())
    }
}

/// Check that headers are within their bounds, and that a body can be searched for secrets.
pub(crate) fn check_headers(
    headers: &HeaderMap,
    host: &EgressHost,
    mask: Option<&Mask>,
) -> Result<(), EgressError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_RESPONSE_HEADER_BYTES {
        return Err(EgressError::ResponseHeadersTooLarge);
    }
    let is_plain = |value: &HeaderValue, word: &str| {
        value.to_str().is_ok_and(|it| it.trim().eq_ignore_ascii_case(word))
    };
    let is_searchable = headers.get_all(CONTENT_ENCODING).iter().all(|it| is_plain(it, "identity"))
        && headers.get_all(TRANSFER_ENCODING).iter().all(|it| is_plain(it, "chunked"));
    match mask.is_none() || is_searchable {
        true => Ok(()),
        false => Err(EgressError::CompressedResponse { host: host.clone() }),
    }
}

/// The headers that a guest sees. `is_changed`: the body is not as long as the server says.
pub(crate) fn told_headers(
    headers: &HeaderMap,
    mask: Option<&Mask>,
    is_changed: bool,
) -> Vec<(String, Vec<u8>)> {
    let is_told = |name: &HeaderName| {
        let is_secret = mask.is_some_and(|mask| mask.finds(name.as_str().as_bytes()));
        let is_wrong = is_changed && name == CONTENT_LENGTH;
        !(OF_CONNECTION.contains(name) || is_secret || is_wrong)
    };
    let told = headers.iter().filter(|(name, _)| is_told(name));
    told.map(|(name, value)| {
        let value = match mask {
            Some(mask) => mask.hide(value.as_bytes(), MAX_RESPONSE_HEADER_BYTES),
            None => Cow::Borrowed(value.as_bytes()),
        };
        (name.as_str().to_owned(), value.into_owned())
    })
    .collect()
}
