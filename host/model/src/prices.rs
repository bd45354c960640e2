//! What models cost where the configuration does not say: the list prices of their makers, as of 1 November 2026
//! at the latest. Prices change: an operator who bills by them sets them.

use dormouse_domain::limits::NanoUsd;
use dormouse_domain::price::TokenPrice;

/// A thousandth of a dollar.
const MILLI_USD: i64 = 1_000_000;

/// A model, by the beginning of its name, and what a million tokens of it cost in thousandths of a dollar: of a
/// request, of an answer, and read from the cache.
type Listed = (&'static str, i64, i64, i64);

/// Of Anthropic. What is written to the cache costs a quarter more than what is not, and twice as much where it
/// stays for an hour.
const ANTHROPIC: [Listed; 12] = [
    ("claude-opus-4-6", 5_000, 25_000, 500),
    ("claude-opus-4-5", 5_000, 25_000, 500),
    ("claude-opus-4-1", 15_000, 75_000, 1_500),
    ("claude-opus-4", 15_000, 75_000, 1_500),
    ("claude-sonnet-4-6", 3_000, 15_000, 300),
    ("claude-sonnet-4-5", 3_000, 15_000, 300),
    ("claude-sonnet-4", 3_000, 15_000, 300),
    ("claude-haiku-4-5", 1_000, 5_000, 100),
    ("claude-3-7-sonnet", 3_000, 15_000, 300),
    ("claude-3-5-sonnet", 3_000, 15_000, 300),
    ("claude-3-5-haiku", 800, 4_000, 80),
    ("claude-3-opus", 15_000, 75_000, 1_500),
];

/// Of OpenAI. What is written to the cache costs what is not.
const OPENAI: [Listed; 11] = [
    ("gpt-5-mini", 250, 2_000, 25),
    ("gpt-5-nano", 50, 400, 5),
    ("gpt-5", 1_250, 10_000, 125),
    ("gpt-4.1-mini", 400, 1_600, 100),
    ("gpt-4.1-nano", 100, 400, 25),
    ("gpt-4.1", 2_000, 8_000, 500),
    ("gpt-4o-mini", 150, 600, 75),
    ("gpt-4o", 2_500, 10_000, 1_250),
    ("o4-mini", 1_100, 4_400, 275),
    ("o3", 2_000, 8_000, 500),
    ("o1", 15_000, 60_000, 7_500),
];

/// The list price of a model of this name; `None` where nobody knows it. A name may end in a date or in
/// `latest`: `claude-3-5-sonnet-20241022`.
#[must_use]
pub fn default_price(model: &str) -> Option<TokenPrice> {
    let of = |list: &[Listed]| list.iter().copied().find(|(name, ..)| is_release(model, name));
    if let Some((_, input, output, read)) = of(&ANTHROPIC) {
        let mut price = price(input, output, read);
        price.cache_write = NanoUsd(input * MILLI_USD * 5 / 4);
        price.cache_write_long = NanoUsd(input * MILLI_USD * 2);
        return Some(price);
    }
    of(&OPENAI).map(|(_, input, output, read)| price(input, output, read))
}

fn price(input: i64, output: i64, read: i64) -> TokenPrice {
    let [input, output, cache_read] = [input, output, read].map(|price| NanoUsd(price * MILLI_USD));
    TokenPrice { input, output, cache_read, cache_write: input, cache_write_long: input }
}

/// Whether a model is this one, or a dated release of it.
fn is_release(model: &str, name: &str) -> bool {
    let Some(rest) = model.strip_prefix(name) else { return false };
    let Some(release) = rest.strip_prefix('-') else { return rest.is_empty() };
    let is_date = release.starts_with("20") && release.len() >= 8;
    release == "latest" || (is_date && release.chars().all(|c| c.is_ascii_digit() || c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_the_price_of_its_model_and_of_no_other() {
        let sonnet = default_price("claude-3-5-sonnet-20241022").unwrap();
        assert_eq!(sonnet, default_price("claude-3-5-sonnet-latest").unwrap());
        assert_eq!(
            (sonnet.input, sonnet.cache_write),
            (NanoUsd(3_000_000_000), NanoUsd(3_750_000_000))
        );
        assert_eq!(default_price("gpt-4o-2024-08-06"), default_price("gpt-4o"));
        assert_ne!(default_price("gpt-4o-mini"), default_price("gpt-4o"));
        for unknown in
            ["claude-opus-4-9", "claude-opus-4-7-20270101", "gpt-4o-realtime", "llama3", ""]
        {
            assert_eq!(default_price(unknown), None, "{unknown}");
        }
    }
}
