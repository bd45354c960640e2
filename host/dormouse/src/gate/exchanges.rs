//! HTTP exchanges: which requests leave, who waits for their answers, and what is written down of them.
//!
//! A guest learns of its exchanges only where it waits. One wait notes the requests that leave with it in one commit, and
//! in another what has ended it: so a turn that is run again waits as often as before, for the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::Gate;
use super::journal::{Reply, Seen};
use dormouse_base::clock::{Clock, RealMoment};
use dormouse_domain::effect::{Effect, EffectAnswer, EffectError};
use dormouse_domain::http::{
    HttpError, HttpErrorKind, HttpNews, HttpRequest, HttpResponse, HttpWait,
};
use dormouse_domain::journal::{
    EffectOutcome, EffectRecord, EffectTarget, MAX_EFFECT_ATTEMPTS, Provenance,
};
use dormouse_egress::{EgressError, EgressFailure, EgressRequest, EgressResponse, EgressTimes};
use dormouse_sandbox::SoFar;

/// How long a turn waits for exchanges before that counts as its own time. They cost nothing, and so nothing else
/// bounds how often a turn waits for a server that takes its time.
const FREE_WAITING: Duration = Duration::from_secs(600);

/// The exchanges of a turn of which its guest has not learned what came of them.
#[derive(Default)]
pub(super) struct Exchanges {
    /// By their numbers in the turn.
    all: BTreeMap<u32, Exchange>,
    under_way: JoinSet<(u32, Result<EgressResponse, EgressFailure>)>,
    /// How long the turn has waited.
    waited: Duration,
}

struct Exchange {
    /// Its place in the journal.
    seq: u32,
    request: HttpRequest,
    /// The journal says that the request may have left.
    may_have_left: bool,
    sent: Option<Sent>,
}

/// A request that has left.
struct Sent {
    record: EffectRecord,
    /// What the host's monotonic clock said then.
    since: Duration,
    task: AbortHandle,
}

/// How a wait ends.
#[derive(Default)]
struct End {
    news: HttpNews,
    /// The places of the exchanges that are over, and what was done for each last.
    records: Vec<(u32, Option<EffectRecord>)>,
}

impl Gate {
    /// Wait for exchanges, of which some leave now.
    pub(super) async fn wait(
        &mut self,
        wait: &HttpWait,
        effect: &Effect,
        so_far: SoFar,
        seen: Seen,
    ) -> Result<HttpNews, EffectError> {
        // What the guest has seen and drawn belongs to the first entry.
        let (mut so_far, mut seen) = (so_far, seen);
        for (number, request) in &wait.send {
            let seen = std::mem::replace(&mut seen, Seen::nothing());
            let next = self.journal.next_exchange(request.into(), so_far, seen);
            let (seq, may_have_left) = next.await?;
            so_far.salt = None;
            let request = request.clone();
            let exchange = Exchange { seq, request, may_have_left, sent: None };
            self.exchanges.all.insert(*number, exchange);
        }
        for number in &wait.given_up {
            self.close(*number, Provenance::Live);
        }
        match self.journal.next(effect.into(), so_far, seen).await? {
            Reply::Replayed(answer, _) => {
                let news = answer.of_http()?;
                news.ended.iter().for_each(|(number, _)| self.close(*number, Provenance::Replayed));
                Ok(news)
            }
            Reply::Live => self.wait_live(wait).await,
        }
    }

    /// The guest learns what came of an exchange from the journal, or never.
    fn close(&mut self, number: u32, provenance: Provenance) {
        let Some(exchange) = self.exchanges.all.remove(&number) else { return };
        if let Some(sent) = exchange.sent {
            sent.task.abort();
        }
        self.journal.close_exchange(exchange.seq, provenance);
    }

