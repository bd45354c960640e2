//! A request of a guest, and whether it can be sent at all.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use url::Url;

use crate::error::EgressError;
use dormouse_domain::egress::{EgressHost, EgressMethod};
use dormouse_domain::http::HEADERS_OF_THE_HOST;

/// The most bytes of a URL.
pub const MAX_URL_BYTES: usize = 8 << 10;
/// The most headers of a request.
pub const MAX_REQUEST_HEADERS: usize = 100;
/// The most bytes of the names and values of all headers of a request, with the secrets in them.
pub const MAX_REQUEST_HEADER_BYTES: usize = 32 << 10;
/// The most bytes of the body of a request.
pub const MAX_REQUEST_BODY: usize = 16 << 20;
/// The most bytes of the body of a response.
pub const MAX_RESPONSE_BODY: usize = 16 << 20;

/// What tells the server who calls, where the guest says nothing.
const OWN_AGENT: &str = concat!("dormouse/", env!("CARGO_PKG_VERSION"));

/// A request as a guest makes it.
#[derive(Clone, Debug)]
pub struct EgressRequest {
    /// `GET`, `POST` and so on, in capitals.
    pub method: String,
    /// An `http` or `https` URL, without user and password. What is behind a `#` is not sent.
    pub url: String,
    /// Its headers. Values may have placeholders of secrets in them, `{{secret:NAME}}`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body, of at most [`MAX_REQUEST_BODY`] bytes.
    pub body: Bytes,
    /// How much of the response is taken.
    pub limit: BodyLimit,
    /// How long everything may take.
    pub times: EgressTimes,
}

impl EgressRequest {
    /// A request without headers and body, that takes as much and as long as it may.
    #[must_use]
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> EgressRequest {
        EgressRequest {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            limit: BodyLimit::default(),
            times: EgressTimes::default(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> EgressRequest {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }
}

/// How much of the body of a response is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit {
    /// In bytes; more than [`MAX_RESPONSE_BODY`] stands for that.
    pub most: usize,
    /// What becomes of a body that is larger.
    pub action: LimitAction,
}

/// What becomes of a body that is larger than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitAction {
    /// There is no response: [`EgressError::ResponseTooLarge`].
    Refuse,
    /// The response has as much of it as the limit says.
    Cut,
}

impl Default for BodyLimit {
    fn default() -> BodyLimit {
        BodyLimit { most: MAX_RESPONSE_BODY, action: LimitAction::Refuse }
    }
}

/// How long the parts of an exchange may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EgressTimes {
    /// To look the name up, and to connect: so long for each.
    pub connect: Duration,
    /// From the connection to the headers of the response.
    pub first_byte: Duration,
    /// Between two pieces of the body.
    pub between_bytes: Duration,
    /// For everything, with the wait for a place. What is left of an exchange then is dropped.
    pub total: Duration,
}

impl Default for EgressTimes {
    fn default() -> EgressTimes {
        EgressTimes {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(600),
            between_bytes: Duration::from_secs(120),
            total: Duration::from_secs(600),
        }
    }
}

impl EgressTimes {
    /// The shorter of each.
    pub(crate) fn within(self, most: EgressTimes) -> EgressTimes {
        EgressTimes {
            connect: self.connect.min(most.connect),
            first_byte: self.first_byte.min(most.first_byte),
            between_bytes: self.between_bytes.min(most.between_bytes),
            total: self.total.min(most.total),
        }
    }
}

/// A request that can be sent, if the policies allow it.
pub(crate) struct CheckedRequest {
    pub(crate) method: EgressMethod,
    pub(crate) url: Url,
    pub(crate) host: EgressHost,
    pub(crate) port: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl CheckedRequest {
    pub(crate) fn new(request: &EgressRequest) -> Result<CheckedRequest, EgressError> {
        let method = method(&request.method)?;
        let (url, host, port) = url(&request.url)?;
        if request.body.len() > MAX_REQUEST_BODY {
            return Err(EgressError::BodyTooLarge);
        }
        let mut headers = headers(request)?;
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(OWN_AGENT));
        let body = request.body.clone();
        Ok(CheckedRequest { method, url, host, port, headers, body })
    }
}

