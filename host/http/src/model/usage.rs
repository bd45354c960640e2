//! What a session has used, line by line.

use schemars::JsonSchema;
use serde::Serialize;

use super::value::{Id, Time, Word};
use dormouse::model::TokenUsage;
use dormouse::{
    Account, Bill, BillItem, BillLine, EffectFailure, EffectOutcome, EffectRecord, EffectTarget,
    SessionId, SessionUsage, Usage,
};

/// What a session has used: its totals, and the lines that they are made of. The lines of all pages sum up to
/// the totals, unless turns of the session were dropped (`keep-turns`).
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SessionUsage")]
pub(crate) struct SessionUsageBody {
    #[schemars(with = "Id")]
    session_id: String,
    totals: TotalsBody,
    /// What the session spends together with others; `null` where it spends on its own.
    account: Option<AccountBody>,
    /// Turn by turn: the start of an instance where there was one, the fuel, each attempt at a call.
    lines: Vec<LineBody>,
    count: usize,
    /// What to ask for as `after` or `cursor`: the number of a turn; `null` at the end.
    next: Option<u64>,
    /// The same, by the name that it has in all lists.
    next_cursor: Option<u64>,
}

/// What a session has used over its whole life.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "UsageTotals")]
struct TotalsBody {
    /// In US dollars, starts included.
    cost_usd: f64,
    /// The same in billionths of a dollar, exactly.
    cost_nano_usd: i64,
    /// Of it, for starts.
    start_cost_usd: f64,
    /// Of turns.
    fuel: u64,
    start_fuel: u64,
    num_starts: u64,
    num_turns: u64,
    /// Tokens that models have read, without those from their caches.
    input_tokens: u64,
    output_tokens: u64,
    cached_tokens: u64,
    /// Calls to the outside world, each attempt counted.
    calls: u64,
    /// Bytes that these have sent and received.
    call_bytes: u64,
}

/// What several sessions spend together.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Account")]
struct AccountBody {
    #[schemars(with = "Id")]
    id: String,
    /// The sessions that share it.
    members: u64,
    /// `null`: there is no limit.
    max_budget_usd: Option<f64>,
    max_fuel: Option<u64>,
    spent_usd: f64,
    spent_nano_usd: i64,
    spent_fuel: u64,
}

/// One line of a bill.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[schemars(rename = "BillLine")]
enum LineBody {
    /// What a turn has computed.
    Fuel(FuelBody),
    /// The start of an instance for a turn.
    Start(FuelBody),
    /// One attempt at a call of a model.
    Model(PaidCallBody<ModelCallBody>),
    /// One attempt at a call of a tool of the host.
    Tool(PaidCallBody<ToolCallBody>),
    /// One request that the agent has sent over HTTP by itself.
    Http(PaidCallBody<HttpCallBody>),
    /// One attempt at a question to another session, which costs nothing: what that session spends, it is billed itself.
    Ask(PaidCallBody<AskCallBody>),
}

/// What fuel cost.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
struct FuelBody {
    #[serde(flatten)]
    amount: AmountBody,
    fuel: u64,
}

/// What a call cost.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct PaidCallBody<Called> {
    #[serde(flatten)]
    amount: AmountBody,
    #[serde(flatten)]
    called: Called,
    #[serde(flatten)]
    call: CallBody,
}

/// What each line of a bill has.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
struct AmountBody {
    turn: u64,
    #[schemars(with = "Time")]
    at: String,
    /// In US dollars.
    cost_usd: f64,
    /// The same in billionths of a dollar, exactly.
    cost_nano_usd: i64,
    /// How the cost is known: `estimated` and `unknown` are what was reserved for the call.
    #[schemars(with = "Word<Bill>")]
    bill: &'static str,
}

/// The model that was asked.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct ModelCallBody {
    /// Who was asked. Empty where nobody was.
    provider: String,
    model: String,
    tokens: TokensBody,
}

/// The tool that was called.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct ToolCallBody {
    tool: String,
    /// The server that the tool was to ask. Empty where none is known.
    server: String,
}

/// The server that a request was for.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct HttpCallBody {
    method: String,
    /// Empty where the URL has none.
    host: String,
}

/// The session that was asked.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct AskCallBody {
    /// What the agent that asks calls it.
    peer: String,
}

/// What was called.
pub(super) enum CalledBody {
    Model(ModelCallBody),
    Tool(ToolCallBody),
    Http(HttpCallBody),
    Ask(AskCallBody),
}

/// One attempt at a call.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) struct CallBody {
    /// The place of the call in its turn, from 1.
    seq: u32,
    /// Which attempt at it, from 1.
    attempt: u32,
    /// Which attempt at the turn, from 1: more where a host has ended in the middle of it.
    turn_attempt: u32,
    outcome: OutcomeWord,
    /// Why it failed.
    #[schemars(with = "Option<Word<EffectFailure>>")]
    error: Option<&'static str>,
    sent_bytes: u64,
    received_bytes: u64,
}

