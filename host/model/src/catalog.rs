//! Which provider answers for a model, and at which price.
//!
//! Where several patterns match a name, the most specific one counts: a whole name before a beginning, and the
//! longer beginning before the shorter. So neither the order of providers nor that of prices matters.

use std::fmt;
use std::sync::Arc;

use crate::breaker::{Breaker, Breakers};
use crate::offline::Offline;
use crate::prices::default_price;
use crate::provider::Provider;
use dormouse_domain::price::TokenPrice;

/// As many calls at a time as anybody makes.
const UNBOUNDED: usize = 1 << 20;
/// The name of the provider that is always there.
const OFFLINE: &str = "offline";

/// Names of models: one name, or its beginning and a `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPattern(String);

impl ModelPattern {
    /// From text.
    #[must_use]
    pub fn new(text: &str) -> ModelPattern {
        ModelPattern(text.to_owned())
    }

    /// Whether a name is one of them.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.0,
        }
    }

    /// The name that this is, where it is not the beginning of many.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        (!self.0.ends_with('*')).then_some(self.0.as_str())
    }

    /// Of two patterns that match a name, the one with the greater rank counts.
    fn rank(&self) -> (bool, usize) {
        (self.exact().is_some(), self.0.len())
    }
}

/// As it is written in the configuration.
impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The price with the most specific pattern that matches a name.
fn price_of(prices: &[(ModelPattern, TokenPrice)], name: &str) -> Option<TokenPrice> {
    let matching = prices.iter().filter(|(pattern, _)| pattern.matches(name));
    matching.max_by_key(|(pattern, _)| pattern.rank()).map(|(_, price)| *price)
}

/// A provider, and what it answers for.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who is asked.
    pub provider: Arc<dyn Provider>,
    /// The models that it answers for, whether a request names it or not.
    pub models: Vec<ModelPattern>,
    /// Their prices: the most specific that matches counts before those of the catalog, and these before the
    /// list prices.
    pub prices: Vec<(ModelPattern, TokenPrice)>,
    /// The most calls at a time.
    pub max_calls: usize,
}

/// The providers of a host.
#[derive(Debug)]
pub struct Catalog {
    entries: Vec<Listed>,
    /// Prices of models, whoever has them.
    prices: Vec<(ModelPattern, TokenPrice)>,
    /// The model of requests that name none.
    default_model: Option<String>,
}

/// An entry, and whether its provider and its models work. `None`: they always do.
type Listed = (Entry, Option<Arc<Breakers>>);

/// Who answers for a model.
#[derive(Clone, Debug)]
pub struct ModelRoute {
    /// Who is asked.
    pub provider: Arc<dyn Provider>,
    /// The name of the model, as the provider has it.
    pub model: String,
    /// What a call costs. `None`: nobody knows.
    pub price: Option<TokenPrice>,
    /// The most calls of the provider at a time.
    pub max_calls: usize,
    /// Whether the provider and the model work.
    pub breaker: Breaker,
}

/// No provider answers for a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No provider has a model of this name.
    #[error("no provider has a model `{model}`; there are {providers}")]
    Unknown {
        /// The name that was asked for.
        model: String,
        /// The names of the providers.
        providers: String,
    },
    /// The request names no model, and the host has none for such requests.
    #[error(
        "the request names no model, and this host has no default model; there are {providers}"
    )]
    NoDefault {
        /// The names of the providers.
        providers: String,
    },
}

