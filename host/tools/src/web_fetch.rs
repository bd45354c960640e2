//! `WebFetch`: read a page of the web.

use std::borrow::Cow;
use std::collections::BTreeMap;

use encoding_rs::{Encoding, UTF_8};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::{Tools, page};
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::id::Principal;
use dormouse_domain::tool::{ToolAnswer, ToolError};
use dormouse_domain::turn::Part;
use dormouse_egress::{
    BodyLimit, Egress, EgressError, EgressRequest, EgressResponse, Followed, LimitAction,
};

/// The most bytes that are taken of a page.
pub const MAX_PAGE_BYTES: usize = 2 << 20;
/// The most bytes of text that an answer has: about 25,000 tokens.
pub const MAX_TEXT_BYTES: usize = 100 << 10;
/// What is made into text on the thread that has it, in bytes.
const SMALL: usize = 64 << 10;

pub(crate) const DESCRIPTION: &str = "Fetches a URL and answers with its text: HTML becomes plain text with Markdown \
    for headings, links and lists; JSON and other text stay as they are. Redirects are followed. The first line is a \
    JSON object with the status, the final URL and the media type. Text beyond 100 KiB is cut, and anything that is not \
    text is an error. Only hosts that the operator and the session allow can be reached.";

pub(crate) const SCHEMA: &str = r#"{"type":"object","properties":{"url":{"type":"string","description":"The URL to fetch, with http:// or https://"},"method":{"type":"string","enum":["GET","HEAD"],"description":"GET, unless only the status is of interest"},"headers":{"type":"object","additionalProperties":{"type":"string"},"description":"Headers to send besides"},"prompt":{"type":"string","description":"Taken for compatibility and not used: the answer is the text itself"}},"required":["url"]}"#;

/// A page that is to be read.
#[derive(Clone, Debug, Deserialize)]
pub struct WebFetch {
    url: String,
    #[serde(default)]
    method: Method,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Get,
    Head,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
        }
    }
}

impl WebFetch {
    /// The page that these arguments name, which are a JSON object.
    ///
    /// # Errors
    /// [`ToolError::Invalid`]
    pub fn parse(arguments: &str) -> Result<WebFetch, ToolError> {
        serde_json::from_str(arguments)
            .map_err(|error| ToolError::Invalid(format!("the arguments of WebFetch: {error}")))
    }

    /// The host that is asked, where the URL has one.
    #[must_use]
    pub fn server(&self) -> String {
        let url = Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(Url::host_str).filter(|host| host.len() <= 253);
        host.unwrap_or_default().to_owned()
    }

    /// Read it for this principal, where the operator and this policy of its session allow it.
    ///
    /// # Errors
    /// The page cannot be had. A page that says that it is not there is an answer.
    pub async fn run(
        self,
        tools: &Tools,
        egress: &Egress,
        principal: &Principal,
        session: &EgressPolicy,
    ) -> Result<ToolAnswer, ToolError> {
        let followed = egress.follow(principal, self.request(), session).await;
        let followed = followed.map_err(|failure| told(&failure.error))?;
        if followed.response.body.len() <= SMALL {
            return Ok(answer(&followed));
        }
        let place = tools.readers.wait(principal).await;
        let answered = tokio::task::spawn_blocking(move || {
            let answered = answer(&followed);
            // Taken until the work is done, also where nobody waits for it any more.
            drop(place);
            answered
        });
        let answered = answered.await;
        answered.map_err(|error| ToolError::Unavailable {
            why: format!("the page could not be read: {error}"),
            retry_after: None,
        })
    }

    fn request(self) -> EgressRequest {
        let mut request = EgressRequest::new(self.method.as_str(), self.url);
        let is_ours = |name: &str| name.eq_ignore_ascii_case("accept-encoding");
        let headers = self.headers.into_iter().filter(|(name, _)| !is_ours(name));
        request.headers = headers.map(|(name, value)| (name, value.into_bytes())).collect();
        request.limit = BodyLimit { most: MAX_PAGE_BYTES, action: LimitAction::Cut };
        // Nothing here unpacks.
        let mut request = request.with_header("accept-encoding", "identity");
        if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            request = request.with_header("accept", "text/html, text/*;q=0.9, */*;q=0.5");
        }
        request
    }
}

