//! Secrets of the operator: placeholders in a guest, values on the wire, and placeholders again in what comes back.
//!
//! A guest writes `{{secret:NAME}}` into the value of a header. The value takes its place where the request goes to
//! a host of the secret; to any other host nothing is sent. What such a host answers, whether to this request or to one without a
//! secret, has the placeholder wherever the value would be: a server that echoes headers tells no guest what they
//! are. That is no wall against a server that means to tell it in another form: a secret belongs to hosts that
//! its operator trusts with it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use reqwest::header::{HeaderMap, HeaderValue};

use crate::error::EgressError;
use crate::request::MAX_REQUEST_HEADER_BYTES;
use dormouse_domain::egress::{EgressHost, EgressTarget, HostPattern};

/// What a placeholder begins with.
const BEGINNING: &str = "{{secret:";
/// What a placeholder ends with.
const END: &str = "}}";
/// The most bytes of a name.
const MAX_NAME_BYTES: usize = 64;
/// The least bytes of a value: a shorter one stands in many answers by chance.
const MIN_VALUE_BYTES: usize = 8;
/// The most bytes of a value.
const MAX_VALUE_BYTES: usize = 4096;

/// A secret of the operator, with the hosts that it belongs to. Its value is never shown.
#[derive(Clone)]
pub struct EgressSecret {
    name: String,
    value: String,
    targets: Vec<EgressTarget>,
}

/// A secret that cannot be used. The value is in none of the texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// The name is none.
    #[error("the name of a secret has at most {MAX_NAME_BYTES} letters, digits, - and _")]
    Name,
    /// The value is too short or too long.
    #[error("the value of a secret has {MIN_VALUE_BYTES} to {MAX_VALUE_BYTES} bytes")]
    Length,
    /// The value has characters that no header can have.
    #[error("the value of a secret has letters, digits and signs of ASCII, and no line breaks")]
    Characters,
    /// It belongs to no host, or to each.
    #[error(
        "a secret belongs to hosts: name them, such as api.example.com or *.example.com; * is none"
    )]
    Hosts,
}

impl EgressSecret {
    /// The secret of this name and value, for these hosts. Space around the value is left out.
    ///
    /// # Errors
    /// [`InvalidSecret`]
    pub fn new(
        name: &str,
        value: &str,
        targets: Vec<EgressTarget>,
    ) -> Result<EgressSecret, InvalidSecret> {
        let value = value.trim();
        if !is_name(name) {
            return Err(InvalidSecret::Name);
        }
        if !(MIN_VALUE_BYTES..=MAX_VALUE_BYTES).contains(&value.len()) {
            return Err(InvalidSecret::Length);
        }
        if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(InvalidSecret::Characters);
        }
        let is_any = |target: &EgressTarget| target.host == HostPattern::Any;
        if targets.is_empty() || targets.iter().any(is_any) {
            return Err(InvalidSecret::Hosts);
        }
        Ok(EgressSecret { name: name.to_owned(), value: value.to_owned(), targets })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn placeholder(&self) -> String {
        format!("{BEGINNING}{}{END}", self.name)
    }

    fn is_for(&self, host: &EgressHost, port: u16) -> bool {
        self.targets.iter().any(|target| target.has(host, port))
    }
}

impl fmt::Debug for EgressSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EgressSecret({})", self.name)
    }
}

/// Whether a text can be the name of a secret.
fn is_name(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_good)
}

/// Whether a header has a placeholder in it.
pub(crate) fn has_placeholder(value: &[u8]) -> bool {
    find(value, BEGINNING).is_some()
}

fn find(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}

/// All secrets of a host.
#[derive(Clone, Debug)]
pub(crate) struct Secrets(Vec<EgressSecret>);

impl Secrets {
    pub(crate) fn new(secrets: Vec<EgressSecret>) -> Secrets {
        Secrets(secrets)
    }

    /// Put values in the place of placeholders, in the headers of a request to this host. Answers with the name of a
    /// secret that is among them.
    pub(crate) fn fill(
        &self,
        headers: &mut HeaderMap,
        host: &EgressHost,
        port: u16,
    ) -> Result<Option<&str>, EgressError> {
        let mut used = None;
        let mut bytes = 0;
        for (name, value) in headers.iter_mut() {
            if has_placeholder(value.as_bytes()) {
                let (filled, secret) = self.filled(name.as_str(), value.as_bytes(), host, port)?;
                let filled = HeaderValue::from_bytes(&filled);
                // Both parts were checked before.
                *value = filled.map_err(|_| EgressError::Host)?;
                value.set_sensitive(true);
                used = Some(secret);
            }
            bytes += name.as_str().len() + value.len();
            if bytes > MAX_REQUEST_HEADER_BYTES {
                return Err(EgressError::HeadersTooLarge);
            }
        }
        Ok(used)
    }

