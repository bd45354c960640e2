//! What a client sends by HTTP/2 that no request accounts for.
//!
//! The host has to take apart each frame, and to answer some, however small it is: a client could keep it
//! busy with PING, SETTINGS, PRIORITY, WINDOW_UPDATE, frames of no known kind, and DATA without data. h2
//! bounds what belongs to a request: the head with its CONTINUATION, streams that are refused, and those
//! that are reset. It does not bound the others. So [`Frames`] finds the frames in the bytes that come, and
//! an [`Allowance`] says how many a connection may send: some to begin with, some for each request and for
//! what is sent of its answer, and a few each second. A client whose connection has spent its allowance
//! loses the connection.

/// What a client that speaks HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The head of a frame, in bytes: length, kind, flags, stream.
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// Bytes of a payload that count as much as a frame.
const PAYLOAD: usize = 64;

/// Frames with which a connection begins, and which it comes back to with time.
const FIRST: u64 = 256;
/// The most that a connection has, after many requests and large answers.
const MOST: u64 = 1024;
/// How many come back in a second: clients send a PING every few seconds, and answer those of the host.
const EACH_SECOND: u64 = 10;
/// What each request accounts for: its window, its priority, its reset.
const REQUEST: u64 = 8;
/// What a piece of an answer accounts for, however small it is: two windows, and a PING that measures.
const PIECE: u64 = 4;
/// Bytes of answers that account for one more. The smallest frame of a full window has eight times as many,
/// and two windows are updated for it.
const ANSWERED: u64 = 2 << 10;

/// Finds the frames in the bytes of a connection.
#[derive(Debug)]
pub(super) struct Frames(State);

#[derive(Debug)]
enum State {
    /// So many bytes have come, and all of them are those of the preface.
    Preface(usize),
    /// The client does not speak HTTP/2.
    Other,
    /// So many bytes of a head have come.
    Head([u8; HEAD], usize),
    /// So many bytes of a payload are to come.
    Payload(usize),
}

impl Frames {
    /// Of a connection by which nothing has come.
    pub(super) fn new() -> Frames {
        Frames(State::Preface(0))
    }

    /// How many frames have come with these bytes for which no request accounts.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> u64 {
        let mut count = 0;
        while !bytes.is_empty() {
            let (taken, next) = match &mut self.0 {
                State::Other => return count,
                State::Preface(had) => after_preface(*had, bytes),
                State::Payload(left) => {
                    let taken = bytes.len().min(*left);
                    (taken, payload(*left - taken))
                }
                State::Head(head, had) => {
                    let taken = bytes.len().min(HEAD - *had);
                    head[*had..*had + taken].copy_from_slice(&bytes[..taken]);
                    if *had + taken < HEAD {
                        (taken, State::Head(*head, *had + taken))
                    } else {
                        count += cost(head);
                        (taken, payload(length(head)))
                    }
                }
            };
            self.0 = next;
            bytes = &bytes[taken..];
        }
        count
    }
}

/// How much of `bytes` belongs to a preface of which so much has come, and what follows.
fn after_preface(had: usize, bytes: &[u8]) -> (usize, State) {
    let taken = bytes.len().min(PREFACE.len() - had);
    if bytes[..taken] != PREFACE[had..had + taken] {
        return (taken, State::Other);
    }
    let had = had + taken;
    (taken, if had < PREFACE.len() { State::Preface(had) } else { payload(0) })
}

fn payload(left: usize) -> State {
    if left > 0 { State::Payload(left) } else { State::Head([0; HEAD], 0) }
}

fn length(head: &[u8; HEAD]) -> usize {
    head[..3].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// What a frame counts for.
fn cost(head: &[u8; HEAD]) -> u64 {
    let (length, [_, _, _, kind, flags, ..]) = (length(head), *head);
    match kind {
        // h2 ends a connection that opens, or ends, more streams than it may.
        HEADERS => 0,
        DATA if flags & END_STREAM != 0 || length >= PAYLOAD => 0,
        // h2 bounds the bytes of a head.
        DATA | CONTINUATION => 1,
        _ => 1 + (length / PAYLOAD) as u64,
    }
}

/// How many frames a connection may send that no request accounts for.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u64,
    /// When frames came back last: milliseconds of a clock.
    since: u64,
}

