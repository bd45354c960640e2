//! Which requests are let in: those for this server, from no foreign page, with a key where there are keys.
//!
//! A browser must not become a way in. A page of somebody else's that has this server's address
//! under a name of its own is told by the `Host` header, any other foreign page by its `Origin`.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Api;
use super::cors::Origin;
use super::error::ApiError;
use super::options::ApiKey;
use super::request::Caller;
use super::server::Reserved;
use dormouse::{Access, Action};
use dormouse_domain::code;

/// Refuse a request that came by a connection which is reserved for operators.
pub(super) async fn refuse_reserved(request: Request, next: Next) -> Result<Response, ApiError> {
    is_for_everybody(&request)?;
    Ok(next.run(request).await)
}

/// That the connection of this request is not reserved for operators.
fn is_for_everybody(request: &Request) -> Result<(), ApiError> {
    let is_reserved = request.extensions().get::<Reserved>().is_some();
    if is_reserved { Err(ApiError::overloaded()) } else { Ok(()) }
}

/// Refuse a request that is not meant for this server, or that a foreign page sends.
pub(super) async fn check_origin(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let host = host_of(request.headers(), request.uri()).unwrap_or_default();
    if !answers_to(&host, &api.names, &api.options.allowed_hosts) {
        let error = "this server does not go by the name in the Host header; \
                     its operator can allow it with allowed-hosts";
        return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "misdirected_request", error));
    }
    if is_foreign(request.headers(), &host, &api.options.allowed_origins) {
        let error = "pages of this origin may not call this server; its operator can allow them \
                     with allowed-origins";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", error));
    }
    Ok(next.run(request).await)
}

/// Find out who the caller is, and refuse one without a key where there are keys; and, before that, one who
/// comes by a connection that is reserved for operators.
pub(super) async fn authenticate(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    is_for_everybody(&request)?;
    let is_git = is_git(request.uri());
    let access = access(&api, request.headers()).map_err(|refused| {
        if is_git { refused.header(header::WWW_AUTHENTICATE, BASIC) } else { refused }
    })?;
    request.extensions_mut().insert(access.principal.clone());
    request.extensions_mut().insert(Caller(api.host.acting_for(access)));
    Ok(next.run(request).await)
}

/// Refuse a caller whose role does not allow this method, and one who sends too many requests. Asked once the body
/// has been taken in: a client that is refused finds its connection whole, and not closed with what it still sends.
pub(super) fn check_access(api: &Api, request: &Request) -> Result<(), ApiError> {
    let caller = request.extensions().get::<Caller>();
    let Caller(host) = caller.ok_or_else(|| ApiError::internal("nobody looked who asks"))?;
    let reads = request.method().is_safe() || is_git(request.uri());
    host.may(if reads { Action::Read } else { Action::Change })?;
    if let Some(requests) = &api.requests {
        let now = host.clock().monotonic();
        requests.take(host.caller().clone(), now).map_err(too_many_requests)?;
    }
    Ok(())
}

/// Who calls. Where there are no keys, everybody who reaches the server operates it.
fn access(api: &Api, headers: &HeaderMap) -> Result<Access, ApiError> {
    let (stored, configured) = (api.host.keys(), &api.options.keys);
    let are_stored = stored.are_needed();
    if are_stored {
        api.callers.become_several();
    }
    if !are_stored && configured.is_empty() && !api.options.needs_keys {
        return Ok(Access::operator());
    }
    let secret = secret_of(headers).ok_or_else(unauthorized)?;
    let found = stored.authenticate(&secret).or_else(|| ApiKey::find(configured, &secret).cloned());
    found.ok_or_else(unauthorized)
}

/// What a request has shown to be let in, for an answer that goes on for long.
pub(super) struct Pass(HeaderMap);

impl Pass {
    /// What these headers show.
    pub(super) fn of(headers: &HeaderMap) -> Pass {
        let shown = headers.get(header::AUTHORIZATION).cloned();
        Pass(shown.map(|shown| (header::AUTHORIZATION, shown)).into_iter().collect())
    }

    /// Whether it would still be let in.
    pub(super) fn is_good(&self, api: &Api) -> bool {
        access(api, &self.0).is_ok()
    }
}

fn too_many_requests(wait: Duration) -> ApiError {
    let error = "this principal has sent as many requests as it may in a minute; try again later";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, code::RATE_LIMITED, error).retry_after(wait)
}

fn unauthorized() -> ApiError {
    let error = "this server needs a key: send it as `Authorization: Bearer …`";
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", error)
        .header(header::WWW_AUTHENTICATE, "Bearer")
}

/// How clients of git are asked for a password.
const BASIC: &str = "Basic realm=\"dormouse\", charset=\"UTF-8\"";

/// Whether a client of git asks, which changes nothing.
pub(super) fn is_git(uri: &Uri) -> bool {
    uri.path().starts_with("/git/")
}

/// The key that a request shows: as a bearer's, or as the password of whichever user, which is what clients of git can
/// send.
fn secret_of(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let (scheme, shown) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let shown = shown.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Cow::Borrowed(shown));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(shown).ok()?).ok()?;
    let (_, password) = text.split_once(':')?;
    Some(Cow::Owned(password.to_owned()))
}

