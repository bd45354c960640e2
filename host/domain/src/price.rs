//! What the tokens of a model cost, and what a call could cost at most.

use crate::limits::NanoUsd;
use crate::model::TokenUsage;

/// Tokens that a provider may add to a request of its own: its frame, and the instructions for tools.
const ADDED_TOKENS: u64 = 2_000;
/// The prices are for so many tokens.
const MILLION: u128 = 1_000_000;

/// What a million tokens of a model cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenPrice {
    /// Of a request, where the cache has no part in it.
    pub input: NanoUsd,
    /// Of an answer.
    pub output: NanoUsd,
    /// Read from the cache.
    pub cache_read: NanoUsd,
    /// Written to the cache, to stay there for minutes.
    pub cache_write: NanoUsd,
    /// Written to the cache, to stay there for an hour.
    pub cache_write_long: NanoUsd,
}

impl TokenPrice {
    /// The price of these tokens, rounded up once.
    #[must_use]
    pub fn cost(&self, usage: &TokenUsage) -> NanoUsd {
        let parts = [
            (usage.input, self.input),
            (usage.output, self.output),
            (usage.cache_read, self.cache_read),
            (usage.cache_write, self.cache_write),
            (usage.cache_write_long, self.cache_write_long),
        ];
        let all = parts.iter().map(|(tokens, price)| u128::from(*tokens) * nano(*price)).sum();
        rounded_up(all)
    }

    /// The most that a call could cost whose request and whose answer have so many tokens at most, besides what
    /// providers add: each of the request's may be written to the cache.
    #[must_use]
    pub fn most(&self, request_tokens: u64, max_tokens: u32) -> NanoUsd {
        let input = u128::from(request_tokens.saturating_add(ADDED_TOKENS)) * self.dearest_input();
        rounded_up(input + u128::from(max_tokens) * nano(self.output))
    }

    /// The most tokens that an answer to a request of so many tokens may have for this money. Without a price
    /// of the answer there is no bound.
    #[must_use]
    pub fn affordable_tokens(&self, request_tokens: u64, money: NanoUsd) -> u32 {
        let input = u128::from(request_tokens.saturating_add(ADDED_TOKENS)) * self.dearest_input();
        let left = (nano(money) * MILLION).saturating_sub(input);
        if left == 0 && self.most(request_tokens, 0) > money {
            return 0;
        }
        match nano(self.output) {
            0 => u32::MAX,
            price => u32::try_from(left / price).unwrap_or(u32::MAX),
        }
    }

    /// Whether everything is free.
    #[must_use]
    pub fn is_free(&self) -> bool {
        *self == TokenPrice::default()
    }

    fn dearest_input(&self) -> u128 {
        let prices = [self.input, self.cache_read, self.cache_write, self.cache_write_long];
        prices.into_iter().map(nano).max().unwrap_or(0)
    }
}

fn nano(money: NanoUsd) -> u128 {
    u128::from(money.0.max(0).unsigned_abs())
}

fn rounded_up(millionths: u128) -> NanoUsd {
    NanoUsd(i64::try_from(millionths.div_ceil(MILLION)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Three dollars for a million of the request, fifteen for one of the answer.
    const PRICE: TokenPrice = TokenPrice {
        input: NanoUsd(3_000_000_000),
        output: NanoUsd(15_000_000_000),
        cache_read: NanoUsd(300_000_000),
        cache_write: NanoUsd(3_750_000_000),
        cache_write_long: NanoUsd(6_000_000_000),
    };

    #[test]
    fn each_kind_of_token_has_its_price_and_the_sum_is_rounded_up_once() {
        let usage =
            TokenUsage { input: 1, output: 2, cache_read: 3, cache_write: 4, cache_write_long: 5 };
        assert_eq!(PRICE.cost(&usage), NanoUsd(3_000 + 30_000 + 900 + 15_000 + 30_000));
        let cheap = TokenPrice { input: NanoUsd(1), output: NanoUsd(1), ..TokenPrice::default() };
        let one_each = TokenUsage { input: 1, output: 1, ..TokenUsage::default() };
        assert_eq!(cheap.cost(&one_each), NanoUsd(1));
    }

    proptest! {
        #[test]
        fn no_call_costs_more_than_the_most(
            request in 0_u64..1_000_000,
            max_tokens in 0_u32..100_000,
            split in [0_u64..=100, 0..=100, 0..=100, 0..=100],
            answered in 0_u32..100_000,
        ) {
            let tokens = request + ADDED_TOKENS;
            let sum = split.iter().sum::<u64>().max(1);
            let [input, cache_read, cache_write, cache_write_long] =
                split.map(|part| tokens * part / sum);
            let output = u64::from(answered.min(max_tokens));
            let usage = TokenUsage { input, output, cache_read, cache_write, cache_write_long };
            prop_assert!(PRICE.cost(&usage) <= PRICE.most(request, max_tokens));
        }

        #[test]
        fn what_is_affordable_costs_no_more_than_there_is(
            request in 0_u64..1_000_000,
            money in 0_i64..100_000_000_000,
        ) {
            let money = NanoUsd(money);
            match PRICE.affordable_tokens(request, money) {
                0 => prop_assert!(PRICE.most(request, 1) > money),
                tokens => {
                    prop_assert!(PRICE.most(request, tokens) <= money);
                    prop_assert!(PRICE.most(request, tokens.saturating_add(1)) > money);
                }
            }
        }
    }
}
