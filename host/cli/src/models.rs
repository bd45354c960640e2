//! The providers of language models as the configuration names them, and the catalog that follows from it.
//!
//! In the file providers and prices are tables, `[providers.local]` and `[prices."gpt-4o*"]`; on the command line,
//! in a variable and in `dormouse config` they are lists. Keys stand in none of them: a provider names the
//! variable or the file that holds its key, and nothing shows a key.

pub(super) mod environment;
pub(super) mod prices;
pub(super) mod providers;

use std::sync::Arc;

use dormouse::model::{Catalog, Entry};
use prices::PriceSetting;
use providers::ProviderSetting;

/// What the configuration says of language models.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelSettings {
    pub(super) providers: Vec<ProviderSetting>,
    /// Prices of models, whoever has them.
    pub(super) prices: Vec<PriceSetting>,
    /// `None`: the first whole name that a provider lists.
    pub(super) default_model: Option<String>,
}

/// A setting that cannot be used, though it reads well.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    /// The name of the setting.
    pub(super) setting: &'static str,
    /// What is wrong with it.
    pub(super) problem: String,
}

impl ModelSettings {
    /// The catalog of a host that is configured so. `variable` reads the environment.
    ///
    /// # Errors
    /// A key is not where its provider says, or no provider has the default model.
    pub(super) fn catalog(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Catalog, Unusable> {
        let entry = |setting: &ProviderSetting| {
            let unusable = |problem: String| Unusable {
                setting: "providers",
                problem: format!("has the provider {}: {problem}", setting.name),
            };
            Ok(Entry {
                provider: Arc::from(setting.provider(variable).map_err(unusable)?),
                models: setting.models.clone(),
                prices: setting.prices.iter().map(PriceSetting::priced).collect(),
                max_calls: setting.max_calls,
            })
        };
        let entries = self.providers.iter().map(entry).collect::<Result<_, Unusable>>()?;
        let prices = self.prices.iter().map(PriceSetting::priced).collect();
        let catalog = Catalog::new(entries).with_prices(prices);
        match &self.default_model {
            None => Ok(catalog),
            Some(model) => catalog.with_default(model).map_err(|error| Unusable {
                setting: "default-model",
                problem: format!("cannot be used: {error}"),
            }),
        }
    }
}

/// Who answers for models, in one line for the start of a server.
pub(super) fn summary(catalog: &Catalog) -> String {
    if catalog.is_offline() {
        return "offline answers every name; set ANTHROPIC_API_KEY or OPENAI_API_KEY for a real one"
            .to_owned();
    }
    let provider = |(name, models): (&str, &[dormouse::model::ModelPattern])| {
        let models: Vec<String> = models.iter().map(ToString::to_string).collect();
        if models == [name] { name.to_owned() } else { format!("{name} ({})", models.join(" ")) }
    };
    let providers: Vec<String> = catalog.providers().map(provider).collect();
    let default = catalog.default_model().map_or_else(
        || "requests must name one (default-model)".to_owned(),
        |model| format!("default {model}"),
    );
    format!("{}; {default}", providers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(providers: &str, default_model: Option<&str>) -> ModelSettings {
        ModelSettings {
            providers: providers::read(providers).expect("it reads"),
            prices: prices::read("llama3*.input=0,llama3*.output=0").expect("it reads"),
            default_model: default_model.map(str::to_owned),
        }
    }

    const LOCAL: &str =
        "local.kind=openai,local.url=http://127.0.0.1:11434/v1,local.models=llama3*";

    #[test]
    fn a_catalog_has_the_providers_and_the_prices_of_the_configuration() {
        let settings = settings(LOCAL, Some("llama3.2"));
        let catalog = settings.catalog(&|_| None).expect("it can be used");
        let route = catalog.route("").expect("there is a default");
        assert_eq!((route.provider.name(), route.model.as_str()), ("local", "llama3.2"));
        assert!(route.price.expect("it is configured").is_free());
        assert_eq!(summary(&catalog), "local (llama3*), offline; default llama3.2");
    }

    #[test]
    fn without_a_provider_the_summary_says_how_to_get_one() {
        let alone = ModelSettings::default().catalog(&|_| None).expect("it can be used");
        assert!(summary(&alone).contains("ANTHROPIC_API_KEY"), "{}", summary(&alone));
        let nameless = settings(LOCAL, None).catalog(&|_| None).expect("it can be used");
        assert!(summary(&nameless).contains("default-model"), "{}", summary(&nameless));
    }

    #[test]
    fn a_key_that_is_not_there_and_a_default_model_that_nobody_has_are_named() {
        let keyed = format!("{LOCAL},local.key-env=LOCAL_KEY");
        let problem = settings(&keyed, None).catalog(&|_| None).unwrap_err();
        assert_eq!(problem.setting, "providers");
        assert!(problem.problem.contains("local: its key-env names LOCAL_KEY"), "{problem:?}");
        let spaced = |_: &str| Some("a\nb".to_owned());
        let problem = settings(&keyed, None).catalog(&spaced).unwrap_err().problem;
        assert!(problem.contains("characters that no key has"), "{problem}");
        let problem = settings(LOCAL, Some("gpt-5")).catalog(&|_| None).unwrap_err();
        assert_eq!(problem.setting, "default-model");
        assert!(problem.problem.contains("no provider has a model `gpt-5`"), "{problem:?}");
    }
}
