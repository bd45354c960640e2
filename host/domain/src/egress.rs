//! What may be reached over HTTP: rules of hosts, ports and methods, and policies made of them.
//!
//! A rule is a line, such as `GET,POST api.example.com:8443`. The operator of a host has a policy, and so has each
//! session; a request leaves where both allow it. Hosts are compared in the form that browsers give them
//! (<https://url.spec.whatwg.org/#host-parsing>): in lower case, names in Punycode and without a dot at the end, and
//! each spelling of an IPv4 address as the same four numbers.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use url::Host;

/// The most rules of one policy.
pub const MAX_EGRESS_RULES: usize = 256;
/// The most bytes of one rule.
pub const MAX_EGRESS_RULE_BYTES: usize = 512;
/// The most bytes of a method.
const MAX_METHOD_BYTES: usize = 24;
/// The most bytes of the name of a host, as the domain name system has them.
const MAX_HOST_BYTES: usize = 253;
/// The ports of a rule that names none: those of `http` and `https`.
const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// A text that is no rule. Each says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEgressRule {
    /// The host is no host.
    #[error(
        "`{0}` is no host: write a name such as api.example.com, *.example.com or *, or an address, an IPv6 one in []"
    )]
    Host(String),
    /// The port is no port.
    #[error("`{0}` is no port: write a number from 1 to 65535, or * for any")]
    Port(String),
    /// The method is no method.
    #[error("`{0}` is no method: write methods in capitals, such as GET,POST, before the host")]
    Method(String),
    /// There are methods, and no host.
    #[error(
        "`{0}` has no host behind it: write methods, a space, and the host, such as GET,POST api.example.com"
    )]
    NoHost(String),
    /// The rule is too long.
    #[error("a rule has at most {MAX_EGRESS_RULE_BYTES} bytes")]
    TooLong,
    /// There are too many rules.
    #[error("there are at most {MAX_EGRESS_RULES} rules")]
    TooMany,
}

/// A host that a request goes to, in the one form that hosts are compared in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressHost(Host<String>);

impl EgressHost {
    /// The host of this name or address. IPv6 addresses stand in brackets.
    ///
    /// # Errors
    /// [`InvalidEgressRule::Host`]
    pub fn parse(text: &str) -> Result<EgressHost, InvalidEgressRule> {
        let invalid = || InvalidEgressRule::Host(excerpt(text));
        // An escape in a host has no use but to hide what it is.
        if text.len() > MAX_EGRESS_RULE_BYTES || text.contains('%') {
            return Err(invalid());
        }
        match Host::parse(text).map_err(|_| invalid())? {
            Host::Domain(mut name) => {
                if name.ends_with('.') {
                    name.pop();
                }
                // Browsers take more signs than names of hosts have: no rule could be written with them.
                let is_sign = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                let is_label =
                    |label: &str| (1..=63).contains(&label.len()) && label.chars().all(is_sign);
                let is_good = name.len() <= MAX_HOST_BYTES && name.split('.').all(is_label);
                if is_good { Ok(EgressHost(Host::Domain(name))) } else { Err(invalid()) }
            }
            address @ (Host::Ipv4(_) | Host::Ipv6(_)) => Ok(EgressHost(address)),
        }
    }

    /// The address that it is, where it is no name.
    #[must_use]
    pub fn address(&self) -> Option<std::net::IpAddr> {
        match self.0 {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }

    fn is_under(&self, domain: &str) -> bool {
        match &self.0 {
            Host::Domain(name) => {
                name.strip_suffix(domain).is_some_and(|above| above.ends_with('.'))
            }
            Host::Ipv4(_) | Host::Ipv6(_) => false,
        }
    }
}

impl fmt::Display for EgressHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which hosts are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// `*`: every name and every address.
    Any,
    /// `*.example.com`: each name below `example.com`, at any depth, and not `example.com` itself.
    Below(EgressHost),
    /// `api.example.com`, `192.0.2.1`, `[2001:db8::1]`
    Exactly(EgressHost),
}

/// Which ports of a host are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortPattern {
    /// No port is named: 80 and 443.
    Default,
    /// `:*`
    Any,
    /// `:8443`
    Exactly(u16),
}