/// What a page says: first what it is, then its text.
fn answer(followed: &Followed) -> ToolAnswer {
    let Followed { response, url } = followed;
    let media_type = MediaType::of(response);
    let read = text_of(response, &media_type, url);
    let is_error = response.status >= 400 || read.is_err();
    let (text, is_cut) = read.unwrap_or_else(|why| (why, false));
    let head = json!({
        "url": url,
        "status": response.status,
        "mediaType": media_type.name,
        "truncated": is_cut || response.is_cut,
    });
    let mut content = vec![Part::Json(head.to_string())];
    if !text.is_empty() {
        content.push(Part::Text(text));
    }
    ToolAnswer { content, is_error }
}

/// The text of a response, and whether it is cut. An error says why it has none.
fn text_of(
    response: &EgressResponse,
    media_type: &MediaType,
    url: &str,
) -> Result<(String, bool), String> {
    let body: &[u8] = &response.body;
    if body.is_empty() {
        return Ok((String::new(), false));
    }
    if response.header("content-encoding").is_some_and(|it| it != b"identity") {
        return Err("The response is compressed, though it was asked not to be.".to_owned());
    }
    let decoded = media_type.decode(body).ok_or_else(|| {
        let (name, bytes) = (&media_type.name, body.len());
        format!("The response is {name} and no text ({bytes} bytes were read).")
    })?;
    let base = Url::parse(url).ok().filter(|_| media_type.is_html());
    let (text, is_cut) = match base {
        Some(base) => page::text_of(&decoded, &base, MAX_TEXT_BYTES),
        None => (decoded.into_owned(), false),
    };
    Ok(cut(text, is_cut))
}

/// The text without control characters, as much of it as an answer has.
fn cut(text: String, is_cut: bool) -> (String, bool) {
    let is_shown = |it: &char| !it.is_control() || matches!(it, '\n' | '\t');
    let mut text: String = match text.chars().all(|it| is_shown(&it)) {
        true => text,
        false => text.chars().filter(is_shown).collect(),
    };
    let is_longer = text.len() > MAX_TEXT_BYTES;
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    (text, is_cut || is_longer)
}

/// What a response says that it is.
struct MediaType {
    /// In lower case, without parameters. Empty: it does not say.
    name: String,
    encoding: Option<&'static Encoding>,
}

impl MediaType {
    fn of(response: &EgressResponse) -> MediaType {
        let value = response.header("content-type").unwrap_or_default();
        let value = String::from_utf8_lossy(value).to_ascii_lowercase();
        let mut parts = value.split(';').map(str::trim);
        let name: String = parts.next().unwrap_or_default().chars().take(100).collect();
        let charset = parts.find_map(|parameter| parameter.strip_prefix("charset="));
        let encoding = charset.and_then(|it| Encoding::for_label(it.trim_matches('"').as_bytes()));
        MediaType { name, encoding }
    }

    fn is_html(&self) -> bool {
        matches!(self.name.as_str(), "text/html" | "application/xhtml+xml")
    }

    /// Whether its bytes are text, as far as the name says.
    fn is_text(&self) -> bool {
        let name = self.name.as_str();
        name.starts_with("text/")
            || name.ends_with("+json")
            || name.ends_with("+xml")
            || matches!(
                name,
                "" | "application/json"
                    | "application/ld+json"
                    | "application/x-ndjson"
                    | "application/jsonl"
                    | "application/xml"
                    | "application/javascript"
                    | "application/x-javascript"
                    | "application/ecmascript"
                    | "application/yaml"
                    | "application/x-yaml"
                    | "application/toml"
                    | "application/graphql"
                    | "application/sql"
            )
    }

    /// The text of these bytes. `None`: they are none.
    fn decode<'b>(&self, bytes: &'b [u8]) -> Option<Cow<'b, str>> {
        if !self.is_text() {
            return None;
        }
        let encoding = Encoding::for_bom(bytes).map(|(encoding, _)| encoding).or(self.encoding);
        let (text, _, _) = encoding.unwrap_or(UTF_8).decode(bytes);
        // What has this is a file of some program, whatever its name.
        (!text.contains('\0')).then_some(text)
    }
}

