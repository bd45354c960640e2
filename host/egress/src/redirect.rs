//! Redirects, for callers that want the response behind them: each hop is a request of its own, checked as the first.
//!
//! What changes on the way is what the standard of `fetch` says (<https://fetch.spec.whatwg.org/#http-redirect-fetch>);
//! to another origin goes no header but those that say what is wanted.

use bytes::Bytes;
use tokio::time::timeout;
use url::Url;

use crate::egress::Egress;
use crate::error::{Arrival, EgressError, EgressFailure, EgressTimeout};
use crate::request::{CheckedRequest, EgressRequest};
use crate::response::EgressResponse;
use crate::secrets::has_placeholder;
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::id::Principal;

/// The most redirects that are followed.
pub const MAX_REDIRECTS: usize = 10;

/// The headers that go to another origin. No other one does: whatever its name, it may be a credential.
const FOR_ALL_ORIGINS: [&str; 6] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "content-language",
    "content-type",
    "user-agent",
];

/// The response behind all redirects.
#[derive(Debug)]
pub struct Followed {
    /// The response.
    pub response: EgressResponse,
    /// Where it comes from.
    pub url: String,
}

impl Egress {
    /// Send a request as [`Egress::send`] does, and follow the redirects that answer it, [`MAX_REDIRECTS`] at most. The
    /// time for everything is that for all of them.
    ///
    /// # Errors
    /// As [`Egress::send`], of each hop. Behind the first redirect nothing is [`Arrival::NotSent`].
    pub async fn follow(
        &self,
        principal: &Principal,
        request: EgressRequest,
        session: &EgressPolicy,
    ) -> Result<Followed, EgressFailure> {
        let host = CheckedRequest::new(&request)?.host;
        let total = request.times.within(self.times).total;
        match timeout(total, self.hops(principal, request, session)).await {
            Ok(followed) => followed,
            Err(_) => {
                let error = EgressError::TimedOut { host, timeout: EgressTimeout::Total };
                Err(EgressFailure::may_have_arrived(error))
            }
        }
    }

    async fn hops(
        &self,
        principal: &Principal,
        mut request: EgressRequest,
        session: &EgressPolicy,
    ) -> Result<Followed, EgressFailure> {
        for hop in 0..=MAX_REDIRECTS {
            let sent = self.send(principal, &request, session).await;
            let response = sent.map_err(|failure| behind(hop, failure))?;
            match redirected(&request, &response).map_err(EgressFailure::may_have_arrived)? {
                Some(next) => request = next,
                None => return Ok(Followed { response, url: request.url }),
            }
        }
        Err(EgressFailure::may_have_arrived(EgressError::TooManyRedirects))
    }
}

/// A failure of this hop, seen from the first.
fn behind(hop: usize, failure: EgressFailure) -> EgressFailure {
    let arrival = if hop == 0 { failure.arrival } else { Arrival::MayHaveArrived };
    EgressFailure { arrival, ..failure }
}

/// The request that follows from a response. `None`: there is none to follow.
fn redirected(
    request: &EgressRequest,
    response: &EgressResponse,
) -> Result<Option<EgressRequest>, EgressError> {
    if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.header("location") else { return Ok(None) };
    next(request, response.status, location).map(Some)
}

fn next(
    request: &EgressRequest,
    status: u16,
    location: &[u8],
) -> Result<EgressRequest, EgressError> {
    let location = std::str::from_utf8(location).map_err(|_| EgressError::InvalidRedirect)?;
    let from = Url::parse(&request.url).map_err(|_| EgressError::InvalidRedirect)?;
    let to = from.join(location).map_err(|_| EgressError::InvalidRedirect)?;
    let mut next = EgressRequest { url: to.to_string(), ..request.clone() };
    let becomes_get = match (status, request.method.as_str()) {
        (301 | 302, method) => method == "POST",
        (303, method) => !matches!(method, "GET" | "HEAD"),
        (_, _) => false,
    };
    if becomes_get {
        "GET".clone_into(&mut next.method);
        next.body = Bytes::new();
        next.headers.retain(|(name, _)| !name.to_ascii_lowercase().starts_with("content-"));
    }
    if from.origin() != to.origin() {
        next.headers.retain(|(name, value)| {
            let is_for_all = FOR_ALL_ORIGINS.iter().any(|it| it.eq_ignore_ascii_case(name));
            is_for_all && !has_placeholder(value)
        });
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str) -> EgressRequest {
        let mut request = EgressRequest::new(method, "https://a.example/b/c?d#e")
            .with_header("Authorization", "Bearer {{secret:A}}")
            .with_header("Cookie", "a=b")
            .with_header("X-Api-Key", "literal")
            .with_header("Accept", "text/html")
            .with_header("User-Agent", "{{secret:A}}")
            .with_header("Content-Type", "text/plain");
        request.body = Bytes::from_static(b"body");
        request
    }

    fn hop(method: &str, status: u16, location: &str) -> EgressRequest {
        next(&request(method), status, location.as_bytes()).expect("it leads somewhere")
    }

    fn names(request: &EgressRequest) -> Vec<&str> {
        request.headers.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn a_location_is_relative_to_where_it_comes_from() {
        for (location, url) in [
            ("", "https://a.example/b/c?d"),
            ("x", "https://a.example/b/x"),
            ("/x", "https://a.example/x"),
            ("//b.example/x", "https://b.example/x"),
            ("http://169.254.169.254/", "http://169.254.169.254/"),
            ("file:///etc/passwd", "file:///etc/passwd"),
        ] {
            assert_eq!(hop("GET", 302, location).url, url);
        }
        assert_eq!(
            next(&request("GET"), 302, b"http://[/").err(),
            Some(EgressError::InvalidRedirect)
        );
        assert_eq!(next(&request("GET"), 302, b"\xff").err(), Some(EgressError::InvalidRedirect));
    }

    #[test]
    fn the_method_and_the_body_change_as_they_do_in_browsers() {
        for (method, status, expected) in [
            ("POST", 301, "GET"),
            ("POST", 302, "GET"),
            ("PUT", 302, "PUT"),
            ("PUT", 303, "GET"),
            ("HEAD", 303, "HEAD"),
            ("POST", 307, "POST"),
            ("POST", 308, "POST"),
        ] {
            let next = hop(method, status, "/x");
            assert_eq!(next.method, expected, "{method} {status}");
            let has_body = expected == method;
            assert_eq!(next.body.is_empty(), !has_body, "{method} {status}");
            assert_eq!(names(&next).contains(&"Content-Type"), has_body, "{method} {status}");
        }
    }

    #[test]
    fn credentials_and_secrets_go_to_no_other_origin() {
        assert_eq!(names(&hop("POST", 307, "/x")).len(), 6);
        for location in [
            "https://b.example/",
            "http://a.example/",
            "https://a.example:8443/",
            "https://x.a.example/",
        ] {
            assert_eq!(
                names(&hop("POST", 307, location)),
                ["Accept", "Content-Type"],
                "{location}"
            );
        }
    }
}
