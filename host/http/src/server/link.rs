//! What a connection waits for, and for how long it may.
//!
//! ```text
//!  First ──request──▶ Busy ──all answers written──▶ Idle ──first byte (HTTP/1)──▶ Head ──request──▶ Busy
//! ```
//! `First`: a client that has connected owes a whole request within [`ClientTimeouts::head`], whatever version
//! of HTTP it speaks, and whether or not it has said which. `Idle`: between requests it may wait for
//! [`ClientTimeouts::idle`]. `Head`: what it has begun it finishes within [`ClientTimeouts::head`] of the first byte;
//! with HTTP/2 other bytes than those of requests come as well, and only the time since the last
//! answer counts. `Busy`: the host works, or the client reads. A piece of an answer that the connection
//! has taken is on its way to the client within [`ClientTimeouts::stall`]; with HTTP/2 a client can hold back
//! one answer and read another, so each piece has a time of its own.
//!
//! By HTTP/2 a client may send a bounded number of frames that no request accounts for: the [`Allowance`].
//!
//! A [`Connection`] is shared by the socket, the answers and the task of one connection. It only counts;
//! the task ends the connection.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Sleep;

use super::frames::Allowance;

use dormouse::Clock;

/// How often a busy connection is looked at within the time that its client has to read something.
const LOOKS: u32 = 4;

/// How long a client may leave the host waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientTimeouts {
    /// For a whole head of a request.
    pub(super) head: Duration,
    /// Between requests.
    pub(super) idle: Duration,
    /// To take a piece of an answer.
    pub(super) stall: Duration,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    clock: Clock,
    limits: ClientTimeouts,
    /// Requests whose answers are not written yet.
    under_way: AtomicUsize,
    /// Requests since the beginning.
    requests: AtomicU64,
    /// The last request came by HTTP/2.
    multiplexed: AtomicBool,
    /// A byte has come since the last answer was written.
    begun: AtomicBool,
    /// Since when the host has had nothing to do for it: milliseconds of the clock.
    idle_since: AtomicU64,
    unsent: Mutex<Unsent>,
    allowance: Mutex<Allowance>,
    dismissed: Notify,
}

/// The pieces of answers that the connection holds, each with the time when it took it. In the order
/// of their names, which is that of the times.
#[derive(Debug, Default)]
struct Unsent {
    next: u64,
    since: BTreeMap<u64, u64>,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    First,
    Idle,
    Head,
    Busy,
}

impl Connection {
    pub(super) fn new(clock: Clock, limits: ClientTimeouts) -> Connection {
        let now = millis(clock.monotonic());
        Connection {
            clock,
            limits,
            under_way: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            idle_since: AtomicU64::new(now),
            unsent: Mutex::default(),
            allowance: Mutex::new(Allowance::new(now)),
            dismissed: Notify::new(),
        }
    }

    /// A whole head of a request has come.
    pub(super) fn request_came(&self, multiplexed: bool) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.multiplexed.store(multiplexed, Ordering::Relaxed);
        self.begun.store(false, Ordering::Relaxed);
        self.allowance().requested();
    }

    /// An answer has been handed over, or is not wanted any more.
    pub(super) fn answered(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Bytes have come.
    pub(super) fn received(&self) {
        if self.under_way.load(Ordering::Relaxed) == 0 {
            self.begun.store(true, Ordering::Relaxed);
        }
    }

    /// So many frames have come that no request accounts for. Returns whether the client may send them.
    pub(super) fn may_send(&self, frames: u64) -> bool {
        frames == 0 || self.allowance().spend(self.now(), frames)
    }

    /// The connection has taken a piece of an answer, of so many bytes. Returns a name for it, for
    /// [`Connection::sent`].
    pub(super) fn took(&self, bytes: usize) -> u64 {
        self.allowance().answered(bytes);
        let now = self.now();
        let mut unsent = self.unsent();
        unsent.next += 1;
        let piece = unsent.next;
        unsent.since.insert(piece, now);
        piece
    }

    /// The connection holds this piece no more.
    pub(super) fn sent(&self, piece: u64) {
        self.unsent().since.remove(&piece);
    }

    /// Since when the host has been waiting for this client: milliseconds of the clock, and `None`
    /// while the client waits for the host.
    pub(super) fn waits_since(&self) -> Option<u64> {
        let idle = self.under_way.load(Ordering::Relaxed) == 0;
        let idle_since = idle.then(|| self.idle_since.load(Ordering::Relaxed));
        self.unsent_since().or(idle_since)
    }

    /// Ask the connection to end, because its place is needed. One that has become busy goes on.
    pub(super) fn dismiss(&self) {
        self.dismissed.notify_one();
    }

    /// Returns when the connection is to end, because its place is needed.
    pub(super) async fn dismissed(&self) {
        loop {
            self.dismissed.notified().await;
            if self.waits_since().is_some() {
                return;
            }
        }
    }

    /// Returns when the client has left the host waiting for too long.
    pub(super) async fn expired(&self) {
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        let mut armed = None;
        std::future::poll_fn(|cx| self.poll_expired(&mut armed, sleep.as_mut(), cx)).await;
    }

    /// The task of the connection comes here whenever something has happened to the connection.
    fn poll_expired(
        &self,
        armed: &mut Option<(Phase, u64)>,
        mut sleep: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let now = (self.phase(), self.requests.load(Ordering::Relaxed));
            if *armed != Some(now) {
                *armed = Some(now);
                sleep.set(tokio::time::sleep(self.patience(now.0)));
            }
            ready!(sleep.as_mut().poll(cx));
            if now.0 != Phase::Busy || self.stalls() {
                return Poll::Ready(());
            }
            *armed = None;
        }
    }

    fn phase(&self) -> Phase {
        if self.under_way.load(Ordering::Relaxed) > 0 || self.unsent_since().is_some() {
            return Phase::Busy;
        }
        match self.requests.load(Ordering::Relaxed) {
            0 => Phase::First,
            _ if self.multiplexed.load(Ordering::Relaxed) => Phase::Idle,
            _ if self.begun.load(Ordering::Relaxed) => Phase::Head,
            _ => Phase::Idle,
        }
    }

    fn patience(&self, phase: Phase) -> Duration {
        match phase {
            Phase::First | Phase::Head => self.limits.head,
            Phase::Idle => self.limits.idle,
            Phase::Busy => self.limits.stall / LOOKS,
        }
    }

    /// Whether there is a piece that the client has not taken for too long.
    fn stalls(&self) -> bool {
        let stall = millis(self.limits.stall);
        self.unsent_since().is_some_and(|since| self.now().saturating_sub(since) >= stall)
    }

    /// When the connection took the oldest piece that it holds.
    fn unsent_since(&self) -> Option<u64> {
        self.unsent().since.first_key_value().map(|(_, since)| *since)
    }

    fn now(&self) -> u64 {
        millis(self.clock.monotonic())
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
