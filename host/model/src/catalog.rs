//! Which provider answers for a model, and at which price.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::breaker::Breaker;
use crate::offline::Offline;
use crate::prices::default_price;
use crate::provider::Provider;
use dormouse_domain::price::TokenPrice;

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
}

/// A provider, and what it answers for.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who is asked.
    pub provider: Arc<dyn Provider>,
    /// The models that it has.
    pub models: Vec<ModelPattern>,
    /// Their prices, the first that matches before the list prices.
    pub prices: Vec<(ModelPattern, TokenPrice)>,
    /// The most calls at a time.
    pub max_calls: usize,
}

/// The providers of a host, in the order in which they are looked through.
#[derive(Debug)]
pub struct Catalog {
    entries: Vec<(Entry, Arc<Semaphore>, Arc<Breaker>)>,
}

/// Who answers for a model.
#[derive(Clone, Debug)]
pub struct ModelRoute {
    /// Who is asked.
    pub provider: Arc<dyn Provider>,
    /// The name of the model, as the provider has it.
    pub model: String,
    /// What a call costs. `None`: nobody knows.
    pub price: Option<TokenPrice>,
    /// Places for calls of the provider.
    pub places: Arc<Semaphore>,
    /// Whether the provider works.
    pub breaker: Arc<Breaker>,
}

/// No provider answers for a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no provider has a model `{model}`; there are {providers}")]
pub struct NoRoute {
    /// The name that was asked for.
    pub model: String,
    /// The names of the providers.
    pub providers: String,
}

impl Catalog {
    /// These providers. Without any, the offline model answers for every name, and costs nothing.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Catalog {
        let with_state = |entry: Entry| {
            let places = Arc::new(Semaphore::new(entry.max_calls.clamp(1, Semaphore::MAX_PERMITS)));
            (entry, places, Arc::new(Breaker::default()))
        };
        let is_alone = entries.is_empty();
        let mut entries: Vec<_> = entries.into_iter().map(with_state).collect();
        let names = if is_alone { "*" } else { "offline" };
        entries.push(with_state(Entry {
            provider: Arc::new(Offline),
            models: vec![ModelPattern::new(names)],
            prices: vec![(ModelPattern::new("*"), TokenPrice::default())],
            max_calls: Semaphore::MAX_PERMITS,
        }));
        Catalog { entries }
    }

    /// Whether nobody but the offline model is there.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.entries.len() == 1
    }

    /// Who answers for a model: `name`, or `provider/name`.
    ///
    /// # Errors
    /// Where nobody does.
    pub fn route(&self, name: &str) -> Result<ModelRoute, NoRoute> {
        let named = name.split_once('/').and_then(|(provider, model)| {
            let found = self.entries.iter().find(|(entry, ..)| entry.provider.name() == provider);
            found.map(|found| (found, model))
        });
        let matching = || {
            let has = |entry: &Entry| entry.models.iter().any(|pattern| pattern.matches(name));
            self.entries.iter().find(|(entry, ..)| has(entry)).map(|found| (found, name))
        };
        let Some(((entry, places, breaker), model)) = named.or_else(matching) else {
            let providers: Vec<&str> =
                self.entries.iter().map(|(entry, ..)| entry.provider.name()).collect();
            return Err(NoRoute { model: name.to_owned(), providers: providers.join(", ") });
        };
        let own = entry.prices.iter().find(|(pattern, _)| pattern.matches(model));
        Ok(ModelRoute {
            provider: Arc::clone(&entry.provider),
            model: model.to_owned(),
            price: own.map(|(_, price)| *price).or_else(|| default_price(model)),
            places: Arc::clone(places),
            breaker: Arc::clone(breaker),
        })
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
    fn the_first_provider_answers_that_has_the_model_or_the_one_that_is_named() {
        let catalog = Catalog::new(vec![entry("a", &["gpt-*", "o3"]), entry("b", &["*"])]);
        let route = |name: &str| {
            let route = catalog.route(name).unwrap();
            (route.provider.name().to_owned(), route.model)
        };
        assert_eq!(route("gpt-4o"), ("a".to_owned(), "gpt-4o".to_owned()));
        assert_eq!(route("llama3"), ("b".to_owned(), "llama3".to_owned()));
        assert_eq!(route("b/gpt-4o"), ("b".to_owned(), "gpt-4o".to_owned()));
        assert_eq!(route("meta/llama3"), ("b".to_owned(), "meta/llama3".to_owned()));
        assert_eq!(route("offline/x"), ("offline".to_owned(), "x".to_owned()));
    }

    #[test]
    fn an_operators_price_comes_before_the_list_price() {
        let mut own = entry("a", &["*"]);
        let price = TokenPrice { input: NanoUsd(7), ..TokenPrice::default() };
        own.prices.push((ModelPattern::new("gpt-4o*"), price));
        let catalog = Catalog::new(vec![own]);
        let price_of = |name: &str| catalog.route(name).unwrap().price;
        assert_eq!(price_of("gpt-4o-mini"), Some(price));
        assert_eq!(price_of("gpt-5"), default_price("gpt-5"));
        assert_eq!(price_of("llama3"), None);
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