fn method(text: &str) -> Result<EgressMethod, EgressError> {
    match text.parse() {
        // The one makes a tunnel, and the other an echo of what was sent, secrets included.
        Ok(_) if matches!(text, "CONNECT" | "TRACE") => Err(EgressError::InvalidMethod),
        Ok(method) => Ok(method),
        Err(_) => Err(EgressError::InvalidMethod),
    }
}

fn url(text: &str) -> Result<(Url, EgressHost, u16), EgressError> {
    let invalid = EgressError::InvalidUrl;
    if text.len() > MAX_URL_BYTES {
        return Err(EgressError::UrlTooLong);
    }
    let mut url = Url::parse(text).map_err(|_| invalid("is none"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("has a user or a password: send a header `authorization`"));
    }
    let host = url.host_str().unwrap_or_default();
    let host = EgressHost::parse(host).map_err(|_| invalid("has no host that can be asked"))?;
    let port = url.port_or_known_default().filter(|port| *port != 0);
    let port = port.ok_or_else(|| invalid("has a port that cannot be asked"))?;
    url.set_fragment(None);
    // Without a dot at its end: what was compared is what is asked.
    url.set_host(Some(&host.to_string())).map_err(|_| invalid("has no host that can be asked"))?;
    Ok((url, host, port))
}