    async fn wait_live(&mut self, wait: &HttpWait) -> Result<HttpNews, EffectError> {
        let mut end = End::default();
        self.send_requests(&mut end).await?;
        let clock = self.outside.clock.clone();
        let since = clock.monotonic();
        let in_call = (self.exchanges.waited < FREE_WAITING).then(|| self.time.call(&clock));
        self.exchanges.collect(wait, &clock, &mut end).await;
        drop(in_call);
        self.exchanges.waited += clock.monotonic().saturating_sub(since);
        let answer = EffectAnswer::Http(end.news.clone());
        self.journal.answer_wait(answer, end.records).await?;
        Ok(end.news)
    }

    /// Send what has not left yet, or has left in an attempt at the turn before and may leave again.
    async fn send_requests(&mut self, end: &mut End) -> Result<(), EffectError> {
        let mut leaving = Vec::new();
        let mut given_up = Vec::new();
        for (number, exchange) in &self.exchanges.all {
            let Exchange { seq, request, may_have_left, sent } = exchange;
            let made = self.journal.calls_of(*seq);
            let is_lost = *may_have_left && !request.class().may_repeat();
            if sent.is_some() {
                continue;
            }
            if is_lost || made >= MAX_EFFECT_ATTEMPTS as usize {
                given_up.push(*number);
            } else {
                let (method, host) = (request.method.clone(), request.host());
                let target = EffectTarget::Http { method, host };
                leaving.push((*number, self.line_of(*seq, made, target, request.size())));
            }
        }
        for number in given_up {
            let Some(exchange) = self.exchanges.all.remove(&number) else { continue };
            end.news.ended.push((number, Err(unknown_outcome())));
            end.records.push((exchange.seq, None));
        }
        if leaving.is_empty() {
            return Ok(());
        }
        let records = leaving.iter().map(|(_, record)| record.clone()).collect();
        self.journal.begin_exchanges(records).await?;
        self.note_live();
        for (number, record) in leaving {
            self.leave(number, record);
        }
        Ok(())
    }

    /// A request leaves, on the runtime that serves connections: that of the guests has other work.
    fn leave(&mut self, number: u32, record: EffectRecord) {
        let Some(exchange) = self.exchanges.all.get_mut(&number) else { return };
        let (outside, session) = (Arc::clone(&self.outside), Arc::clone(&self.session));
        let request = egress_request(&exchange.request);
        let sending = async move {
            let policy = &session.profile.egress;
            (number, outside.egress.send(&session.owner, &request, policy).await)
        };
        let task = self.exchanges.under_way.spawn_on(sending, &self.outside.connections);
        exchange.sent = Some(Sent { record, since: self.outside.clock.monotonic(), task });
    }
}