impl Allowance {
    /// That of a connection that begins now.
    pub(super) fn new(now: u64) -> Allowance {
        Allowance { left: FIRST, since: now }
    }

    /// A request has come.
    pub(super) fn requested(&mut self) {
        self.gain(REQUEST);
    }

    /// A piece of an answer of so many bytes is sent.
    pub(super) fn answered(&mut self, bytes: usize) {
        self.gain(PIECE + bytes as u64 / ANSWERED);
    }

    fn gain(&mut self, frames: u64) {
        self.left = (self.left + frames).min(MOST);
    }

    /// So many have come. Returns whether that is within what the connection may send.
    pub(super) fn spend(&mut self, now: u64, frames: u64) -> bool {
        let back = now.saturating_sub(self.since).saturating_mul(EACH_SECOND) / 1000;
        if back > 0 {
            // What is left of a frame's time counts for the next one.
            self.since += back * 1000 / EACH_SECOND;
            self.left = self.left.max(self.left.saturating_add(back).min(FIRST));
        }
        let left = self.left.checked_sub(frames);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [_, bytes @ ..] = u32::try_from(length).unwrap().to_be_bytes();
        [&bytes[..], &[kind, flags, 0, 0, 0, 1], &vec![0; length]].concat()
    }

    #[test]
    fn frames_are_found_wherever_the_bytes_are_cut() {
        let frames = [
            (frame(4, 0, 6), 1),
            (frame(HEADERS, 4, 300), 0),
            (frame(DATA, 0, 0), 1),
            (frame(DATA, 0, 500), 0),
            (frame(DATA, END_STREAM, 0), 0),
            (frame(PING, 0, 8), 1),
            (frame(CONTINUATION, 0, 16_384), 1),
            (frame(0xfa, 0, 16_384), 257),
        ];
        let bytes = [&PREFACE[..], &frames.clone().map(|(bytes, _)| bytes).concat()].concat();
        let sum: u64 = frames.iter().map(|(_, count)| count).sum();
        for cut in [1, 2, 7, 9, 24, 25, 1000, bytes.len()] {
            let mut reader = Frames::new();
            let found: u64 = bytes.chunks(cut).map(|piece| reader.read(piece)).sum();
            assert_eq!(found, sum, "cut every {cut} bytes");
        }
    }

    #[test]
    fn what_is_no_http2_has_no_frames() {
        for begin in ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r!"] {
            let mut reader = Frames::new();
            assert_eq!(reader.read(begin.as_bytes()), 0);
            assert_eq!(reader.read(&frame(PING, 0, 8).repeat(100)), 0, "{begin}");
        }
    }

    #[test]
    fn a_ping_each_second_may_go_on_for_days() {
        let mut allowance = Allowance::new(0);
        let all_may = (0..1_000_000).all(|second| allowance.spend(second * 1000, 1));
        assert!(all_may);
        // However often the clock is looked at.
        let all_may = (0..100_000).all(|tenth| allowance.spend(1_000_000_000 + tenth * 125, 1));
        assert!(all_may);
        assert!((0..=FIRST).any(|_| !allowance.spend(2_000_000_000, 1)), "a flood may not");
    }

    #[test]
    fn a_client_that_updates_its_windows_for_each_frame_that_it_reads_goes_on() {
        let mut allowance = Allowance::new(0);
        for _ in 0..1000 {
            allowance.requested();
            for _ in 0..100 {
                allowance.answered(64 << 10);
                // Four frames, and for each the window of its stream and that of the connection.
                assert!(allowance.spend(0, 8));
            }
            assert!(allowance.spend(0, 1), "a reset");
        }
    }
}
