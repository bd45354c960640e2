//! The exchanges of a guest in the call that runs: how far each is, and which pollable waits for which.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;

use super::body::{BodyState, RequestBody, ResponseBody, WeakBody};
use super::fields::{Fields, too_much};
use super::held::{Held, HeldPart};
use dormouse_base::clock::RealMoment;
use dormouse_domain::http::{
    HttpAnswer, HttpError, HttpErrorKind, HttpNews, HttpPatience, HttpRequest, HttpResponse,
    HttpWait, MAX_EXCHANGES,
};

/// Bodies of responses that are remembered before those are forgotten that the guest has dropped.
const MANY_BODIES: usize = 64;

/// What the host knows of the HTTP of one guest.
#[derive(Default)]
pub(crate) struct HttpState {
    pub(in crate::imports) held: Held,
    /// Which call runs: what is left of an earlier one is known by it.
    call: u64,
    /// The number of the exchange that was begun last in it.
    last: u32,
    exchanges: BTreeMap<u32, Exchange>,
    /// Exchanges that the guest has given up since it has waited last.
    given_up: Vec<u32>,
    /// What pollables wait for, by their places among the resources, where that is no stream.
    waits: HashMap<u32, Wait>,
    /// What the guest may read of responses.
    bodies: Vec<WeakBody>,
}

/// How far an exchange is.
enum Exchange {
    /// The guest has made the request, and may still write its body.
    Made(Made),
    UnderWay,
    /// It is over, and the guest has not taken what came of it.
    Over {
        answer: HttpAnswer,
        _held: HeldPart,
    },
}

/// A request that has not left.
pub(super) struct Made {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Fields,
    pub(super) body: Option<RequestBody>,
    pub(super) patience: HttpPatience,
    pub(super) _held: HeldPart,
}

/// What a pollable waits for.
#[derive(Clone, Copy)]
pub(in crate::imports) enum Wait {
    /// An exchange: the call that it was begun in, and its number there.
    Exchange { call: u64, number: u32 },
    /// A time.
    Time(RealMoment),
}

/// What came of an exchange, where its guest asks.
pub(super) enum Arrived {
    /// Nothing yet.
    NotYet,
    /// The call is over in which it was begun.
    Late,
    Answer(HttpAnswer),
}

/// What there is of the things that a guest waits for, by their places in its list.
#[derive(Default)]
pub(super) struct View {
    /// Exchanges that are over.
    pub(super) over: Vec<u32>,
    /// How many exchanges have left, or can leave.
    pub(super) pending: usize,
    /// Exchanges whose requests the guest still writes, by their numbers.
    pub(super) unfinished: Vec<u32>,
    /// Times, and how long it is until then.
    pub(super) times: Vec<(u32, Duration)>,
    /// What is always ready.
    pub(super) ready: Vec<u32>,
}

impl HttpState {
    /// A call begins.
    pub(crate) fn begin_call(&mut self) {
        self.call += 1;
        self.last = 0;
    }

    /// A call is over, and with it each of its exchanges.
    pub(crate) fn end_call(&mut self) {
        self.exchanges.clear();
        self.given_up.clear();
        self.bodies.drain(..).filter_map(|body| body.upgrade()).for_each(|body| body.clear());
    }

    /// Bytes of memory that the host holds for it.
    pub(crate) fn kept(&self) -> u64 {
        self.held.bytes()
    }

    /// Whether an exchange has left, and has not come back.
    pub(super) fn is_under_way(&self) -> bool {
        self.exchanges.values().any(|exchange| matches!(exchange, Exchange::UnderWay))
    }

    /// Which call runs.
    pub(super) fn call(&self) -> u64 {
        self.call
    }

    /// Begin an exchange. `None`: too many are under way.
    pub(super) fn make(&mut self, made: Made) -> Option<u32> {
        let is_open = |exchange: &&Exchange| !matches!(exchange, Exchange::Over { .. });
        if self.exchanges.values().filter(is_open).count() >= MAX_EXCHANGES {
            return None;
        }
        self.last += 1;
        self.exchanges.insert(self.last, Exchange::Made(made));
        Some(self.last)
    }

    /// The guest does not want to know what comes of an exchange.
    pub(super) fn give_up(&mut self, call: u64, number: u32) {
        if call != self.call {
            return;
        }
        if let Some(Exchange::UnderWay) = self.exchanges.remove(&number) {
            self.given_up.push(number);
        }
    }

    /// A pollable at this place waits for this.
    pub(in crate::imports) fn note_wait(&mut self, pollable: u32, wait: Wait) {
        self.waits.insert(pollable, wait);
    }