impl Exchanges {
    /// Wait until an exchange is over or one of these times has come, unless it is only looked what there is.
    async fn collect(&mut self, wait: &HttpWait, clock: &Clock, end: &mut End) {
        let begun = RealMoment::now();
        let first = wait.times.iter().map(|(_, time)| *time).min();
        let time_comes = async {
            match first {
                Some(time) => begun.after(time).come().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(time_comes);
        let is_waited_for = |exchanges: &Exchanges| {
            !wait.is_look && (first.is_some() || !exchanges.under_way.is_empty())
        };
        while end.news.ended.is_empty() && is_waited_for(self) {
            tokio::select! {
                biased;
                Some(joined) = self.under_way.join_next() => self.note(joined, clock, end),
                () = &mut time_comes => break,
            }
        }
        while let Some(joined) = self.under_way.try_join_next() {
            self.note(joined, clock, end);
        }
        let elapsed = begun.elapsed();
        let come = wait.times.iter().filter(|(_, time)| *time <= elapsed);
        end.news.times = come.map(|(place, _)| *place).collect();
    }

    /// An exchange is over, or one that was given up has been dropped.
    fn note(&mut self, joined: Joined, clock: &Clock, end: &mut End) {
        let (number, answered) = match joined {
            Ok((number, answered)) => (number, answered.map_err(|failure| error_of(&failure))),
            Err(error) => {
                let is_of = |sent: &Sent| sent.task.id() == error.id();
                let found = self.all.iter().find(|(_, it)| it.sent.as_ref().is_some_and(is_of));
                let Some((number, _)) = found else { return };
                tracing::error!(%error, "sending a request of a guest has failed: the host has a defect");
                let text = "the host has a defect".to_owned();
                (*number, Err(HttpError { kind: HttpErrorKind::Broken, text }))
            }
        };
        let Some(Exchange { seq, sent: Some(sent), .. }) = self.all.remove(&number) else { return };
        let answer = answered.map(response_of);
        let mut record = sent.record;
        record.duration = clock.monotonic().saturating_sub(sent.since);
        (record.outcome, record.received) = match &answer {
            Ok(response) => (EffectOutcome::Answered, response.size()),
            Err(error) => (EffectOutcome::Failed(error.kind.failure()), error.text.len() as u64),
        };
        end.news.ended.push((number, answer));
        end.records.push((seq, Some(record)));
    }
}

type Joined = Result<(u32, Result<EgressResponse, EgressFailure>), JoinError>;

fn egress_request(request: &HttpRequest) -> EgressRequest {
    let HttpRequest { method, url, headers, body, patience } = request;
    let most = EgressTimes::default();
    let headers = headers.iter().map(|(name, value)| (name.clone(), value.to_vec()));
    EgressRequest {
        headers: headers.collect(),
        body: body.clone(),
        times: EgressTimes {
            connect: patience.connect.unwrap_or(most.connect),
            first_byte: patience.first_byte.unwrap_or(most.first_byte),
            between_bytes: patience.between_bytes.unwrap_or(most.between_bytes),
            ..most
        },
        ..EgressRequest::new(method, url)
    }
}

fn response_of(response: EgressResponse) -> HttpResponse {
    let EgressResponse { status, headers, body, .. } = response;
    let headers = headers.into_iter().map(|(name, value)| (name, value.into())).collect();
    HttpResponse { status, headers, body }
}

fn error_of(failure: &EgressFailure) -> HttpError {
    let kind = match &failure.error {
        EgressError::NotAllowed { .. }
        | EgressError::UnknownSecret { .. }
        | EgressError::SecretNotForHost { .. }
        | EgressError::SecretNeedsTls { .. } => HttpErrorKind::NotAllowed,
        EgressError::InvalidUrl(_)
        | EgressError::InvalidMethod
        | EgressError::InvalidHeader { .. }
        | EgressError::UrlTooLong
        | EgressError::HeadersTooLarge
        | EgressError::BodyTooLarge => HttpErrorKind::Invalid,
        EgressError::PrivateAddress { .. } => HttpErrorKind::PrivateAddress,
        EgressError::UnknownHost { .. } => HttpErrorKind::UnknownHost,
        EgressError::Busy | EgressError::OutOfMemory => HttpErrorKind::Busy,
        EgressError::Unreachable { .. } => HttpErrorKind::Unreachable,
        EgressError::Insecure { .. } => HttpErrorKind::Tls,
        EgressError::TimedOut { .. } => HttpErrorKind::TimedOut,
        EgressError::ResponseHeadersTooLarge | EgressError::ResponseTooLarge { .. } => {
            HttpErrorKind::TooLarge
        }
        EgressError::Broken { .. }
        | EgressError::CompressedResponse { .. }
        | EgressError::InvalidRedirect
        | EgressError::TooManyRedirects
        | EgressError::Host => HttpErrorKind::Broken,
    };
    HttpError { kind, text: failure.to_string() }
}

fn unknown_outcome() -> HttpError {
    let text = "the host ended in the middle of this request: nobody knows whether it has arrived, and it is none \
                that is sent twice (a header `idempotency-key` would say that it may be)";
    HttpError { kind: HttpErrorKind::UnknownOutcome, text: text.to_owned() }
}
