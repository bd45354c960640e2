//! Holds what a host has told and billed against what its provider was asked.

use std::collections::BTreeMap;

use dormouse_tests::provider::Asked;
use dormouse_tests::{Client, ProviderServer};
use serde_json::{Value, json};

use super::{Ended, Player, number, question};

/// What an answer costs, in billionths of a dollar: a hundred tokens of a request and fifty of an answer.
const ANSWER: i64 = 100 * 10_000 + 50 * 100_000;
/// How often a call is begun, and a turn without coming further.
const ATTEMPTS: usize = 3;

/// What the provider was asked, by what was asked.
pub(super) struct Judge {
    asked: BTreeMap<String, Vec<Asked>>,
    answered: Vec<usize>,
    findings: Findings,
}

/// What was found, each of it allowed.
#[derive(Debug, Default)]
struct Findings {
    turns: usize,
    /// Turns in the middle of which hosts have ended too often.
    crashed_turns: usize,
    /// Calls whose answers were told.
    answers: usize,
    /// Calls that were begun too often without an answer.
    given_up: usize,
    /// Requests that had no answer when their host was killed.
    cut_off: usize,
    /// Requests that were answered, and whose host was killed before it had noted that.
    lost_answers: usize,
    /// Calls that were noted, and whose host was killed before it had asked.
    never_sent: usize,
}

/// The lines of a bill for one call.
type Lines = Vec<Value>;

impl Judge {
    pub(super) fn new(provider: &ProviderServer) -> Judge {
        let all = provider.asked();
        nothing_is_asked_again_once_the_next_was_asked(&all);
        let mut asked: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
        for one in all {
            asked.entry(one.text.clone()).or_default().push(one);
        }
        Judge { asked, answered: provider.answered_numbers(), findings: Findings::default() }
    }

    /// Judge all that was told and billed. Says what was found.
    pub(super) async fn sentence(mut self, client: &Client, players: &[Player]) -> String {
        self.answered.sort_unstable();
        let (mut cost, mut tokens) = (0, 0);
        for player in players {
            let mut bill = Bill::read(client, &player.id).await;
            for (ended, turn) in player.turns.iter().zip(1..) {
                self.judge_turn(player, ended, turn, &mut bill);
            }
            assert!(
                bill.calls.is_empty(),
                "{}: nobody has made these: {:?}",
                player.name,
                bill.calls
            );
            cost += bill.cost;
            tokens += bill.tokens;
        }
        assert!(self.asked.is_empty(), "no bill has these: {:?}", self.asked.keys());
        let (_, summary) = client.get("/api/sessions/stats/summary").await.unwrap();
        let total = summary["totalCost"].as_f64().unwrap() * 1e9;
        assert_eq!((total.round(), &summary["totalTokens"]), (cost as f64, &json!(tokens)));
        format!("{:?}", self.findings)
    }

    fn judge_turn(&mut self, player: &Player, ended: &Ended, turn: usize, bill: &mut Bill) {
        self.findings.turns += 1;
        let call = |seq: u64| {
            let asked = self.asked.remove(&question(&player.name, turn, seq)).unwrap_or_default();
            let lines = bill.calls.remove(&(turn as u64, seq)).unwrap_or_default();
            (asked, lines)
        };
        match ended {
            Ended::Answered(told) => {
                let calls: Vec<_> = (1..=told.len() as u64).map(call).collect();
                for ((asked, lines), told) in calls.iter().zip(told) {
                    self.judge_call(asked, lines, Some(told));
                }
            }
            Ended::Crashed(asks) => {
                self.findings.crashed_turns += 1;
                let calls: Vec<_> = (1..=*asks).map(call).collect();
                let mut made = calls.iter().take_while(|(_, lines)| !lines.is_empty()).peekable();
                while let Some((asked, lines)) = made.next() {
                    let is_last = made.peek().is_none();
                    let is_answered =
                        lines.last().is_some_and(|line| line["outcome"] == "answered");
                    // A call that hosts were killed in as often as it may be begun is given up, and its guest is told.
                    let is_given_up = lines.len() == ATTEMPTS;
                    assert!(
                        is_answered || is_given_up || is_last,
                        "it went on without an answer: {lines:?}"
                    );
                    self.judge_call(asked, lines, None);
                }
                let unmade = calls.iter().skip_while(|(_, lines)| !lines.is_empty());
                for (asked, lines) in unmade {
                    assert!(asked.is_empty() && lines.is_empty(), "{asked:?} {lines:?}");
                }
            }
        }
    }