    fn filled(
        &self,
        header: &str,
        mut value: &[u8],
        host: &EgressHost,
        port: u16,
    ) -> Result<(Vec<u8>, &str), EgressError> {
        let malformed = || EgressError::InvalidHeader {
            name: header.to_owned(),
            problem: "has a placeholder that is none: write {{secret:NAME}}",
        };
        let (mut filled, mut used) = (Vec::new(), "");
        while let Some(start) = find(value, BEGINNING) {
            let rest = &value[start + BEGINNING.len()..];
            // A name is short: nothing is searched in what follows.
            let within = &rest[..rest.len().min(MAX_NAME_BYTES + END.len())];
            let end = find(within, END).ok_or_else(malformed)?;
            let name = std::str::from_utf8(&rest[..end]).map_err(|_| malformed())?;
            if !is_name(name) {
                return Err(malformed());
            }
            let secret = self.named(name, host, port)?;
            filled.extend_from_slice(&value[..start]);
            filled.extend_from_slice(secret.value.as_bytes());
            if filled.len() > MAX_REQUEST_HEADER_BYTES {
                return Err(EgressError::HeadersTooLarge);
            }
            used = &secret.name;
            value = &rest[end + END.len()..];
        }
        filled.extend_from_slice(value);
        Ok((filled, used))
    }

    fn named(
        &self,
        name: &str,
        host: &EgressHost,
        port: u16,
    ) -> Result<&EgressSecret, EgressError> {
        let secret = self.0.iter().find(|secret| secret.name == name);
        let name = name.to_owned();
        match secret {
            None => Err(EgressError::UnknownSecret { name }),
            Some(secret) if !secret.is_for(host, port) => {
                Err(EgressError::SecretNotForHost { name, host: format!("{host}:{port}") })
            }
            Some(secret) => Ok(secret),
        }
    }

    /// What hides the secrets of this host in its answers. `None`: it has none.
    pub(crate) fn mask(&self, host: &EgressHost, port: u16) -> Result<Option<Mask>, EgressError> {
        let own: Vec<&EgressSecret> =
            self.0.iter().filter(|secret| secret.is_for(host, port)).collect();
        if own.is_empty() { Ok(None) } else { Mask::new(&own).map(Some) }
    }
}

/// Finds the values of some secrets.
#[derive(Clone)]
pub(crate) struct Mask {
    searcher: AhoCorasick,
    /// That of each pattern of the searcher.
    placeholders: Vec<String>,
    longest: usize,
    patterns: Arc<[String]>,
}

impl Mask {
    fn new(secrets: &[&EgressSecret]) -> Result<Mask, EgressError> {
        let (mut patterns, mut placeholders) = (Vec::new(), Vec::new());
        for secret in secrets {
            for spelling in spellings(&secret.value) {
                patterns.push(spelling);
                placeholders.push(secret.placeholder());
            }
        }
        let longest = patterns.iter().map(String::len).max().unwrap_or(0);
        let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns);
        // It fails where there are more patterns than an operator can list.
        let searcher = built.map_err(|_| EgressError::Host)?;
        Ok(Mask { searcher, placeholders, longest, patterns: patterns.into() })
    }

    /// The length of the longest value, in bytes: whoever cuts a text cuts it behind so many more, or the beginning of
    /// a value is left.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Whether one of the values stands in this.
    pub(crate) fn finds(&self, bytes: &[u8]) -> bool {
        self.searcher.is_match(bytes)
    }

    /// The same with placeholders in the place of values. Placeholders may be longer: behind `most` bytes the rest is
    /// left out.
    pub(crate) fn hide<'b>(&self, bytes: &'b [u8], most: usize) -> Cow<'b, [u8]> {
        let mut matches = self.searcher.find_iter(bytes).peekable();
        if matches.peek().is_none() {
            return Cow::Borrowed(bytes);
        }
        let (mut hidden, mut end) = (Vec::new(), 0);
        for found in matches {
            hidden.extend_from_slice(&bytes[end..found.start()]);
            hidden.extend_from_slice(self.placeholders[found.pattern()].as_bytes());
            end = found.end();
            if hidden.len() > most {
                return Cow::Owned(hidden);
            }
        }
        hidden.extend_from_slice(&bytes[end..]);
        Cow::Owned(hidden)
    }
}

