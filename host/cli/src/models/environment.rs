//! The providers that follow from the variables that their own clients go by: whoever has set one of them has
//! nothing to configure.

use std::collections::BTreeMap;

use super::providers::{KeySource, ProviderKind, ProviderSetting, url};
use dormouse::model::ModelPattern;

/// A provider that variables stand for.
struct Known {
    name: &'static str,
    kind: ProviderKind,
    key: &'static str,
    url: &'static str,
    /// Its models at its public address; the first is asked where a request names none.
    models: &'static [&'static str],
    /// Its models at another address: of others, whose names nobody knows here.
    models_elsewhere: &'static [&'static str],
}

static KNOWN: [Known; 2] = [
    Known {
        name: "anthropic",
        kind: ProviderKind::Anthropic,
        key: "ANTHROPIC_API_KEY",
        url: "ANTHROPIC_BASE_URL",
        models: &["claude-sonnet-4-5", "claude-*"],
        models_elsewhere: &["claude-sonnet-4-5", "claude-*"],
    },
    Known {
        name: "openai",
        kind: ProviderKind::OpenAi,
        key: "OPENAI_API_KEY",
        url: "OPENAI_BASE_URL",
        models: &["gpt-5-mini", "gpt-*", "o1*", "o3*", "o4*", "chatgpt-*"],
        models_elsewhere: &["*"],
    },
];

/// Values of variables, by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// The variables that stand for providers, out of those of the process. One that is empty is not set.
pub(crate) fn variables() -> Variables {
    let names = KNOWN.iter().flat_map(|known| [known.key, known.url]);
    let value = |name: &str| {
        let value = std::env::var_os(name)?.to_string_lossy().trim().to_owned();
        (!value.is_empty()).then_some((name.to_owned(), value))
    };
    names.filter_map(value).collect()
}

/// A provider that follows from the environment.
#[derive(Debug)]
pub(crate) struct FromEnvironment {
    pub(crate) provider: ProviderSetting,
    /// The variables that it follows from.
    pub(crate) variables: Vec<&'static str>,
}

/// The providers that these variables stand for, but those that are configured under the same name.
///
/// # Errors
/// The variable whose value cannot be used, and what it must be.
pub(crate) fn providers(
    variables: &Variables,
    configured: &[ProviderSetting],
) -> Result<Vec<FromEnvironment>, (&'static str, String)> {
    let is_configured = |known: &&Known| configured.iter().any(|it| it.name == known.name);
    let known = KNOWN.iter().filter(|known| !is_configured(known));
    known.filter_map(|known| known.provider(variables).transpose()).collect()
}

impl Known {
    fn provider(
        &self,
        variables: &Variables,
    ) -> Result<Option<FromEnvironment>, (&'static str, String)> {
        let (key, address) = (variables.get(self.key), variables.get(self.url));
        let models = if address.is_some() { self.models_elsewhere } else { self.models };
        let models = models.iter().map(|text| ModelPattern::new(text)).collect();
        let mut provider = ProviderSetting::new(self.name, self.kind, models);
        provider.key = key.map(|_| KeySource::Variable(self.key.to_owned()));
        provider.url =
            address.map(|text| url(text)).transpose().map_err(|problem| (self.url, problem))?;
        let set = [(self.key, key), (self.url, address)];
        let variables: Vec<_> = set.iter().filter_map(|(name, it)| it.map(|_| *name)).collect();
        Ok((!variables.is_empty()).then_some(FromEnvironment { provider, variables }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::providers::{read, show_all};
    use super::*;

    fn made(variables: &[(&str, &str)], configured: &str) -> Vec<(String, Vec<&'static str>)> {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let configured = read(configured).expect("it reads");
        let made = providers(&variables.collect(), &configured).expect("they can be used");
        made.into_iter().map(|it| (show_all(&[it.provider]), it.variables)).collect()
    }

    #[test]
    fn a_key_in_the_environment_makes_its_provider_and_stands_nowhere() {
        assert_eq!(made(&[], ""), []);
        let [(anthropic, from)] =
            made(&[("ANTHROPIC_API_KEY", "sk-secret")], "").try_into().expect("there is one");
        let expected = "anthropic.kind=anthropic,anthropic.key-env=ANTHROPIC_API_KEY,\
                        anthropic.models=claude-sonnet-4-5 claude-*,anthropic.max-calls=64";
        assert_eq!((anthropic.as_str(), from), (expected, vec!["ANTHROPIC_API_KEY"]));
    }

    #[test]
    fn an_address_makes_a_provider_of_every_name_without_a_key() {
        let variables = [("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")];
        let [(openai, from)] = made(&variables, "").try_into().expect("there is one");
        assert_eq!(from, ["OPENAI_BASE_URL"]);
        assert!(openai.contains("openai.models=*,") && !openai.contains("key"), "{openai}");
    }

    #[test]
    fn a_provider_of_the_configuration_takes_the_place_of_one_of_the_environment() {
        let configured = "openai.kind=openai,openai.models=gpt-5";
        assert_eq!(made(&[("OPENAI_API_KEY", "sk-secret")], configured), []);
    }

    #[test]
    fn an_address_that_is_none_is_named_by_its_variable() {
        let variables = [("OPENAI_BASE_URL".to_owned(), "here".to_owned())].into();
        let (name, problem) = providers(&variables, &[]).unwrap_err();
        assert_eq!(name, "OPENAI_BASE_URL");
        assert!(problem.starts_with("must be an address"), "{problem}");
    }
}
