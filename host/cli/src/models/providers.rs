//! Providers, as `NAME.SETTING=VALUE`.

use std::path::PathBuf;

use super::prices::{self, PriceSetting};
use crate::value;
use dormouse::model::{ANTHROPIC, Anthropic, ModelPattern, OPENAI, OpenAi, Provider, Secret};

/// What is shown where nothing is configured.
const NONE: &str = "none";
/// The provider that is always there.
const OFFLINE: &str = "offline";
/// Calls at a time, where nothing is said.
const MAX_CALLS: usize = 64;
/// The most that a file with a key may hold, in bytes.
const MAX_KEY_BYTES: u64 = 16 << 10;

/// One provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProviderSetting {
    pub(super) name: String,
    pub(super) kind: ProviderKind,
    /// `None`: the public address of its kind.
    pub(super) url: Option<String>,
    /// `None`: it takes none.
    pub(super) key: Option<KeySource>,
    pub(super) models: Vec<ModelPattern>,
    pub(super) max_calls: usize,
    pub(super) prices: Vec<PriceSetting>,
}

/// The wire format of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProviderKind {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's Chat Completions.
    OpenAi,
}

/// Where the key of a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// In the variable of this name.
    Variable(String),
    /// In this file.
    File(PathBuf),
}

impl ProviderKind {
    fn as_str(self) -> &'static str {
        match self {
            ProviderKind::Anthropic => "anthropic",
            ProviderKind::OpenAi => "openai",
        }
    }
}

impl ProviderSetting {
    /// A provider without a key, with these settings.
    pub(super) fn new(name: &str, kind: ProviderKind, models: Vec<ModelPattern>) -> Self {
        ProviderSetting {
            name: name.to_owned(),
            kind,
            url: None,
            key: None,
            models,
            max_calls: MAX_CALLS,
            prices: Vec::new(),
        }
    }

    /// The provider, with its key.
    ///
    /// # Errors
    /// Why its key or its address cannot be used. The key is in none of them.
    pub(super) fn provider(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Box<dyn Provider>, String> {
        let key = self.key.as_ref().map(|key| key.read(variable)).transpose()?;
        let provider: Result<Box<dyn Provider>, _> = match self.kind {
            ProviderKind::Anthropic => {
                let url = with_version(self.url.as_deref().unwrap_or(ANTHROPIC));
                Anthropic::new(&self.name, &url, key).map(|it| Box::new(it) as _)
            }
            ProviderKind::OpenAi => {
                let url = self.url.as_deref().unwrap_or(OPENAI);
                OpenAi::new(&self.name, url, key).map(|it| Box::new(it) as _)
            }
        };
        provider.map_err(|error| error.to_string())
    }

    /// The entries that are read as this.
    fn entries(&self) -> Vec<String> {
        let name = &self.name;
        let mut entries = vec![format!("{name}.kind={}", self.kind.as_str())];
        entries.extend(self.url.iter().map(|url| format!("{name}.url={url}")));
        entries.extend(self.key.iter().map(|key| key.entry(name)));
        let models: Vec<String> = self.models.iter().map(ToString::to_string).collect();
        entries.push(format!("{name}.models={}", models.join(" ")));
        entries.push(format!("{name}.max-calls={}", self.max_calls));
        let prices = self.prices.iter().flat_map(PriceSetting::entries);
        entries.extend(prices.map(|entry| format!("{name}.prices.{entry}")));
        entries
    }
}

/// The address of Anthropic's Messages. Its makers name it without the version, as their clients take it.
fn with_version(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/v1") { url.to_owned() } else { format!("{url}/v1") }
}

impl KeySource {
    /// The entry that is read as this.
    pub(crate) fn entry(&self, name: &str) -> String {
        match self {
            KeySource::Variable(variable) => format!("{name}.key-env={variable}"),
            KeySource::File(path) => format!("{name}.key-file={}", path.display()),
        }
    }

    /// What an entry of this name and value says, where it is one of a key.
    ///
    /// # Errors
    /// What it must be. The value is not repeated: it may be a key that stands where none belongs.
    pub(crate) fn of_entry(setting: &str, value: &str) -> Result<Option<KeySource>, String> {
        match setting {
            "key-env" => Ok(Some(KeySource::Variable(variable(value)?))),
            "key-file" if value.is_empty() => Err("must be a path".to_owned()),
            "key-file" => Ok(Some(KeySource::File(value.into()))),
            "key" => Err("a key is not written here: name its variable with key-env, or its file \
                          with key-file"
                .to_owned()),
            _ => Ok(None),
        }
    }

