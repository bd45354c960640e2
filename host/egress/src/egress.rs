//! The way out: one for each host.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Response;
use reqwest::header::{ACCEPT_ENCODING, HeaderValue};
use tokio::time::{Sleep, timeout};

use crate::collect::Collector;
use crate::connection;
use crate::error::{EgressError, EgressFailure, EgressTimeout, PolicyOwner};
use crate::networks::Networks;
use crate::places::{Place, Places};
use crate::request::{BodyLimit, CheckedRequest, EgressRequest, EgressTimes, MAX_RESPONSE_BODY};
use crate::resolve::{Lookups, Resolver, SystemResolver};
use crate::response::{EgressResponse, check_headers, told_headers};
use crate::secrets::{EgressSecret, Mask, Secrets, StreamMask};
use crate::stream::EgressStream;
use dormouse_base::memory::MemoryBudget;
use dormouse_base::memory::pool::{Charge, Pool};
use dormouse_base::shares::Callers;
use dormouse_domain::egress::{EgressHost, EgressPolicy, EgressRule};
use dormouse_domain::id::Principal;

/// The most secrets of a host.
const MAX_SECRETS: usize = 64;
/// How long a request waits for a place at most.
const PLACE_WAIT: Duration = Duration::from_secs(30);
/// What a connection has in its buffers at most, in bytes.
const CONNECTION_BYTES: u64 = 512 << 10;

/// What the operator allows.
#[derive(Clone, Debug)]
pub struct EgressOptions {
    /// What may be reached. Nothing else is, whatever a session allows.
    pub policy: EgressPolicy,
    /// Networks that may be reached although they are not public.
    pub private: Networks,
    /// Values that guests know by their names alone.
    pub secrets: Vec<EgressSecret>,
    /// The most time of the parts of each exchange.
    pub times: EgressTimes,
    /// The most exchanges at a time.
    pub max_exchanges: usize,
    /// The most exchanges with one host at a time.
    pub max_exchanges_per_host: usize,
}

impl Default for EgressOptions {
    fn default() -> EgressOptions {
        EgressOptions {
            policy: EgressPolicy::default(),
            private: Networks::default(),
            secrets: Vec::new(),
            times: EgressTimes::default(),
            max_exchanges: 256,
            max_exchanges_per_host: 64,
        }
    }
}

/// Options that no way out can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEgress {
    /// Two secrets have one name.
    #[error("there are two secrets `{0}`")]
    SecretTwice(String),
    /// There are too many secrets.
    #[error("there are more than {MAX_SECRETS} secrets")]
    TooManySecrets,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// The one way from guests to the web.
pub struct Egress {
    policy: EgressPolicy,
    private: Networks,
    secrets: Secrets,
    pub(crate) times: EgressTimes,
    places: Places,
    lookups: Lookups,
    memory: Pool,
    tls: rustls::ClientConfig,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Egress({})", self.policy)
    }
}

impl Egress {
    /// A way out with these options. Responses are charged to a part of `memory` that the principals share.
    ///
    /// # Errors
    /// [`InvalidEgress`]
    pub fn new(
        options: EgressOptions,
        memory: &MemoryBudget,
        callers: &Callers,
    ) -> Result<Egress, InvalidEgress> {
        let EgressOptions { policy, private, secrets, times, .. } = options;
        if secrets.len() > MAX_SECRETS {
            return Err(InvalidEgress::TooManySecrets);
        }
        for (place, secret) in secrets.iter().enumerate() {
            if secrets[..place].iter().any(|it| it.name() == secret.name()) {
                return Err(InvalidEgress::SecretTwice(secret.name().to_owned()));
            }
        }
        let (all, of_each_host) = (options.max_exchanges, options.max_exchanges_per_host);
        Ok(Egress {
            policy,
            private,
            secrets: Secrets::new(secrets),
            times,
            places: Places::new(all, of_each_host, callers.clone()),
            lookups: Lookups::new(Arc::new(SystemResolver), callers.clone()),
            memory: Pool::new(memory, MAX_RESPONSE_BODY as u64, callers.clone()),
            tls: connection::tls().map_err(|error| InvalidEgress::Tls(error.to_string()))?,
        })
    }