/// Hosts and ports, such as `api.example.com:8443`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressTarget {
    /// The hosts.
    pub host: HostPattern,
    /// The ports of each.
    pub port: PortPattern,
}

impl EgressTarget {
    /// Whether this port of this host is meant.
    #[must_use]
    pub fn has(&self, host: &EgressHost, port: u16) -> bool {
        let is_host = match &self.host {
            HostPattern::Any => true,
            HostPattern::Below(domain) => host.is_under(&domain.to_string()),
            HostPattern::Exactly(it) => it == host,
        };
        let is_port = match self.port {
            PortPattern::Default => DEFAULT_PORTS.contains(&port),
            PortPattern::Any => true,
            PortPattern::Exactly(it) => it == port,
        };
        is_host && is_port
    }
}

impl FromStr for EgressTarget {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<EgressTarget, InvalidEgressRule> {
        let (host, port) = match text.rsplit_once(':') {
            // The last colon of an address in brackets is none before a port.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (text, None),
        };
        let port = match port {
            None => PortPattern::Default,
            Some("*") => PortPattern::Any,
            Some(port) => PortPattern::Exactly(number(port)?),
        };
        Ok(EgressTarget { host: pattern(host)?, port })
    }
}

fn number(port: &str) -> Result<u16, InvalidEgressRule> {
    let is_plain = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|number| *number != 0 && is_plain);
    number.ok_or_else(|| InvalidEgressRule::Port(excerpt(port)))
}

fn pattern(host: &str) -> Result<HostPattern, InvalidEgressRule> {
    if host == "*" {
        return Ok(HostPattern::Any);
    }
    let invalid = || InvalidEgressRule::Host(excerpt(host));
    let (below, name) = match host.strip_prefix("*.") {
        Some(domain) => (true, domain),
        None => (false, host),
    };
    let name = EgressHost::parse(name)?;
    match (below, name.address()) {
        (true, None) => Ok(HostPattern::Below(name)),
        (true, Some(_)) => Err(invalid()),
        (false, _) => Ok(HostPattern::Exactly(name)),
    }
}

impl fmt::Display for EgressTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Below(domain) => write!(f, "*.{domain}")?,
            HostPattern::Exactly(host) => write!(f, "{host}")?,
        }
        match self.port {
            PortPattern::Default => Ok(()),
            PortPattern::Any => f.write_str(":*"),
            PortPattern::Exactly(port) => write!(f, ":{port}"),
        }
    }
}

/// The method of a request: capital letters and hyphens, so that no other spelling of a method passes by a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressMethod(String);

impl EgressMethod {
    /// The word for it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EgressMethod {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<EgressMethod, InvalidEgressRule> {
        let is_good = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
        match (1..=MAX_METHOD_BYTES).contains(&text.len()) && text.bytes().all(is_good) {
            true => Ok(EgressMethod(text.to_owned())),
            false => Err(InvalidEgressRule::Method(excerpt(text))),
        }
    }
}

impl fmt::Display for EgressMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One rule: requests with these methods to these hosts are allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressRule {
    /// The methods. None: every method.
    pub methods: BTreeSet<EgressMethod>,
    /// Where to.
    pub target: EgressTarget,
}

impl EgressRule {
    /// The rule that allows such requests and no others.
    #[must_use]
    pub fn only(method: &EgressMethod, host: &EgressHost, port: u16) -> EgressRule {
        let port = match DEFAULT_PORTS.contains(&port) {
            true => PortPattern::Default,
            false => PortPattern::Exactly(port),
        };
        let host = HostPattern::Exactly(host.clone());
        EgressRule { methods: [method.clone()].into(), target: EgressTarget { host, port } }
    }

    /// Whether it allows such a request.
    #[must_use]
    pub fn allows(&self, method: &EgressMethod, host: &EgressHost, port: u16) -> bool {
        let is_method = self.methods.is_empty() || self.methods.contains(method);
        is_method && self.target.has(host, port)
    }
}

impl FromStr for EgressRule {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<EgressRule, InvalidEgressRule> {
        if text.len() > MAX_EGRESS_RULE_BYTES {
            return Err(InvalidEgressRule::TooLong);
        }
        let (methods, target) = match text.split_once(' ') {
            Some((methods, target)) => {
                (methods.split(',').map(str::parse).collect::<Result<_, _>>()?, target)
            }
            None if is_method(text) => return Err(InvalidEgressRule::NoHost(excerpt(text))),
            None => (BTreeSet::new(), text),
        };
        Ok(EgressRule { methods, target: target.parse()? })
    }
}

