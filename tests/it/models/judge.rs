//! Holds what a turn has told and what it was billed against what its provider was asked.

use std::collections::BTreeMap;

use dormouse::{
    Bill, BillSums, EffectFailure, EffectOutcome, EffectRecord, Principal, SessionHandle,
    StatisticsQuery,
};
use dormouse_tests::ProviderServer;
use dormouse_tests::provider::Asked;

use super::ANSWER;

/// The requests of a provider, by what was asked.
pub(super) fn asked(provider: &ProviderServer) -> BTreeMap<String, Vec<Asked>> {
    let mut asked: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
    for one in provider.asked() {
        asked.entry(one.text.clone()).or_default().push(one);
    }
    asked
}

/// Each call of a turn that asks these things is told the last answer of its provider, which was paid for once, and
/// each request stands in the bill. Answers with how many lines nobody knows the outcome of, and how many requests
/// less than lines there were.
pub(super) fn judge(
    questions: &[String],
    told: &[String],
    lines: &[EffectRecord],
    asked: &BTreeMap<String, Vec<Asked>>,
) -> (usize, usize) {
    assert_eq!(told.len(), questions.len(), "{lines:?}");
    let (mut unknown, mut unsent) = (0, 0);
    for ((seq, question), told) in (1..).zip(questions).zip(told) {
        let lines: Vec<_> = lines.iter().filter(|line| line.seq == seq).collect();
        let requests = asked.get(question).map_or(&[][..], Vec::as_slice);
        let context = || format!("{question}: {requests:?}\n{lines:?}");
        assert!(lines.iter().map(|line| line.attempt).eq(1..=lines.len() as u32), "{}", context());
        let (paid, others) = lines.split_last().unwrap();
        assert_eq!(
            (paid.outcome, paid.bill, paid.cost),
            (EffectOutcome::Answered, Bill::Exact, ANSWER)
        );
        let last = requests.last().unwrap();
        assert_eq!(*told, format!("number {}", last.number), "{}", context());
        for line in others {
            match (line.outcome, line.bill) {
                (EffectOutcome::Unknown, Bill::Unknown) => unknown += 1,
                (EffectOutcome::Failed(EffectFailure::Overloaded), Bill::Free) => {
                    assert_eq!(line.cost.0, 0);
                    continue;
                }
                (EffectOutcome::Failed(EffectFailure::Unavailable), Bill::Unknown) => {}
                other => panic!("{other:?}: {}", context()),
            }
            assert!(line.cost > ANSWER, "what was reserved is paid: {}", context());
        }
        assert!(requests.len() <= lines.len(), "{}", context());
        unsent += lines.len() - requests.len();
    }
    (unknown, unsent)
}

/// The bills of all these sessions add up to their totals, and these to the statistics of their owner.
pub(super) async fn adds_up(sessions: &dormouse::Sessions, all: &[SessionHandle]) {
    let (mut cost, mut tokens) = (dormouse::NanoUsd(0), 0);
    for session in all {
        let usage = session.usage(0, 1_000).await.unwrap();
        let sums: BillSums = usage.lines.entries.iter().map(BillSums::from).sum();
        let totals = usage.totals;
        assert_eq!((sums.cost, sums.fuel, sums.calls), (totals.cost, totals.fuel, totals.calls));
        assert_eq!(
            sums.tokens.input + sums.tokens.output,
            totals.input_tokens + totals.output_tokens
        );
        cost += totals.cost;
        tokens += totals.input_tokens + totals.output_tokens;
    }
    let statistics = sessions.statistics(StatisticsQuery::of(Principal::local())).await.unwrap();
    let total = statistics.total().total();
    assert_eq!((total.cost, total.tokens), (cost, tokens));
}