/// Tokens of a call. No token is in two of the counts.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Tokens")]
struct TokensBody {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    /// To stay for an hour.
    cache_write_long: u64,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum OutcomeWord {
    Begun,
    Answered,
    Failed,
    Unknown,
}

impl SessionUsageBody {
    /// Of this session.
    pub(crate) fn new(session: SessionId, usage: SessionUsage) -> SessionUsageBody {
        let SessionUsage { totals, account, lines } = usage;
        let (next, lines): (_, Vec<_>) =
            (lines.next, lines.entries.into_iter().map(LineBody::from).collect());
        SessionUsageBody {
            session_id: session.to_string(),
            totals: totals.into(),
            account: account.map(AccountBody::from),
            count: lines.len(),
            lines,
            next,
            next_cursor: next,
        }
    }
}

impl From<Usage> for TotalsBody {
    fn from(usage: Usage) -> TotalsBody {
        TotalsBody {
            cost_usd: usage.cost.as_usd(),
            cost_nano_usd: usage.cost.0,
            start_cost_usd: usage.start_cost.as_usd(),
            fuel: usage.fuel,
            start_fuel: usage.start_fuel,
            num_starts: usage.starts,
            num_turns: usage.turns,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
            calls: usage.calls,
            call_bytes: usage.call_bytes,
        }
    }
}

impl From<Account> for AccountBody {
    fn from(account: Account) -> AccountBody {
        AccountBody {
            id: account.id.0.to_string(),
            members: account.members,
            max_budget_usd: account.limits.money.map(|money| money.as_usd()),
            max_fuel: account.limits.fuel,
            spent_usd: account.spent.money.as_usd(),
            spent_nano_usd: account.spent.money.0,
            spent_fuel: account.spent.fuel,
        }
    }
}

impl From<BillLine> for LineBody {
    fn from(line: BillLine) -> LineBody {
        let amount = |bill: Bill| AmountBody {
            turn: line.turn,
            at: line.at.to_string(),
            cost_usd: line.cost.as_usd(),
            cost_nano_usd: line.cost.0,
            bill: bill.as_str(),
        };
        let of_fuel = |fuel| FuelBody { amount: amount(Bill::Exact), fuel };
        match line.item {
            BillItem::Fuel(fuel) => LineBody::Fuel(of_fuel(fuel)),
            BillItem::Start(fuel) => LineBody::Start(of_fuel(fuel)),
            BillItem::Effect(effect) => {
                let (amount, call) = (amount(effect.bill), CallBody::of(&effect));
                match effect.target.into() {
                    CalledBody::Model(called) => {
                        LineBody::Model(PaidCallBody { amount, called, call })
                    }
                    CalledBody::Tool(called) => {
                        LineBody::Tool(PaidCallBody { amount, called, call })
                    }
                    CalledBody::Http(called) => {
                        LineBody::Http(PaidCallBody { amount, called, call })
                    }
                    CalledBody::Ask(called) => LineBody::Ask(PaidCallBody { amount, called, call }),
                }
            }
        }
    }
}

impl From<EffectTarget> for CalledBody {
    fn from(target: EffectTarget) -> CalledBody {
        match target {
            EffectTarget::Model { provider, model, tokens } => {
                CalledBody::Model(ModelCallBody { provider, model, tokens: tokens.into() })
            }
            EffectTarget::Tool { name, server } => {
                CalledBody::Tool(ToolCallBody { tool: name, server })
            }
            EffectTarget::Http { method, host } => CalledBody::Http(HttpCallBody { method, host }),
            EffectTarget::Ask { peer } => CalledBody::Ask(AskCallBody { peer }),
        }
    }
}

impl CallBody {
    /// Of this attempt.
    pub(super) fn of(effect: &EffectRecord) -> CallBody {
        let (outcome, error) = match effect.outcome {
            EffectOutcome::Begun => (OutcomeWord::Begun, None),
            EffectOutcome::Answered => (OutcomeWord::Answered, None),
            EffectOutcome::Failed(failure) => (OutcomeWord::Failed, Some(failure.as_str())),
            EffectOutcome::Unknown => (OutcomeWord::Unknown, None),
        };
        CallBody {
            seq: effect.seq,
            attempt: effect.attempt,
            turn_attempt: effect.turn_attempt,
            outcome,
            error,
            sent_bytes: effect.sent,
            received_bytes: effect.received,
        }
    }
}

impl From<TokenUsage> for TokensBody {
    fn from(tokens: TokenUsage) -> TokensBody {
        let TokenUsage { input, output, cache_read, cache_write, cache_write_long } = tokens;
        TokensBody { input, output, cache_read, cache_write, cache_write_long }
    }
}