impl Catalog {
    /// These providers. Without any, the offline model answers for every name, and costs nothing. Where two
    /// providers have a model by equally specific patterns, the first of them is asked.
    ///
    /// A request that names no model gets the first whole name that an entry lists; `offline` where there are no
    /// entries. [`Catalog::with_default`] says otherwise.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Catalog {
        let with_state = |entry: Entry| (entry, Some(Arc::default()));
        let is_alone = entries.is_empty();
        let mut entries: Vec<_> = entries.into_iter().map(with_state).collect();
        let listed = entries.iter().flat_map(|(entry, ..)| &entry.models);
        let default_model = match is_alone {
            true => Some(OFFLINE.to_owned()),
            false => listed.filter_map(ModelPattern::exact).next().map(str::to_owned),
        };
        let names = if is_alone { "*" } else { OFFLINE };
        let offline = Entry {
            provider: Arc::new(Offline),
            models: vec![ModelPattern::new(names)],
            prices: vec![(ModelPattern::new("*"), TokenPrice::default())],
            max_calls: UNBOUNDED,
        };
        // It fails as a script says that is its session's alone.
        entries.push((offline, None));
        Catalog { entries, prices: Vec::new(), default_model }
    }

    /// The same with prices of models whoever has them.
    #[must_use]
    pub fn with_prices(self, prices: Vec<(ModelPattern, TokenPrice)>) -> Catalog {
        Catalog { prices, ..self }
    }

    /// The same where requests that name no model get this one.
    ///
    /// # Errors
    /// Where no provider has it.
    pub fn with_default(self, model: &str) -> Result<Catalog, NoRoute> {
        self.route(model)?;
        Ok(Catalog { default_model: Some(model.to_owned()), ..self })
    }

    /// The model of requests that name none.
    #[must_use]
    pub fn default_model(&self) -> Option<&str> {
        self.default_model.as_deref()
    }

    /// Each provider by its name, with the models that it has. The offline model is the last.
    pub fn providers(&self) -> impl Iterator<Item = (&str, &[ModelPattern])> {
        self.entries.iter().map(|(entry, ..)| (entry.provider.name(), entry.models.as_slice()))
    }

    /// Whether nobody but the offline model is there.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.entries.len() == 1
    }

    /// Who answers for a model: `name`, or `provider/name`; for an empty name, the default model. A provider answers
    /// for the models that it lists alone, also where it is named.
    ///
    /// # Errors
    /// Where nobody does.
    pub fn route(&self, name: &str) -> Result<ModelRoute, NoRoute> {
        let name = match (name, &self.default_model) {
            ("", Some(default)) => default,
            ("", None) => return Err(NoRoute::NoDefault { providers: self.names() }),
            (name, _) => name,
        };
        let Some(((entry, breaker), model)) = self.named(name).or_else(|| self.has(name)) else {
            return Err(NoRoute::Unknown { model: name.to_owned(), providers: self.names() });
        };
        let own = price_of(&entry.prices, model).or_else(|| price_of(&self.prices, model));
        Ok(ModelRoute {
            provider: Arc::clone(&entry.provider),
            model: model.to_owned(),
            price: own.or_else(|| default_price(model)),
            max_calls: entry.max_calls,
            breaker: Breaker::new(breaker.clone(), model),
        })
    }

    /// The provider that a name names before its slash, where it has the model that is named behind it.
    fn named<'a>(&self, name: &'a str) -> Option<(&Listed, &'a str)> {
        let (provider, model) = name.split_once('/')?;
        let has = |entry: &Entry| entry.models.iter().any(|pattern| pattern.matches(model));
        let mut entries = self.entries.iter();
        let found = entries.find(|(entry, ..)| entry.provider.name() == provider && has(entry));
        found.map(|found| (found, model))
    }

    /// The provider that has a model of this name by the most specific pattern.
    fn has<'a>(&self, name: &'a str) -> Option<(&Listed, &'a str)> {
        let rank = |entry: &Entry| {
            let matching = entry.models.iter().filter(|pattern| pattern.matches(name));
            matching.map(ModelPattern::rank).max()
        };
        let ranked = self.entries.iter().filter_map(|it| Some((rank(&it.0)?, it)));
        // Of equals the first: `max_by_key` would have the last.
        let found = ranked.reduce(|best, it| if it.0 > best.0 { it } else { best });
        found.map(|(_, found)| (found, name))
    }

    /// The names of the providers, for messages.
    fn names(&self) -> String {
        self.providers().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenAi;
    use dormouse_domain::limits::NanoUsd;

    fn entry(name: &str, models: &[&str]) -> Entry {
        let provider = OpenAi::new(name, "http://127.0.0.1:1/v1", None).unwrap();
        Entry {
            provider: Arc::new(provider),
            models: models.iter().map(|text| ModelPattern::new(text)).collect(),
            prices: Vec::new(),
            max_calls: 8,
        }
    }

    #[test]
    fn the_provider_answers_that_has_the_model_by_the_most_specific_pattern_or_the_one_that_is_named()
     {
        let entries = [entry("b", &["*"]), entry("a", &["gpt-*", "o3"]), entry("c", &["gpt-*"])];
        let catalog = Catalog::new(entries.into());
        let route = |name: &str| {
            let route = catalog.route(name).unwrap();
            (route.provider.name().to_owned(), route.model)
        };
        assert_eq!(route("gpt-4o"), ("a".to_owned(), "gpt-4o".to_owned()));
        assert_eq!(route("llama3"), ("b".to_owned(), "llama3".to_owned()));
        assert_eq!(route("b/gpt-4o"), ("b".to_owned(), "gpt-4o".to_owned()));
        assert_eq!(route("meta/llama3"), ("b".to_owned(), "meta/llama3".to_owned()));
        assert_eq!(route("offline/offline"), ("offline".to_owned(), "offline".to_owned()));
    }

    #[test]
    fn a_provider_that_is_named_answers_for_the_models_that_it_lists_alone() {
        let entries = [entry("a", &["claude-haiku-*"]), entry("router", &["a/claude-3*"])];
        let catalog = Catalog::new(entries.into());
        let route = |name: &str| {
            let route = catalog.route(name).ok()?;
            Some((route.provider.name().to_owned(), route.model))
        };
        let to = |provider: &str, model: &str| Some((provider.to_owned(), model.to_owned()));
        assert_eq!(route("a/claude-haiku-4-5"), to("a", "claude-haiku-4-5"));
        assert_eq!(route("a/claude-opus-4-5"), None);
        assert_eq!(route("offline/claude-opus-4-5"), None);
        assert_eq!(route("a/claude-3-opus"), to("router", "a/claude-3-opus"));
    }

    #[test]
    fn an_operators_price_comes_before_the_list_price() {
        let mut own = entry("a", &["*"]);
        let price = TokenPrice { input: NanoUsd(7), ..TokenPrice::default() };
        own.prices.push((ModelPattern::new("gpt-4o*"), price));
        let of_all = TokenPrice { input: NanoUsd(8), ..TokenPrice::default() };
        let prices = ["gpt-4o-mini", "gpt-4.1-*"].map(|name| (ModelPattern::new(name), of_all));
        let catalog = Catalog::new(vec![own]).with_prices(prices.into());
        let price_of = |name: &str| catalog.route(name).unwrap().price;
        assert_eq!(price_of("gpt-4o-mini"), Some(price));
        assert_eq!(price_of("gpt-4.1-mini"), Some(of_all));
        assert_eq!(price_of("gpt-5"), default_price("gpt-5"));
        assert_eq!(price_of("llama3"), None);
    }

    #[test]
    fn the_most_specific_price_counts_in_whatever_order_they_stand() {
        let price = |nano| TokenPrice { input: NanoUsd(nano), ..TokenPrice::default() };
        let prices = [("gpt-4o*", 1), ("gpt-4o-mini*", 2), ("gpt-4o-mini", 3), ("*", 4)];
        let mut prices = prices.map(|(text, nano)| (ModelPattern::new(text), price(nano)));
        for _ in 0..prices.len() {
            prices.rotate_left(1);
            let of = |name: &str| price_of(&prices, name);
            assert_eq!(of("gpt-4o-2024"), Some(price(1)));
            assert_eq!(of("gpt-4o-mini-2024"), Some(price(2)));
            assert_eq!(of("gpt-4o-mini"), Some(price(3)));
            assert_eq!(of("llama3"), Some(price(4)));
        }
    }

    #[test]
    fn a_request_that_names_no_model_gets_the_default_model() {
        let route = |catalog: &Catalog| catalog.route("").map(|route| route.model);
        assert_eq!(route(&Catalog::new(Vec::new())).as_deref(), Ok("offline"));
        let entries = || vec![entry("a", &["gpt-*", "gpt-5"]), entry("b", &["mistral*"])];
        assert_eq!(route(&Catalog::new(entries())).as_deref(), Ok("gpt-5"));
        let other = Catalog::new(entries()).with_default("b/mistral").unwrap();
        assert_eq!(route(&other).as_deref(), Ok("mistral"));
        let error = Catalog::new(entries()).with_default("b/llama3").unwrap_err();
        assert!(matches!(error, NoRoute::Unknown { .. }), "{error}");
        let providers = "a, offline".to_owned();
        let none = Catalog::new(vec![entry("a", &["*"])]);
        assert_eq!(route(&none), Err(NoRoute::NoDefault { providers }));
    }

    #[test]
    fn the_offline_model_answers_for_all_names_where_it_is_alone() {
        let alone = Catalog::new(Vec::new());
        let route = alone.route("claude-3-5-sonnet-20241022").unwrap();
        assert_eq!((route.provider.name(), route.price), ("offline", Some(TokenPrice::default())));
        let other = Catalog::new(vec![entry("a", &["gpt-*"])]);
        assert_eq!(other.route("offline").unwrap().provider.name(), "offline");
        let error = other.route("claude-3-opus").unwrap_err().to_string();
        assert_eq!(error, "no provider has a model `claude-3-opus`; there are a, offline");
    }
}
