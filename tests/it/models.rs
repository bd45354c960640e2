//! Agents that ask models: what they are told, what is written down, and what is paid, whatever happens meanwhile.

mod budgets;
mod crashes;
mod cuts;
mod faults;
mod histories;
mod journals;
mod judge;
mod providers;

use dormouse::model::TokenPrice;
use dormouse::{NanoUsd, SessionHandle};
use serde_json::Value;

/// Ten dollars for a million tokens of a request, a hundred for one of an answer.
pub(crate) const PRICE: TokenPrice = TokenPrice {
    input: NanoUsd(10_000_000_000),
    output: NanoUsd(100_000_000_000),
    cache_read: NanoUsd(1_000_000_000),
    cache_write: NanoUsd(10_000_000_000),
    cache_write_long: NanoUsd(10_000_000_000),
};

/// What an answer costs that takes the tokens which the provider of the tests says.
const ANSWER: NanoUsd = NanoUsd(100 * 10_000 + 50 * 100_000);

/// What a turn of the guest that thinks has come to, a line each.
async fn thinks(session: &SessionHandle, script: &str) -> Vec<Value> {
    results(&session.send(script).await.unwrap().text())
}

fn results(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The answers of models among the results of a turn.
fn answers(results: &[Value]) -> Vec<String> {
    results.iter().filter_map(|result| result["answer"].as_str()).map(str::to_owned).collect()
}