    /// The same, where this resolver knows the addresses of names.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Egress {
        self.lookups.set_resolver(resolver);
        self
    }

    /// What the operator allows.
    #[must_use]
    pub fn policy(&self) -> &EgressPolicy {
        &self.policy
    }

    /// Whether a request could be sent, as far as can be said without sending it: it is well formed, the operator and this
    /// policy of its session allow it, and its secrets belong to its host.
    ///
    /// # Errors
    /// Why it could not.
    pub fn check(
        &self,
        request: &EgressRequest,
        session: &EgressPolicy,
    ) -> Result<(), EgressError> {
        let mut checked = CheckedRequest::new(request)?;
        self.allow(&checked, session)?;
        let CheckedRequest { headers, host, port, .. } = &mut checked;
        self.secrets.fill(headers, host, *port).map(drop)
    }

    /// Send a request for this principal, where the operator and this policy of its session allow it, and wait for the
    /// whole response. A response that redirects is a response: see [`Egress::follow`].
    ///
    /// # Errors
    /// There is no response: why, and whether the request may have reached its server.
    pub async fn send(
        &self,
        principal: &Principal,
        request: &EgressRequest,
        session: &EgressPolicy,
    ) -> Result<EgressResponse, EgressFailure> {
        let answered = self.answer(principal, request, session).await;
        count(&answered);
        answered
    }

    /// Send a request for this principal, where this grant covers it, and wait for the headers of the response. The
    /// caller reads the body as it comes. A response that redirects is a response.
    ///
    /// # Errors
    /// As [`Egress::send`].
    pub async fn open(
        &self,
        principal: &Principal,
        request: &EgressRequest,
        grant: Grant<'_>,
    ) -> Result<EgressStream, EgressFailure> {
        let opened = self.stream(principal, request, grant).await;
        count(&opened);
        opened
    }

    async fn answer(
        &self,
        principal: &Principal,
        request: &EgressRequest,
        session: &EgressPolicy,
    ) -> Result<EgressResponse, EgressFailure> {
        let (exchange, checked) = self.exchange(principal, request, Grant::Session(session))?;
        let host = checked.host.clone();
        match timeout(exchange.times.total, exchange.run(checked)).await {
            Ok(answered) => answered,
            Err(_) => Err(exchange.late(host)),
        }
    }

    async fn stream(
        &self,
        principal: &Principal,
        request: &EgressRequest,
        grant: Grant<'_>,
    ) -> Result<EgressStream, EgressFailure> {
        let (exchange, checked) = self.exchange(principal, request, grant)?;
        let host = checked.host.clone();
        let end = Box::pin(tokio::time::sleep(exchange.times.total));
        match timeout(exchange.times.total, exchange.begin(checked)).await {
            Ok(begun) => exchange.stream_of(begun?, host, end),
            Err(_) => Err(exchange.late(host)),
        }
    }

    /// An exchange that is allowed, and its request with values in the place of placeholders.
    fn exchange<'e>(
        &'e self,
        principal: &'e Principal,
        request: &EgressRequest,
        grant: Grant<'_>,
    ) -> Result<(Exchange<'e>, CheckedRequest), EgressFailure> {
        let mut checked = CheckedRequest::new(request)?;
        match grant {
            Grant::Session(policy) => self.allow(&checked, policy)?,
            Grant::Operator => {}
        }
        let CheckedRequest { headers, host, port, .. } = &mut checked;
        let secret = self.secrets.fill(headers, host, *port)?;
        let mask = self.secrets.mask(host, *port)?;
        if mask.is_some() {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let exchange = Exchange {
            egress: self,
            principal,
            mask,
            secret,
            times: request.times.within(self.times),
            limit: request.limit,
            is_sent: AtomicBool::new(false),
        };
        Ok((exchange, checked))
    }

    /// Whether both policies allow it.
    fn allow(&self, request: &CheckedRequest, session: &EgressPolicy) -> Result<(), EgressError> {
        let CheckedRequest { method, host, port, .. } = request;
        for (policy, owner) in
            [(&self.policy, PolicyOwner::Operator), (session, PolicyOwner::Session)]
        {
            if !policy.allows(method, host, *port) {
                let rule = EgressRule::only(method, host, *port);
                return Err(EgressError::NotAllowed { owner, rule });
            }
        }
        Ok(())
    }
}

/// Who has allowed a request.
#[derive(Clone, Copy, Debug)]
pub enum Grant<'p> {
    /// A session asks: its policy and that of the operator must allow the request.
    Session(&'p EgressPolicy),
    /// The operator has written the URL into the configuration of the host: no policy is asked. Addresses are checked as
    /// for everybody.
    Operator,
}

fn count<T>(answered: &Result<T, EgressFailure>) {
    let outcome = match answered {
        Ok(_) => "answered",
        Err(failure) => failure.error.as_str(),
    };
    metrics::counter!("dormouse_egress_requests_total", "outcome" => outcome).increment(1);
}

/// A response of which the headers are there, and what is held for its connection.
struct Begun {
    response: Response,
    place: Place,
    buffers: Charge,
}

/// One request and its response.
struct Exchange<'e> {
    egress: &'e Egress,
    principal: &'e Principal,
    /// What hides the secrets of the host.
    mask: Option<Mask>,
    /// The name of a secret that the request has.
    secret: Option<&'e str>,
    times: EgressTimes,
    limit: BodyLimit,
    /// Whether the first byte may have left.
    is_sent: AtomicBool,
}