    /// One call: what was asked for it, its lines in the bill, and what was told of it where anything was.
    fn judge_call(&mut self, asked: &[Asked], lines: &[Value], told: Option<&Value>) {
        let context = || format!("{asked:?}\n{lines:?}\n{told:?}");
        let attempts = lines.iter().map(|line| line["attempt"].as_u64().unwrap());
        assert!(attempts.eq(1..=lines.len() as u64), "{}", context());
        assert!(asked.len() <= lines.len() && lines.len() <= ATTEMPTS, "{}", context());
        self.findings.never_sent += lines.len() - asked.len();
        let (lost, answer) = match lines.split_last() {
            Some((last, lost)) if last["outcome"] == "answered" => (lost, Some(last)),
            Some(_) | None => (lines, None),
        };
        for line in lost {
            assert_eq!((&line["outcome"], &line["bill"]), (&json!("unknown"), &json!("unknown")));
            assert!(line["costNanoUsd"].as_i64().unwrap() > ANSWER, "{}", context());
        }
        let lost_requests = match (answer, asked.split_last()) {
            (Some(answer), Some((paid, lost))) => {
                assert_eq!(
                    (&answer["bill"], &answer["costNanoUsd"]),
                    (&json!("exact"), &json!(ANSWER))
                );
                if let Some(told) = told {
                    assert_eq!(told["answer"], number(paid.number), "{}", context());
                }
                self.findings.answers += 1;
                lost
            }
            (None, _) => {
                let is_given_up =
                    lines.len() == ATTEMPTS && told.is_some_and(|told| told["error"].is_string());
                assert!(told.is_none() || is_given_up, "{}", context());
                self.findings.given_up += usize::from(is_given_up);
                asked
            }
            (Some(_), None) => panic!("nobody was asked: {}", context()),
        };
        for request in lost_requests {
            match self.answered.binary_search(&request.number) {
                Ok(_) => self.findings.lost_answers += 1,
                Err(_) => self.findings.cut_off += 1,
            }
        }
    }
}

/// Each host goes on where the one before it was killed: it asks again at most what that one asked last, because only
/// of that the answer may not have been noted.
fn nothing_is_asked_again_once_the_next_was_asked(asked: &[Asked]) {
    /// The host that asks, the turn, and the call in it.
    type Place = (u64, u64, u64);
    let mut last: BTreeMap<&str, Place> = BTreeMap::new();
    for one in asked {
        let (session, place) = one.text.split_once(" turn ").unwrap();
        let (turn, call) = place.split_once(" call ").unwrap();
        let host = one.path.split('/').nth(1).unwrap().parse().unwrap();
        let place: Place = (host, turn.parse().unwrap(), call.parse().unwrap());
        if let Some((before, turn, call)) = last.insert(session, place) {
            let (done, next) = ((turn, call), (place.1, place.2));
            let is_next = next > done && (next == (turn, call + 1) || next == (turn + 1, 1));
            // Others may have got no answer because their hosts were killed.
            let was_killed = host > before;
            assert!(host >= before, "{one:?} after {before}");
            assert!(is_next || (was_killed && next >= done), "{one:?} after {done:?} of {before}");
        }
    }
}

/// What a session was billed.
struct Bill {
    /// The lines of each call, by its turn and its place in it.
    calls: BTreeMap<(u64, u64), Lines>,
    /// In billionths of a dollar.
    cost: i64,
    tokens: u64,
}

impl Bill {
    /// Read it, and add it up.
    async fn read(client: &Client, id: &str) -> Bill {
        let (mut calls, mut after) = (BTreeMap::<_, Lines>::new(), json!(0));
        let (mut cost, mut count, mut tokens) = (0, 0, 0);
        let mut totals = Value::Null;
        while after.is_number() {
            let path = format!("/api/sessions/{id}/usage?limit=200&after={after}");
            let (status, page) = client.get(&path).await.unwrap();
            assert_eq!(status, 200, "{page}");
            for line in page["lines"].as_array().unwrap() {
                cost += line["costNanoUsd"].as_i64().unwrap();
                if line["kind"] == "model" {
                    count += 1;
                    let of = |kind| line["tokens"][kind].as_u64().unwrap();
                    tokens += of("input") + of("output");
                    let of = |name| line[name].as_u64().unwrap();
                    calls.entry((of("turn"), of("seq"))).or_default().push(line.clone());
                }
            }
            (after, totals) = (page["next"].clone(), page["totals"].clone());
        }
        let told = (&totals["costNanoUsd"], &totals["calls"]);
        assert_eq!(told, (&json!(cost), &json!(count)), "{id}: its lines do not add up");
        let of = |kind: &str| totals[kind].as_u64().unwrap();
        assert_eq!(of("inputTokens") + of("outputTokens"), tokens, "{totals}");
        Bill { calls, cost, tokens }
    }
}