    fn read(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Secret, String> {
        self.text(variable).map(|key| Secret::new(&key))
    }

    /// The key itself, for what keeps it and shows it nowhere.
    ///
    /// # Errors
    /// It is not where this says.
    pub(crate) fn text(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        let (key, place) = match self {
            KeySource::Variable(name) => {
                let place = format!("its key-env names {name}, which");
                let key = variable(name).ok_or_else(|| format!("{place} is not set"))?;
                (key, place)
            }
            KeySource::File(path) => {
                let place = format!("its key-file {}", path.display());
                let unread = |error| format!("{place} cannot be read: {error}");
                if std::fs::metadata(path).map_err(unread)?.len() > MAX_KEY_BYTES {
                    return Err(format!("{place} has over {MAX_KEY_BYTES} bytes"));
                }
                (std::fs::read_to_string(path).map_err(unread)?, place)
            }
        };
        if key.trim().is_empty() { Err(format!("{place} is empty")) } else { Ok(key) }
    }
}

/// What is known of a provider while its entries are read.
#[derive(Default)]
struct Draft {
    name: String,
    kind: Option<ProviderKind>,
    url: Option<String>,
    key: Option<KeySource>,
    models: Vec<ModelPattern>,
    max_calls: Option<usize>,
    prices: Vec<PriceSetting>,
}

/// Read a list of settings of providers, each `NAME.SETTING=VALUE`.
///
/// # Errors
/// What the entry must be that is none, or what a provider lacks. No value is repeated: one may be a key that
/// stands where none belongs.
pub(crate) fn read(text: &str) -> Result<Vec<ProviderSetting>, String> {
    let mut drafts: Vec<Draft> = Vec::new();
    for (path, value) in entries(text) {
        set(&mut drafts, path, value)
            .map_err(|problem| format!("has the entry '{path}': {problem}"))?;
    }
    drafts.into_iter().map(Draft::finish).collect()
}

/// The entries of a list: the path and the value of each.
pub(crate) fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let text = if text == NONE { "" } else { text };
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| {
        let (path, value) = entry.split_once('=').unwrap_or((entry, ""));
        (path.trim(), value.trim())
    })
}

fn set(drafts: &mut Vec<Draft>, path: &str, value: &str) -> Result<(), String> {
    let (name, setting) = path.split_once('.').ok_or("it must be NAME.SETTING=VALUE")?;
    let is_good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if name.is_empty() || !name.chars().all(is_good) {
        return Err("the name of a provider has letters, digits, - and _".to_owned());
    }
    if name == OFFLINE {
        return Err("the provider offline is always there, and has no settings".to_owned());
    }
    let known = drafts.iter().position(|draft| draft.name == name).unwrap_or_else(|| {
        drafts.push(Draft { name: name.to_owned(), ..Draft::default() });
        drafts.len() - 1
    });
    drafts[known].set(setting, value)
}

impl Draft {
    fn set(&mut self, setting: &str, value: &str) -> Result<(), String> {
        if let Some(key) = KeySource::of_entry(setting, value)? {
            return self.set_key(key);
        }
        match setting {
            "kind" => self.kind = Some(kind(value)?),
            "url" => self.url = Some(url(value)?),
            "models" => {
                self.models = value.split_whitespace().map(pattern).collect::<Result<_, _>>()?;
            }
            "max-calls" => {
                let count = value::positive(value)?;
                self.max_calls =
                    Some(if count > 1_000_000 { Err("must be at most 1000000")? } else { count });
            }
            _ => match setting.strip_prefix("prices.") {
                Some(path) => prices::set(&mut self.prices, path, value)?,
                None => {
                    let known = "kind, url, key-env, key-file, models, max-calls, prices";
                    return Err(format!("there is no setting {setting}; there are {known}"));
                }
            },
        }
        Ok(())
    }

    fn set_key(&mut self, key: KeySource) -> Result<(), String> {
        match self.key.replace(key) {
            None => Ok(()),
            Some(_) => Err("its key is named already, by key-env or key-file".to_owned()),
        }
    }

    fn finish(self) -> Result<ProviderSetting, String> {
        let Draft { name, kind, url, key, models, max_calls, prices } = self;
        let kind = kind.ok_or_else(|| format!("has no {name}.kind: anthropic or openai"))?;
        if models.is_empty() {
            return Err(format!(
                "has no {name}.models: names of models, or their beginnings and a *"
            ));
        }
        prices::check(&prices).map_err(|problem| format!("{problem} (provider {name})"))?;
        let max_calls = max_calls.unwrap_or(MAX_CALLS);
        Ok(ProviderSetting { name, kind, url, key, models, max_calls, prices })
    }
}

/// The list that is read as these.
pub(crate) fn show_all(providers: &[ProviderSetting]) -> String {
    let entries: Vec<String> = providers.iter().flat_map(ProviderSetting::entries).collect();
    if entries.is_empty() { NONE.to_owned() } else { entries.join(",") }
}

fn kind(text: &str) -> Result<ProviderKind, String> {
    match text {
        "anthropic" => Ok(ProviderKind::Anthropic),
        "openai" => Ok(ProviderKind::OpenAi),
        _ => Err("must be anthropic or openai".to_owned()),
    }
}

/// An address, in which no key can hide: neither as a password nor in a query.
pub(super) fn url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_good = |rest: &str| !rest.is_empty() && !rest.contains(['@', '?', '#', ' ']);
    match host.filter(|rest| is_good(rest)) {
        Some(_) => Ok(text.to_owned()),
        None => Err("must be an address such as https://api.example.org/v1, without user or query"
            .to_owned()),
    }
}

/// The name of a variable.
fn variable(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match !text.is_empty() && text.chars().all(is_good) {
        true => Ok(text.to_owned()),
        false => Err("must be the name of a variable, and not the key".to_owned()),
    }
}

/// A name of a model, or its beginning and a `*`.
pub(super) fn pattern(text: &str) -> Result<ModelPattern, String> {
    let beginning = text.strip_suffix('*').unwrap_or(text);
    match !text.is_empty() && !beginning.contains(['*', ' ']) {
        true => Ok(ModelPattern::new(text)),
        false => Err("the model must be a name, or its beginning and a *".to_owned()),
    }
}

#[cfg(test)]
mod tests;
