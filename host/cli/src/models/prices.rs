//! Prices of models, as `MODEL.KIND=USD`: what a million tokens of a kind cost.

use super::providers::pattern;
use dormouse::model::ModelPattern;
use dormouse::{NanoUsd, TokenPrice};

/// What is shown where nothing is configured.
const NONE: &str = "none";

/// The kinds of tokens that have a price, in the order of [`PriceSetting::given`].
const KINDS: [&str; 5] = ["input", "output", "cache-read", "cache-write", "cache-write-long"];

/// The price of the models of one pattern. Prices of `input` and `output` are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PriceSetting {
    model: ModelPattern,
    /// By [`KINDS`].
    given: [Option<NanoUsd>; 5],
}

impl PriceSetting {
    /// The price: what is not given of the cache costs what the input costs, so that nothing is free by mistake.
    pub(super) fn priced(&self) -> (ModelPattern, TokenPrice) {
        let [input, output, cache_read, cache_write, cache_write_long] = self.given;
        let (input, output) = (input.unwrap_or_default(), output.unwrap_or_default());
        let cache_write = cache_write.unwrap_or(input);
        let price = TokenPrice {
            input,
            output,
            cache_read: cache_read.unwrap_or(input),
            cache_write,
            cache_write_long: cache_write_long.unwrap_or(cache_write),
        };
        (self.model.clone(), price)
    }

    /// The entries that are read as this.
    pub(super) fn entries(&self) -> impl Iterator<Item = String> {
        let given = KINDS.iter().zip(self.given);
        given.filter_map(|(kind, price)| Some(format!("{}.{kind}={}", self.model, price?.as_usd())))
    }
}

/// Read a list of prices, each `MODEL.KIND=USD`.
///
/// # Errors
/// What the entry must be that is none, or which price a model lacks.
pub(crate) fn read(text: &str) -> Result<Vec<PriceSetting>, String> {
    let mut prices = Vec::new();
    for (path, value) in super::providers::entries(text) {
        set(&mut prices, path, value)
            .map_err(|problem| format!("has the entry '{path}': {problem}"))?;
    }
    check(&prices)?;
    Ok(prices)
}

/// Take one entry of a list.
///
/// # Errors
/// What it must be.
pub(super) fn set(prices: &mut Vec<PriceSetting>, path: &str, value: &str) -> Result<(), String> {
    let (model, kind) = path.rsplit_once('.').ok_or("it must be MODEL.KIND=USD")?;
    let model = pattern(model)?;
    let place = KINDS.iter().position(|known| *known == kind);
    let place = place
        .ok_or_else(|| format!("there is no price of {kind}; there are {}", KINDS.join(", ")))?;
    let amount = value.parse().ok().and_then(NanoUsd::from_usd);
    let amount = amount.ok_or("must be an amount of US dollars, 0 or more")?;
    let known = prices.iter().position(|price| price.model == model);
    let known = known.unwrap_or_else(|| {
        prices.push(PriceSetting { model, given: [None; 5] });
        prices.len() - 1
    });
    prices[known].given[place] = Some(amount);
    Ok(())
}

/// Whether each model has the prices that it needs.
///
/// # Errors
/// Which is missing: what is free has to be said.
pub(super) fn check(prices: &[PriceSetting]) -> Result<(), String> {
    for price in prices {
        for (kind, given) in KINDS.iter().zip(price.given).take(2) {
            if given.is_none() {
                return Err(format!("has no price of {kind} for {}: 0 if it is free", price.model));
            }
        }
    }
    Ok(())
}

/// The list that is read as these.
pub(crate) fn show_all(prices: &[PriceSetting]) -> String {
    let entries: Vec<String> = prices.iter().flat_map(PriceSetting::entries).collect();
    if entries.is_empty() { NONE.to_owned() } else { entries.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "gpt-4.1*.input=2,gpt-4.1*.output=8,gpt-4.1*.cache-read=0.5,\
                        llama3.input=0,llama3.output=0";

    #[test]
    fn prices_are_read_by_model_and_kind_and_shown_as_they_are_read() {
        let prices = read(LIST).expect("it reads");
        assert_eq!(show_all(&prices), LIST);
        let (model, price) = prices[0].priced();
        assert!(model.matches("gpt-4.1-mini"));
        let dollar = 1_000_000_000;
        assert_eq!(
            [
                price.input,
                price.output,
                price.cache_read,
                price.cache_write,
                price.cache_write_long
            ],
            [2 * dollar, 8 * dollar, dollar / 2, 2 * dollar, 2 * dollar].map(NanoUsd)
        );
        assert!(prices[1].priced().1.is_free());
        assert_eq!(read(&show_all(&[])), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_price_is_refused_by_what_it_must_be() {
        for (text, why) in [
            ("gpt-4o", "must be MODEL.KIND=USD"),
            ("input=1", "must be MODEL.KIND=USD"),
            ("gpt-4o.imput=1", "there is no price of imput; there are input, output"),
            ("gpt-4o.input=-1", "must be an amount of US dollars"),
            ("gpt-4o.input=NaN", "must be an amount of US dollars"),
            ("gpt-4o.input=much", "must be an amount of US dollars"),
            ("g*pt.input=1", "must be a name, or its beginning and a *"),
            ("gpt-4o.input=1", "has no price of output for gpt-4o: 0 if it is free"),
            ("gpt-4o.output=1", "has no price of input for gpt-4o: 0 if it is free"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