/// Hides secrets in a text that comes in pieces, also one that stands across two of them.
pub(crate) struct StreamMask {
    mask: Mask,
    /// What may be the beginning of a value.
    kept: Vec<u8>,
}

impl StreamMask {
    pub(crate) fn new(mask: Mask) -> StreamMask {
        StreamMask { mask, kept: Vec::new() }
    }

    /// What can be told once this piece is there.
    pub(crate) fn hide(&mut self, piece: &[u8]) -> Vec<u8> {
        self.kept.extend_from_slice(piece);
        let mut end = self.kept.len() - self.beginning();
        for found in self.mask.searcher.find_iter(&self.kept) {
            if (found.start() + 1..found.end()).contains(&end) {
                end = found.end();
            }
        }
        let kept = self.kept.split_off(end);
        let told = std::mem::replace(&mut self.kept, kept);
        self.mask.hide(&told, usize::MAX).into_owned()
    }

    /// What is left at the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.kept);
        self.mask.hide(&rest, usize::MAX).into_owned()
    }

    /// How many bytes at the end may be the beginning of a value.
    fn beginning(&self) -> usize {
        let longest = self.mask.longest.saturating_sub(1).min(self.kept.len());
        let is_beginning = |length: &usize| {
            let tail = &self.kept[self.kept.len() - length..];
            let begins = |it: &String| it.len() > *length && it.as_bytes().starts_with(tail);
            self.mask.patterns.iter().any(begins)
        };
        (1..=longest).rev().find(is_beginning).unwrap_or(0)
    }
}