    /// The pollable at this place is no more.
    pub(in crate::imports) fn forget_wait(&mut self, pollable: u32) {
        self.waits.remove(&pollable);
    }

    /// What came of an exchange. The guest is told once.
    pub(super) fn take_arrived(&mut self, call: u64, number: u32) -> Arrived {
        if call != self.call {
            return Arrived::Late;
        }
        match self.exchanges.remove(&number) {
            Some(Exchange::Over { answer, .. }) => Arrived::Answer(answer),
            Some(exchange) => {
                self.exchanges.insert(number, exchange);
                Arrived::NotYet
            }
            None => Arrived::Late,
        }
    }

    /// The body of a response, for the guest to read in this call.
    pub(super) fn body(&mut self, bytes: Bytes) -> wasmtime::Result<ResponseBody> {
        let mut held = self.held.part();
        held.grow(bytes.len()).map_err(too_much)?;
        let body = ResponseBody::new(bytes, held);
        if self.bodies.len() >= MANY_BODIES {
            self.bodies.retain(|body| body.upgrade().is_some());
        }
        self.bodies.push(body.downgrade());
        Ok(body)
    }

    /// What there is of what these pollables wait for.
    pub(super) fn look(&mut self, pollables: &[u32]) -> View {
        let mut view = View::default();
        for (place, pollable) in (0..).zip(pollables) {
            match self.waits.get(pollable) {
                None => view.ready.push(place),
                Some(Wait::Time(at)) => {
                    view.times.push((place, at.left()));
                }
                Some(Wait::Exchange { call, number }) => {
                    let exchange = self.exchanges.get(number).filter(|_| *call == self.call);
                    match exchange {
                        // What is taken, or of an earlier call, has come.
                        None | Some(Exchange::Over { .. }) => view.over.push(place),
                        Some(Exchange::UnderWay) => view.pending += 1,
                        Some(Exchange::Made(made)) => match made.state() {
                            BodyState::Open => view.unfinished.push(*number),
                            BodyState::Finished | BodyState::GivenUp => view.pending += 1,
                        },
                    }
                }
            }
        }
        view
    }

    /// These exchanges never leave: their guest waits for them, and for nothing else, and has not finished their bodies.
    pub(super) fn refuse_unfinished(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.refuse(*number, "the guest waits for an answer before it has finished the body");
        }
    }

    fn refuse(&mut self, number: u32, why: &str) {
        let error = HttpError { kind: HttpErrorKind::Invalid, text: why.to_owned() };
        self.exchanges
            .insert(number, Exchange::Over { answer: Err(error), _held: self.held.part() });
    }

    /// The guest waits: what can leave leaves. Requests without the end of their bodies are over.
    pub(super) fn leave(&mut self, times: Vec<(u32, Duration)>, is_look: bool) -> HttpWait {
        let made = |(number, exchange): (&u32, &Exchange)| match exchange {
            Exchange::Made(made) => Some((*number, made.state())),
            Exchange::UnderWay | Exchange::Over { .. } => None,
        };
        let states: Vec<(u32, BodyState)> = self.exchanges.iter().filter_map(made).collect();
        let mut send = Vec::new();
        for (number, state) in states {
            match state {
                BodyState::Open => {}
                BodyState::GivenUp => {
                    self.refuse(number, "its guest has given up the body of the request");
                }
                BodyState::Finished => {
                    let left = self.exchanges.insert(number, Exchange::UnderWay);
                    if let Some(Exchange::Made(made)) = left {
                        send.push((number, made.request()));
                    }
                }
            }
        }
        HttpWait { send, given_up: std::mem::take(&mut self.given_up), times, is_look }
    }

    /// What has ended a wait.
    ///
    /// # Errors
    /// A trap: it is more than is held for a guest.
    pub(super) fn take(&mut self, news: HttpNews) -> wasmtime::Result<()> {
        for (number, answer) in news.ended {
            let Some(exchange @ Exchange::UnderWay) = self.exchanges.get_mut(&number) else {
                continue;
            };
            let mut held = self.held.part();
            let bytes = answer.as_ref().map_or(0, HttpResponse::size);
            held.grow(usize::try_from(bytes).unwrap_or(usize::MAX)).map_err(too_much)?;
            *exchange = Exchange::Over { answer, _held: held };
        }
        Ok(())
    }
}

impl Made {
    fn state(&self) -> BodyState {
        self.body.as_ref().map_or(BodyState::Finished, RequestBody::state)
    }

    fn request(self) -> HttpRequest {
        let Made { method, url, headers, body, patience, _held } = self;
        let body = body.map_or_else(Bytes::new, |body| body.take());
        HttpRequest { method, url, headers: headers.into_entries(), body, patience }
    }
}