fn headers(request: &EgressRequest) -> Result<HeaderMap, EgressError> {
    let size = |(name, value): &(String, Vec<u8>)| name.len() + value.len();
    let bytes: usize = request.headers.iter().map(size).sum();
    if request.headers.len() > MAX_REQUEST_HEADERS || bytes > MAX_REQUEST_HEADER_BYTES {
        return Err(EgressError::HeadersTooLarge);
    }
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 1);
    for (text, value) in &request.headers {
        let invalid = |problem| EgressError::InvalidHeader {
            name: text.chars().filter(char::is_ascii_graphic).take(80).collect(),
            problem,
        };
        let name = HeaderName::from_bytes(text.as_bytes());
        let name = name.map_err(|_| invalid("has a name that no header has"))?;
        let value = HeaderValue::from_bytes(value);
        let value =
            value.map_err(|_| invalid("has a value with a line break or a control character"))?;
        if HEADERS_OF_THE_HOST.contains(&name.as_str()) {
            return Err(invalid("is written by the host, or not at all"));
        }
        if name == CONTENT_LENGTH {
            // The host writes it, so that there is one, and it is true.
            let is_true = value.to_str().is_ok_and(|it| it == request.body.len().to_string());
            if !is_true {
                return Err(invalid("is not the length of the body"));
            }
            continue;
        }
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &EgressRequest) -> Result<CheckedRequest, EgressError> {
        CheckedRequest::new(request)
    }

    fn problem(request: &EgressRequest) -> EgressError {
        check(request).err().unwrap_or_else(|| panic!("{request:?} is good"))
    }

    #[test]
    fn what_is_compared_is_what_is_asked() {
        for (url, asked, host, port) in [
            ("HTTP://API.Example.com./a#b", "http://api.example.com/a", "api.example.com", 80),
            (
                "https://bücher.example:8443",
                "https://xn--bcher-kva.example:8443/",
                "xn--bcher-kva.example",
                8443,
            ),
            ("http://0x7f.1/", "http://127.0.0.1/", "127.0.0.1", 80),
            ("http://017700000001/", "http://127.0.0.1/", "127.0.0.1", 80),
            ("http://①②⑦.0.0.1/", "http://127.0.0.1/", "127.0.0.1", 80),
            ("http://127.0.0.1./", "http://127.0.0.1/", "127.0.0.1", 80),
            ("http://[::FFFF:7f00:1]/", "http://[::ffff:7f00:1]/", "[::ffff:7f00:1]", 80),
            ("https:\\\\a.example\\b", "https://a.example/b", "a.example", 443),
            ("http://a.example\t/\n", "http://a.example/", "a.example", 80),
        ] {
            let checked = check(&EgressRequest::new("GET", url)).expect(url);
            let told = (checked.url.as_str(), checked.host.to_string(), checked.port);
            assert_eq!(told, (asked, host.to_owned(), port), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_the_web_is_refused() {
        for url in [
            "",
            "a.example",
            "//a.example/",
            "file:///etc/passwd",
            "ftp://a.example/",
            "data:text/plain,a",
            "unix:/run/docker.sock",
            "http://",
            "http:///",
            "http://a.example:0/",
            "http://a.example:65536/",
            "http://user@a.example/",
            "http://:password@a.example/",
            "http://1.2.3.4.5/",
            "http://a..example/",
            "http://a.example../",
            "http://a b.example/",
            "http://[::1%25lo]/",
        ] {
            let error = problem(&EgressRequest::new("GET", url));
            assert!(matches!(error, EgressError::InvalidUrl(_)), "{url}: {error}");
        }
        let long = format!("http://a.example/{}", "a".repeat(MAX_URL_BYTES));
        assert_eq!(problem(&EgressRequest::new("GET", long)), EgressError::UrlTooLong);
    }

    #[test]
    fn a_method_is_written_in_capitals_and_makes_no_tunnel_and_no_echo() {
        for method in ["", "get", "Get", "GET ", "GET\r\nX: y", "CONNECT", "TRACE", "G\u{c9}T"] {
            let error = problem(&EgressRequest::new(method, "http://a.example/"));
            assert_eq!(error, EgressError::InvalidMethod, "{method:?}");
        }
        assert!(check(&EgressRequest::new("PROPFIND", "http://a.example/")).is_ok());
    }

    #[test]
    fn headers_of_the_connection_and_headers_that_would_be_two_are_refused() {
        let request = || EgressRequest::new("POST", "http://a.example/");
        let all = HEADERS_OF_THE_HOST.iter().copied();
        for name in all.chain(["Host", "Transfer-Encoding", "x:", "x y", "", "x\r\ny", "\u{e9}"]) {
            let error = problem(&request().with_header(name, "1"));
            assert!(matches!(error, EgressError::InvalidHeader { .. }), "{name:?}: {error}");
        }
        for value in ["a\r\nx: b", "a\nb", "a\rb", "a\0b", "a\u{7f}"] {
            let error = problem(&request().with_header("x", value));
            assert!(matches!(error, EgressError::InvalidHeader { .. }), "{value:?}: {error}");
        }
    }

    #[test]
    fn a_length_is_taken_where_it_is_true_and_written_by_the_host() {
        let mut request = EgressRequest::new("POST", "http://a.example/");
        request.body = Bytes::from_static(b"four");
        let given = |length: &str| request.clone().with_header("Content-Length", length);
        let checked = check(&given("4").with_header("x", "y")).expect("it is true");
        assert!(!checked.headers.contains_key(CONTENT_LENGTH) && checked.headers["x"] == "y");
        for length in ["5", "04", "+4", "4, 4", ""] {
            assert!(check(&given(length)).is_err(), "{length}");
        }
    }

    #[test]
    fn headers_and_bodies_have_bounds() {
        let request = || EgressRequest::new("POST", "http://a.example/");
        let mut many = request();
        many.headers = vec![("x".to_owned(), b"y".to_vec()); MAX_REQUEST_HEADERS + 1];
        assert_eq!(problem(&many), EgressError::HeadersTooLarge);
        many.headers.pop();
        assert!(check(&many).is_ok());
        let long = request().with_header("x", vec![b'y'; MAX_REQUEST_HEADER_BYTES]);
        assert_eq!(problem(&long), EgressError::HeadersTooLarge);
        let mut large = request();
        large.body = vec![0; MAX_REQUEST_BODY + 1].into();
        assert_eq!(problem(&large), EgressError::BodyTooLarge);
    }
}