/// The server that the request is meant for. What stands in the address wins over the header: with
/// HTTP/2, and where a client writes the whole address (RFC 9112, 3.2.2).
fn host_of(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let mut named = headers.get_all(header::HOST).iter();
    let host = match (uri.authority(), named.next(), named.next()) {
        (_, _, Some(_)) | (None, None, None) => return None,
        (Some(authority), _, None) => authority.as_str(),
        (None, Some(host), None) => host.to_str().ok()?,
    };
    Some(host.to_ascii_lowercase())
}

/// Whether `host`, a name with or without a port, is one of the server's own or of the configured
/// names. A name without a port is meant with any port.
fn answers_to(host: &str, own: &[String], configured: &[String]) -> bool {
    let name = without_port(host);
    if own.is_empty() && is_loopback(name) {
        return true;
    }
    let all = own.iter().chain(configured);
    all.map(|known| known.to_ascii_lowercase()).any(|known| known == host || known == name)
}

fn is_loopback(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// `name:80` and `[::1]:80` without the port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => {
            // An IPv6 address without a port ends with a bracket, not with digits.
            name
        }
        Some(_) | None => host,
    }
}

/// Whether a page of another origin sends this. A client that is no browser sends no `Origin`.
fn is_foreign(headers: &HeaderMap, host: &str, allowed: &[Origin]) -> bool {
    headers.get_all(header::ORIGIN).iter().any(|origin| {
        let is_allowed = allowed.iter().any(|allowed| allowed.is(origin));
        let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        !is_allowed && authority != Some(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn own() -> Vec<String> {
        super::super::server::names_of("127.0.0.1:3333".parse().unwrap())
    }

    #[test]
    fn a_server_answers_to_the_loopback_with_its_port() {
        for host in ["localhost:3333", "127.0.0.1:3333", "[::1]:3333"] {
            assert!(answers_to(host, &own(), &[]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:3333",
            "localhost:80",
            "localhost.evil.example:3333",
            "127.0.0.1.evil.example:3333",
            "10.0.0.1:3333",
            ":3333",
        ] {
            assert!(!answers_to(host, &own(), &[]), "{host}");
        }
    }

    #[test]
    fn without_a_socket_any_port_of_the_loopback_will_do() {
        for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:5", "[::1]"] {
            assert!(answers_to(host, &[], &[]), "{host}");
        }
        assert!(!answers_to("evil.example", &[], &[]));
    }

    #[test]
    fn configured_names_are_meant_with_any_port_or_with_theirs() {
        let configured = ["Example.org".to_owned(), "other.org:80".to_owned()];
        assert!(answers_to("example.org:9", &own(), &configured));
        assert!(answers_to("example.org", &own(), &configured));
        assert!(answers_to("other.org:80", &own(), &configured));
        assert!(!answers_to("other.org:81", &own(), &configured));
    }

    #[test]
    fn only_the_pages_of_this_server_may_call_it() {
        let foreign = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            let allowed = ["https://app.example.org".parse().unwrap()];
            is_foreign(&headers, "localhost:3333", &allowed)
        };
        assert!(!foreign(None));
        assert!(!foreign(Some("http://localhost:3333")));
        assert!(!foreign(Some("https://app.example.org")));
        for origin in [
            "null",
            "http://app.example.org",
            "http://localhost:8080",
            "http://evil.example",
            "http://localhost",
        ] {
            assert!(foreign(Some(origin)), "{origin}");
        }
    }

    #[test]
    fn two_host_headers_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert_eq!(host_of(&headers, &Uri::from_static("/")).as_deref(), Some("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert_eq!(host_of(&headers, &Uri::from_static("/")), None);
        let absolute = Uri::from_static("http://localhost:3333/");
        assert_eq!(host_of(&HeaderMap::new(), &absolute).as_deref(), Some("localhost:3333"));
        assert_eq!(host_of(&headers, &absolute), None);
    }

    #[test]
    fn a_whole_address_wins_over_the_header() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        let absolute = Uri::from_static("http://evil.example/");
        assert_eq!(host_of(&headers, &absolute).as_deref(), Some("evil.example"));
    }

    #[test]
    fn a_key_comes_as_a_bearer_token_or_as_the_password_of_anybody() {
        let secret = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            secret_of(&headers).map(Cow::into_owned)
        };
        assert_eq!(secret_of(&HeaderMap::new()), None);
        assert_eq!(secret("bearer abc").as_deref(), Some("abc"));
        // `any:abc`, `:a:c`, and `abc`, which has no password.
        assert_eq!(secret("Basic YW55OmFiYw==").as_deref(), Some("abc"));
        assert_eq!(secret("basic OmE6Yw==").as_deref(), Some("a:c"));
        for none in ["Basic YWJj", "Basic abc!", "Basic /w==", "Digest abc", "abc"] {
            assert_eq!(secret(none), None, "{none}");
        }
    }
}