impl Exchange<'_> {
    async fn run(&self, request: CheckedRequest) -> Result<EgressResponse, EgressFailure> {
        let host = request.host.clone();
        let begun = self.begin(request).await?;
        let answered = self.body_of(begun.response, &host).await;
        answered.map_err(EgressFailure::may_have_arrived)
    }

    async fn begin(&self, request: CheckedRequest) -> Result<Begun, EgressFailure> {
        let waiting = self.egress.places.wait(self.principal, &request.host);
        let place = timeout(PLACE_WAIT, waiting).await.map_err(|_| EgressError::Busy)?;
        let mut buffers = self.egress.memory.of(self.principal);
        buffers.grow(CONNECTION_BYTES).map_err(|_| EgressError::OutOfMemory)?;
        let addresses = self.addresses(&request).await?;
        self.check_secret(&request, &addresses)?;
        let response = self.headers_of(request, &addresses).await?;
        Ok(Begun { response, place, buffers })
    }

    /// The exchange has taken too long.
    fn late(&self, host: EgressHost) -> EgressFailure {
        let error = EgressError::TimedOut { host, timeout: EgressTimeout::Total };
        match self.is_sent.load(Ordering::Relaxed) {
            true => EgressFailure::may_have_arrived(error),
            false => EgressFailure::not_sent(error),
        }
    }

    /// The response, with its body yet to be read until `end`.
    fn stream_of(
        self,
        begun: Begun,
        host: EgressHost,
        end: Pin<Box<Sleep>>,
    ) -> Result<EgressStream, EgressFailure> {
        let Begun { response, place, buffers } = begun;
        let checked = check_headers(response.headers(), &host, self.mask.as_ref());
        checked.map_err(EgressFailure::may_have_arrived)?;
        Ok(EgressStream {
            status: response.status().as_u16(),
            headers: told_headers(response.headers(), self.mask.as_ref(), true),
            response,
            host,
            between_bytes: self.times.between_bytes,
            most: self.limit.most.min(MAX_RESPONSE_BODY),
            taken: 0,
            mask: self.mask.map(StreamMask::new),
            end,
            held: buffers,
            _place: place,
        })
    }

    /// The addresses that may be connected to.
    async fn addresses(&self, request: &CheckedRequest) -> Result<Vec<IpAddr>, EgressError> {
        let host = &request.host;
        let mut addresses = match host.address() {
            Some(address) => vec![address],
            None => {
                let looking_up = self.egress.lookups.addresses(self.principal, host.to_string());
                timeout(self.times.connect, looking_up).await.map_err(|_| {
                    EgressError::TimedOut { host: host.clone(), timeout: EgressTimeout::Lookup }
                })?
            }
        };
        if addresses.is_empty() {
            return Err(EgressError::UnknownHost { host: host.clone() });
        }
        addresses.retain(|address| self.egress.private.allow(*address));
        match addresses.is_empty() {
            true => Err(EgressError::PrivateAddress { host: host.clone() }),
            false => Ok(addresses),
        }
    }

    /// A secret is not read on its way.
    fn check_secret(
        &self,
        request: &CheckedRequest,
        addresses: &[IpAddr],
    ) -> Result<(), EgressError> {
        let Some(name) = self.secret else { return Ok(()) };
        let is_private = addresses.iter().all(|address| self.egress.private.list(*address));
        match request.url.scheme() == "https" || is_private {
            true => Ok(()),
            false => Err(EgressError::SecretNeedsTls { name: name.to_owned() }),
        }
    }

    async fn headers_of(
        &self,
        request: CheckedRequest,
        addresses: &[IpAddr],
    ) -> Result<Response, EgressFailure> {
        let CheckedRequest { method, url, host, port, headers, body } = request;
        let (tls, connect) = (&self.egress.tls, self.times.connect);
        let client = connection::client(tls, addresses, port, connect).map_err(|error| {
            tracing::error!(error = %error.without_url(), "no client can be made");
            EgressError::Host
        })?;
        let has_body = !body.is_empty() || matches!(method.as_str(), "POST" | "PUT" | "PATCH");
        let method = reqwest::Method::from_bytes(method.as_str().as_bytes());
        let method = method.map_err(|_| EgressError::InvalidMethod)?;
        let mut sending = client.request(method, url).headers(headers);
        if has_body {
            sending = sending.body(body);
        }
        self.is_sent.store(true, Ordering::Relaxed);
        let within = connect.saturating_add(self.times.first_byte);
        match timeout(within, sending.send()).await {
            // Nothing was asked for that a 1xx could be the answer to.
            Ok(Ok(response)) if response.status().is_informational() => {
                Err(EgressFailure::may_have_arrived(EgressError::Broken { host }))
            }
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(connection::failure(&error, &host)),
            Err(_) => Err(EgressFailure::may_have_arrived(EgressError::TimedOut {
                host,
                timeout: EgressTimeout::FirstByte,
            })),
        }
    }

    async fn body_of(
        &self,
        response: Response,
        host: &EgressHost,
    ) -> Result<EgressResponse, EgressError> {
        let mask = self.mask.as_ref();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        check_headers(&headers, host, mask)?;
        let mut charge = self.egress.memory.of(self.principal);
        let collector =
            Collector { host, limit: self.limit, between_bytes: self.times.between_bytes, mask };
        let body = collector.collect(response, &mut charge).await?;
        let headers = told_headers(&headers, mask, body.is_cut || body.is_masked);
        Ok(EgressResponse { status, headers, body: body.bytes, is_cut: body.is_cut, _held: charge })
    }
}