/// Whether a word of a list is a method: hosts that are meant are written in lower case.
fn is_method(word: &str) -> bool {
    word.parse::<EgressMethod>().is_ok()
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, method) in self.methods.iter().enumerate() {
            write!(f, "{}{method}", if place == 0 { "" } else { "," })?;
        }
        write!(f, "{}{}", if self.methods.is_empty() { "" } else { " " }, self.target)
    }
}

/// What may be reached: whatever one of the rules allows. Without a rule, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EgressPolicy(Vec<EgressRule>);

impl EgressPolicy {
    /// The policy of these rules.
    ///
    /// # Errors
    /// [`InvalidEgressRule::TooMany`]
    pub fn new(rules: Vec<EgressRule>) -> Result<EgressPolicy, InvalidEgressRule> {
        if rules.len() > MAX_EGRESS_RULES {
            return Err(InvalidEgressRule::TooMany);
        }
        Ok(EgressPolicy(rules))
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> &[EgressRule] {
        &self.0
    }

    /// Whether such a request is allowed.
    #[must_use]
    pub fn allows(&self, method: &EgressMethod, host: &EgressHost, port: u16) -> bool {
        self.0.iter().any(|rule| rule.allows(method, host, port))
    }
}

/// A list of rules with commas between. A word in capitals is a method, and belongs to the rule behind it.
impl FromStr for EgressPolicy {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<EgressPolicy, InvalidEgressRule> {
        let mut rules = Vec::new();
        let mut methods = String::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            // Before more is read than a policy can have.
            if rules.len() == MAX_EGRESS_RULES {
                return Err(InvalidEgressRule::TooMany);
            }
            if is_method(word) {
                methods += word;
                methods.push(',');
            } else if methods.is_empty() || word.contains(' ') {
                rules.push((std::mem::take(&mut methods) + word).parse()?);
            } else {
                return Err(InvalidEgressRule::NoHost(excerpt(methods.trim_end_matches(','))));
            }
        }
        match methods.is_empty() {
            true => EgressPolicy::new(rules),
            false => Err(InvalidEgressRule::NoHost(excerpt(methods.trim_end_matches(',')))),
        }
    }
}