/// A value as servers write it: as it is, in JSON, and in a URL or a form.
fn spellings(value: &str) -> Vec<String> {
    let mut json = String::new();
    let mut escaped = String::new();
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            json.push('\\');
        }
        if matches!(c, '"' | '\\' | '/') {
            escaped.push('\\');
        }
        json.push(c);
        escaped.push(c);
    }
    let percent: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let spaces = percent.replace('+', "%20");
    let mut spellings = vec![value.to_owned(), json, escaped, percent, spaces];
    spellings.sort_unstable();
    spellings.dedup();
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "s3cr3t/\"with\" signs";

    fn target(text: &str) -> Vec<EgressTarget> {
        vec![text.parse().expect("it is a target")]
    }

    fn secrets() -> Secrets {
        let secret =
            |name, value, hosts| EgressSecret::new(name, value, target(hosts)).expect(name);
        Secrets::new(vec![
            secret("A", VALUE, "a.example"),
            secret("B", "another-secret", "*.b.example:8443"),
        ])
    }

    fn host(name: &str) -> EgressHost {
        EgressHost::parse(name).expect("it is a host")
    }

    fn fill(value: &str, to: &str, port: u16) -> Result<String, EgressError> {
        let mut headers = HeaderMap::new();
        headers.insert("x", HeaderValue::from_str(value).expect("it is a value"));
        secrets().fill(&mut headers, &host(to), port)?;
        Ok(headers["x"].to_str().expect("it is a text").to_owned())
    }

    #[test]
    fn a_placeholder_becomes_the_value_for_hosts_of_its_secret_alone() {
        assert_eq!(fill("Bearer {{secret:A}}!", "a.example", 443), Ok(format!("Bearer {VALUE}!")));
        assert_eq!(
            fill("{{secret:B}}{{secret:B}}", "x.b.example", 8443).map(|it| it.len()),
            Ok(28)
        );
        assert_eq!(fill("{secret:A} {{a}}", "c.example", 443), Ok("{secret:A} {{a}}".to_owned()));
        for (value, to, port) in [
            ("{{secret:A}}", "b.example", 443),
            ("{{secret:A}}", "a.example.evil.example", 443),
            ("{{secret:A}}", "a.example", 8080),
            ("{{secret:B}}", "b.example", 8443),
            ("{{secret:B}} {{secret:A}}", "x.b.example", 8443),
        ] {
            let error = fill(value, to, port).expect_err(to);
            assert!(matches!(error, EgressError::SecretNotForHost { .. }), "{value} {to}: {error}");
        }
    }

    #[test]
    fn what_is_no_placeholder_of_a_secret_is_refused() {
        let unknown = EgressError::UnknownSecret { name: "C".to_owned() };
        assert_eq!(fill("{{secret:C}}", "a.example", 443), Err(unknown));
        for value in [
            "{{secret:A",
            "{{secret:}}",
            "{{secret:A B}}",
            "{{secret: A}}",
            "{{secret:{{secret:A}}}}",
        ] {
            let error = fill(value, "a.example", 443).expect_err(value);
            assert!(matches!(error, EgressError::InvalidHeader { .. }), "{value}: {error}");
        }
        let many = "{{secret:A}}".repeat(2_000);
        assert_eq!(fill(&many, "a.example", 443), Err(EgressError::HeadersTooLarge));
    }

    #[test]
    fn a_value_is_hidden_however_a_server_writes_it() {
        let secrets = secrets();
        let mask = secrets.mask(&host("a.example"), 443).expect("it is made").expect("it has one");
        for text in [
            VALUE.to_owned(),
            r#"s3cr3t/\"with\" signs"#.to_owned(),
            r#"s3cr3t\/\"with\" signs"#.to_owned(),
            "s3cr3t%2F%22with%22+signs".to_owned(),
            "s3cr3t%2F%22with%22%20signs".to_owned(),
        ] {
            let text = format!("<{text}{text}> another-secret");
            let hidden = mask.hide(text.as_bytes(), 1_000);
            let hidden = std::str::from_utf8(&hidden).expect("it is a text");
            assert_eq!(hidden, "<{{secret:A}}{{secret:A}}> another-secret");
        }
        assert!(matches!(mask.hide(b"nothing", 1_000), Cow::Borrowed(_)));
        assert!(mask.hide(VALUE.repeat(1_000).as_bytes(), 100).len() < 120);
        assert!(secrets.mask(&host("c.example"), 443).expect("it is made").is_none());
    }

    #[test]
    fn a_value_is_hidden_wherever_a_text_is_cut_and_nothing_else_waits() {
        let text = format!("<{VALUE}{VALUE}> s3cr3 s3cr3t/ another-secret s3");
        let hidden = "<{{secret:A}}{{secret:A}}> s3cr3 s3cr3t/ another-secret s3";
        let mask = || {
            let mask = secrets().mask(&host("a.example"), 443).expect("it is made");
            StreamMask::new(mask.expect("it has one"))
        };
        for size in 1..text.len() {
            let mut mask = mask();
            let mut told: Vec<u8> =
                text.as_bytes().chunks(size).flat_map(|piece| mask.hide(piece)).collect();
            assert!(told.ends_with(b"another-secret "), "{size}");
            told.extend(mask.rest());
            assert_eq!(std::str::from_utf8(&told).expect("it is a text"), hidden, "{size}");
        }
        assert_eq!(mask().hide(b"data: {}\n\n"), b"data: {}\n\n");
    }

    #[test]
    fn a_secret_that_cannot_be_sent_or_hidden_or_has_no_host_is_refused() {
        let new = |name: &str, value: &str, hosts| EgressSecret::new(name, value, hosts).map(drop);
        let good = || target("a.example");
        assert_eq!(new("A-1_b", "  12345678\n", good()), Ok(()));
        assert_eq!(new("", "12345678", good()), Err(InvalidSecret::Name));
        assert_eq!(new("a b", "12345678", good()), Err(InvalidSecret::Name));
        assert_eq!(new("A", "1234567", good()), Err(InvalidSecret::Length));
        assert_eq!(new("A", &"1".repeat(5_000), good()), Err(InvalidSecret::Length));
        assert_eq!(new("A", "1234\n5678", good()), Err(InvalidSecret::Characters));
        assert_eq!(new("A", "12345678", Vec::new()), Err(InvalidSecret::Hosts));
        assert_eq!(new("A", "12345678", target("*:8443")), Err(InvalidSecret::Hosts));
    }

    #[test]
    fn nothing_shows_a_value() {
        let mut headers = HeaderMap::new();
        headers.insert("x", HeaderValue::from_static("{{secret:A}}"));
        secrets().fill(&mut headers, &host("a.example"), 443).expect("it is its host");
        let shown = format!("{:?} {headers:?}", secrets());
        assert!(!shown.contains("s3cr3t") && shown.contains("EgressSecret(A)"), "{shown}");
    }
}