/// A request that has no response, as the agent is told.
fn told(error: &EgressError) -> ToolError {
    let why = error.to_string();
    match error {
        EgressError::InvalidUrl(_)
        | EgressError::InvalidMethod
        | EgressError::InvalidHeader { .. }
        | EgressError::UrlTooLong
        | EgressError::HeadersTooLarge
        | EgressError::BodyTooLarge => ToolError::Invalid(why),
        EgressError::NotAllowed { .. }
        | EgressError::PrivateAddress { .. }
        | EgressError::UnknownSecret { .. }
        | EgressError::SecretNotForHost { .. }
        | EgressError::SecretNeedsTls { .. } => ToolError::NotAllowed(why),
        EgressError::TimedOut { .. } => ToolError::TimedOut(why),
        EgressError::ResponseHeadersTooLarge | EgressError::ResponseTooLarge { .. } => {
            ToolError::TooLarge(why)
        }
        EgressError::Busy
        | EgressError::OutOfMemory
        | EgressError::UnknownHost { .. }
        | EgressError::Unreachable { .. }
        | EgressError::Insecure { .. }
        | EgressError::Broken { .. }
        | EgressError::CompressedResponse { .. }
        | EgressError::InvalidRedirect
        | EgressError::TooManyRedirects
        | EgressError::Host => ToolError::Unavailable { why, retry_after: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media_type(value: &str) -> MediaType {
        let mut parts = value.split("; charset=");
        let name = parts.next().unwrap_or_default().to_owned();
        let encoding = parts.next().and_then(|label| Encoding::for_label(label.as_bytes()));
        MediaType { name, encoding }
    }

    #[test]
    fn arguments_are_a_url_and_what_may_be_said_besides() {
        for right in [
            r#"{"url":"https://a.example/"}"#,
            r#"{"url":"https://a.example/","method":"HEAD","headers":{"a":"b"},"prompt":"what?"}"#,
        ] {
            assert_eq!(WebFetch::parse(right).expect(right).server(), "a.example");
        }
        for (wrong, problem) in [
            ("{}", "missing field `url`"),
            (r#"{"url":1}"#, "expected a string"),
            (r#"{"url":"x","method":"POST"}"#, "expected `GET` or `HEAD`"),
            (r#"{"url":"x","headers":{"a":1}}"#, "expected a string"),
        ] {
            let error = WebFetch::parse(wrong).expect_err(wrong).to_string();
            assert!(error.contains(problem), "{wrong}: {error}");
        }
        assert_eq!(WebFetch::parse(r#"{"url":"nonsense"}"#).expect("it is a text").server(), "");
    }

    #[test]
    fn what_is_asked_for_is_never_compressed() {
        let arguments =
            r#"{"url":"https://a.example/","headers":{"Accept-Encoding":"gzip","Accept":"x/y"}}"#;
        let request = WebFetch::parse(arguments).expect("they are right").request();
        let headers: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(headers, ["Accept", "accept-encoding"]);
        assert_eq!(request.headers[1].1, b"identity");
    }

    #[test]
    fn text_is_read_in_its_own_letters_and_bytes_are_none() {
        for (kind, bytes, expected) in [
            ("text/plain", "\u{fc}".as_bytes(), Some("\u{fc}")),
            ("text/plain; charset=iso-8859-1", b"\xfc", Some("\u{fc}")),
            ("text/plain; charset=shift_jis", b"\x83\x65", Some("\u{30c6}")),
            ("text/plain", b"\xff\xfea\0", Some("a")),
            ("application/problem+json", b"{}", Some("{}")),
            ("", b"plain", Some("plain")),
            ("", b"\x7fELF\0\0", None),
            ("text/plain", b"\x89PNG\0", None),
            ("image/png", b"plain", None),
            ("application/octet-stream", b"plain", None),
        ] {
            assert_eq!(media_type(kind).decode(bytes).as_deref(), expected, "{kind} {bytes:?}");
        }
    }

    #[test]
    fn a_text_is_cut_between_its_letters_and_has_no_control_characters() {
        let (text, is_cut) = cut("\u{e4}".repeat(MAX_TEXT_BYTES), false);
        assert!(is_cut && text.len() == MAX_TEXT_BYTES);
        assert_eq!(cut("a\u{1b}[2Jb\r\n\tc".to_owned(), false), ("a[2Jb\n\tc".to_owned(), false));
        let odd = format!("a{}", "\u{e4}".repeat(MAX_TEXT_BYTES));
        assert_eq!(cut(odd, false).0.len(), MAX_TEXT_BYTES - 1);
    }

    #[test]
    fn the_schema_is_a_json_object() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("it is JSON");
        assert_eq!(schema["required"], json!(["url"]));
    }
}