impl fmt::Display for EgressPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, rule) in self.0.iter().enumerate() {
            write!(f, "{}{rule}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// The beginning of a text that is repeated in an error.
fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(text: &str) -> EgressRule {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn allows(policy: &str, method: &str, host: &str, port: u16) -> bool {
        let policy: EgressPolicy = policy.parse().expect("it is a policy");
        let host = EgressHost::parse(host).expect("it is a host");
        policy.allows(&method.parse().expect("it is a method"), &host, port)
    }

    #[test]
    fn a_rule_reads_back_as_what_it_is_shown_as() {
        for text in [
            "*",
            "*:*",
            "*.example.com",
            "api.example.com",
            "api.example.com:8443",
            "api.example.com:*",
            "GET api.example.com",
            "GET,POST api.example.com:8443",
            "127.0.0.1:8080",
            "[::1]",
            "[2001:db8::1]:8080",
            "M-SEARCH *",
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
    }

    #[test]
    fn hosts_that_are_the_same_are_shown_alike() {
        for (text, shown) in [
            ("API.Example.COM", "api.example.com"),
            ("api.example.com.", "api.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.BÜCHER.example", "*.xn--bcher-kva.example"),
            ("api。example。com", "api.example.com"),
            ("0x7f.1", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("[0:0:0:0:0:0:0:1]:80", "[::1]:80"),
            ("POST,GET,POST a.example", "GET,POST a.example"),
        ] {
            assert_eq!(rule(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_and_says_what_to_write() {
        let long = "a".repeat(600);
        for (text, expected) in [
            ("", "is no host"),
            ("GET", "has no host behind it"),
            ("GET ", "is no host"),
            ("get api.example.com", "is no method"),
            ("GET, api.example.com", "is no method"),
            ("GET  api.example.com", "is no host"),
            ("https://api.example.com", "is no port"),
            ("api.example.com/v1", "is no host"),
            ("user@api.example.com", "is no host"),
            ("api.example.com:", "is no port"),
            ("api.example.com:0", "is no port"),
            ("api.example.com:+80", "is no port"),
            ("api.example.com:65536", "is no port"),
            ("::1", "is no host"),
            ("[::1", "is no host"),
            ("1.2.3.4.5", "is no host"),
            ("1.2.3.256", "is no host"),
            ("a..example", "is no host"),
            ("a.example..", "is no host"),
            (".", "is no host"),
            ("*.", "is no host"),
            ("*.*", "is no host"),
            ("a*.example", "is no host"),
            ("*.127.0.0.1", "is no host"),
            ("\u{fe61}", "is no host"),
            ("a,b.example", "is no host"),
            ("ex%61mple.com", "is no host"),
            (long.as_str(), "at most 512 bytes"),
        ] {
            let error = text.parse::<EgressRule>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_pattern_has_the_hosts_below_it_and_no_others() {
        for host in ["a.example.com", "a.b.example.com", "A.EXAMPLE.com."] {
            assert!(allows("*.example.com", "GET", host, 443), "{host}");
        }
        for host in ["example.com", "badexample.com", "a.example.com.evil.example", "127.0.0.1"] {
            assert!(!allows("*.example.com", "GET", host, 443), "{host}");
        }
        assert!(allows("*", "GET", "127.0.0.1", 80));
        assert!(allows("127.0.0.1", "GET", "0x7f000001", 80));
        assert!(!allows("127.0.0.1", "GET", "[::ffff:127.0.0.1]", 80));
    }

    #[test]
    fn a_rule_without_a_port_has_those_of_http_and_https() {
        for (policy, port, expected) in [
            ("a.example", 80, true),
            ("a.example", 443, true),
            ("a.example", 8080, false),
            ("a.example:8080", 8080, true),
            ("a.example:8080", 443, false),
            ("a.example:*", 25, true),
        ] {
            assert_eq!(allows(policy, "GET", "a.example", port), expected, "{policy} {port}");
        }
    }

    #[test]
    fn methods_belong_to_the_rule_behind_them() {
        let policy = "GET,HEAD a.example,b.example,POST c.example:8443";
        assert_eq!(policy.parse::<EgressPolicy>().expect("it is one").to_string(), policy);
        assert!(allows(policy, "HEAD", "a.example", 443));
        assert!(!allows(policy, "POST", "a.example", 443));
        assert!(allows(policy, "DELETE", "b.example", 443));
        assert!(!allows(policy, "GET", "c.example", 8443));
        assert!(!allows("", "GET", "a.example", 443));
        for text in ["GET,a.example", "a.example,GET", "GET,POST"] {
            let error = text.parse::<EgressPolicy>().expect_err(text);
            assert!(matches!(error, InvalidEgressRule::NoHost(_)), "{text}: {error}");
        }
    }

    #[test]
    fn a_policy_has_a_bound() {
        let rules = |count| vec!["a.example"; count].join(",").parse::<EgressPolicy>();
        assert_eq!(rules(MAX_EGRESS_RULES).expect("they fit").rules().len(), MAX_EGRESS_RULES);
        assert_eq!(rules(MAX_EGRESS_RULES + 1), Err(InvalidEgressRule::TooMany));
    }

    proptest! {
        #[test]
        fn the_rule_that_would_allow_a_request_does(
            method in "[A-Z]{1,8}",
            host in "[a-z0-9]{1,8}(\\.[a-z]{2,6}){1,3}|[0-9]{1,3}\\.0\\.0\\.1|\\[::[0-9a-f]{1,4}\\]",
            port in 1..=u16::MAX,
        ) {
            let (Ok(method), Ok(host)) = (method.parse(), EgressHost::parse(&host)) else {
                return Ok(());
            };
            let only = EgressRule::only(&method, &host, port);
            prop_assert!(only.allows(&method, &host, port));
            prop_assert_eq!(&only.to_string().parse::<EgressRule>(), &Ok(only));
        }

        #[test]
        fn no_text_is_a_rule_that_does_not_read_back(text in "\\PC{0,40}") {
            if let Ok(rule) = text.parse::<EgressRule>() {
                prop_assert_eq!(rule.to_string().parse::<EgressRule>(), Ok(rule));
            }
        }
    }
}
