//! Where settings come from: the command line over `DORMOUSE_*` variables over the file over the
//! defaults. Each value keeps its origin, so that an error names it and `dormouse config` shows it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::client::VARIABLES;
use super::models::environment::{self, FromEnvironment, Variables};
use super::settings::{Config, SETTINGS, Setting};
use super::table;
use dormouse_domain::spelling::near_miss;

/// The file that is read where it is there and no other is named.
const FILE: &str = "dormouse.toml";

/// The setting that variables of providers add to.
const PROVIDERS: &str = "providers";

/// The variable that names the file.
const FILE_VARIABLE: &str = "DORMOUSE_CONFIG";

const PREFIX: &str = "DORMOUSE_";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SettingOrigin {
    /// Nobody has said anything.
    Default,
    /// The file of this name.
    File(String),
    /// The variable of this name.
    Variable(String),
    /// The option of this name, without its dashes.
    Option(&'static str),
    /// Parts of it from each of these.
    Several(Vec<SettingOrigin>),
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingOrigin::Default => f.write_str("default"),
            SettingOrigin::File(name) | SettingOrigin::Variable(name) => f.write_str(name),
            SettingOrigin::Option(name) => write!(f, "--{name}"),
            SettingOrigin::Several(origins) => {
                let names: Vec<String> = origins.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

/// Why the settings cannot be used. Each names what is to be changed, and where.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{file} cannot be read: {error}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{file} is not valid TOML: {error}")]
    NotToml {
        /// The file.
        file: String,
        /// Where it is not.
        error: String,
    },
    /// There is a setting that the program does not know.
    #[error("unknown setting {name} in {origin}: {}`dormouse --help` lists all settings", did_you_mean(.meant.as_ref()))]
    Unknown {
        /// Where it is set.
        origin: String,
        /// Its name.
        name: String,
        /// What it was probably meant to be.
        meant: Option<String>,
    },
    /// A key of the file holds what no setting can be.
    #[error("{name} in {file} {problem}")]
    NotASetting {
        /// The file.
        file: String,
        /// The key.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A value is not what it must be.
    #[error("{name} (from {origin}) {problem}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// Where the value comes from.
        origin: String,
        /// What it must be.
        problem: String,
    },
}

/// All settings, with the origin of each in the order of the table.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) origins: Vec<SettingOrigin>,
}

/// What settings are read from.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The options of the command line, by name.
    pub(super) options: BTreeMap<&'static str, String>,
    /// The file that the command line names.
    pub(super) file: Option<PathBuf>,
    /// The variables of the environment that are this program's.
    pub(super) variables: BTreeMap<String, String>,
    /// The variables of the environment that stand for providers of models.
    pub(super) of_providers: Variables,
}

impl Settings {
    /// Where the value of a setting comes from.
    pub(super) fn origin(&self, name: &str) -> String {
        let place = SETTINGS.iter().position(|setting| setting.name == name);
        place.map_or_else(String::new, |place| self.origins[place].to_string())
    }
}

impl Sources {
    /// The variables that are meant for a host, out of those of the process.
    pub(super) fn own_variables() -> BTreeMap<String, String> {
        let own = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            if VARIABLES.contains(&name.as_str()) {
                return None;
            }
            Some((name, value.to_string_lossy().into_owned()))
        };
        std::env::vars_os().filter_map(own).collect()
    }

    /// Merge everything.
    pub(super) fn merge(mut self) -> Result<Settings, SettingsError> {
        let named = self.variables.remove(FILE_VARIABLE).map(PathBuf::from);
        let (file, name) = match self.file.take().or(named) {
            Some(path) => (read(&path)?, path.display().to_string()),
            None if Path::new(FILE).exists() => (read(Path::new(FILE))?, FILE.to_owned()),
            None => (BTreeMap::new(), FILE.to_owned()),
        };
        self.with_file(file, &name)
    }

    fn with_file(
        mut self,
        mut file: BTreeMap<String, String>,
        name: &str,
    ) -> Result<Settings, SettingsError> {
        let mut config = Config::default();
        let mut origins = Vec::with_capacity(SETTINGS.len());
        for setting in SETTINGS {
            let variable = setting.variable();
            let values = [
                (file.remove(setting.name), SettingOrigin::File(name.to_owned())),
                (self.variables.remove(&variable), SettingOrigin::Variable(variable)),
                (self.options.remove(setting.name), SettingOrigin::Option(setting.name)),
            ];
            origins.push(take(&mut config, setting, values)?);
        }
        nothing_left(file.into_keys(), name, |setting| setting.name.to_owned())?;
        nothing_left(self.variables.into_keys(), "the environment", Setting::variable)?;
        add_providers(&mut config, &mut origins, &self.of_providers)?;
        Ok(Settings { config, origins })
    }
}

/// Take the last of these values that is there. Also what it overrides must be right: nobody keeps a
/// mistake for later.
fn take(
    config: &mut Config,
    setting: &Setting,
    values: [(Option<String>, SettingOrigin); 3],
) -> Result<SettingOrigin, SettingsError> {
    let mut last = SettingOrigin::Default;
    for (value, origin) in values {
        let Some(value) = value else { continue };
        (setting.set)(config, &value).map_err(|problem| SettingsError::Invalid {
            name: setting.name,
            origin: origin.to_string(),
            problem,
        })?;
        last = origin;
    }
    Ok(last)
}

/// Add the providers that variables stand for.
fn add_providers(
    config: &mut Config,
    origins: &mut [SettingOrigin],
    variables: &Variables,
) -> Result<(), SettingsError> {
    let added = environment::providers(variables, &config.models.providers);
    let added = added.map_err(|(origin, problem)| SettingsError::Invalid {
        name: PROVIDERS,
        origin: origin.to_owned(),
        problem,
    })?;
    if added.is_empty() {
        return Ok(());
    }
    let place = SETTINGS.iter().position(|setting| setting.name == PROVIDERS);
    let origin = &mut origins[place.expect("it is in the table")];
    let mut all: Vec<_> =
        Some(origin.clone()).filter(|it| *it != SettingOrigin::Default).into_iter().collect();
    for FromEnvironment { provider, variables } in added {
        config.models.providers.push(provider);
        all.extend(variables.into_iter().map(|name| SettingOrigin::Variable(name.to_owned())));
    }
    *origin = SettingOrigin::Several(all);
    Ok(())
}

fn nothing_left(
    mut unknown: impl Iterator<Item = String>,
    origin: &str,
    spelt: fn(&Setting) -> String,
) -> Result<(), SettingsError> {
    let Some(name) = unknown.next() else { return Ok(()) };
    let known: Vec<String> = SETTINGS.iter().map(spelt).collect();
    let meant = near_miss(&name, known.iter().map(String::as_str)).map(str::to_owned);
    Err(SettingsError::Unknown { origin: origin.to_owned(), name, meant })
}

fn did_you_mean(meant: Option<&String>) -> String {
    meant.map_or_else(String::new, |meant| format!("did you mean {meant}? "))
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, SettingsError> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, &file),
        Err(error) => Err(SettingsError::Unreadable { file, error }),
    }
}

/// The keys of a file, each with the text of its value.
fn parse(text: &str, file: &str) -> Result<BTreeMap<String, String>, SettingsError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        SettingsError::NotToml { file: file.to_owned(), error: error.to_string() }
    })?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let problem = match &value {
            toml::Value::Table(table) if table::TABLES.contains(&key.as_str()) => {
                match table::as_list(table) {
                    Ok(list) => {
                        values.insert(key, list);
                        continue;
                    }
                    Err(problem) => problem,
                }
            }
            toml::Value::Table(_) => {
                "is a section, and there are none: put its keys at the top level"
            }
            _ => "must be a string, a number, or a list of strings",
        };
        let not_one =
            || SettingsError::NotASetting { file: file.to_owned(), name: key.clone(), problem };
        let text = text_of(&value).ok_or_else(not_one)?;
        values.insert(key, text);
    }
    Ok(values)
}

fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Table(_) | toml::Value::Datetime(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(
        options: &[(&'static str, &str)],
        variables: &[(&str, &str)],
        file: &str,
    ) -> Result<Settings, SettingsError> {
        let options = options.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (of_providers, variables) = variables
            .partition(|(name, _)| name.starts_with("ANTHROPIC_") || name.starts_with("OPENAI_"));
        let sources = Sources { options: options.collect(), file: None, variables, of_providers };
        sources.with_file(parse(file, FILE)?, FILE)
    }

    fn origin(settings: &Settings, name: &str) -> String {
        settings.origin(name)
    }

    #[test]
    fn rules_of_the_web_are_a_list_of_the_file_and_secrets_are_tables() {
        let file = "egress = [\"GET,POST api.example.com\", \"*.b.example:*\"]\n\
                    egress-private = [\"10.1.0.0/16\", \"::1\"]\n\
                    [secrets.github]\nkey-env = \"TOKEN\"\nhosts = [\"api.github.com\"]";
        let settings = merge(&[], &[], file).expect("it is right").config.egress;
        assert_eq!(settings.policy.to_string(), "GET,POST api.example.com,*.b.example:*");
        assert_eq!(settings.private.to_string(), "10.1.0.0/16,::1/128");
        assert_eq!(settings.secrets.len(), 1);
        let wrong = merge(&[], &[], "egress = [\"http://a.example\"]").unwrap_err().to_string();
        let expected =
            "egress (from dormouse.toml) is not a list of rules: `//a.example` is no port";
        assert!(wrong.starts_with(expected), "{wrong}");
    }

    #[test]
    fn mcp_servers_are_tables_of_the_file() {
        let file = "mcp-idle-time = \"5m\"\n[mcp.files]\ncommand = [\"npx\", \"files\"]\nenv-pass = [\"TOKEN\"]\n\
                    [mcp.files.env]\nMODE = \"read only\"\n[mcp.remote]\nurl = \"https://mcp.example/x\"";
        let settings = merge(&[], &[], file).expect("it is right").config.mcp;
        let shown = crate::mcp::show_all(&settings.servers);
        let expected = "files.command=npx files,files.env.MODE=read only,files.env-pass=TOKEN,\
                        remote.url=https://mcp.example/x";
        assert_eq!((shown.as_str(), settings.idle.as_secs()), (expected, 300));
    }

    #[test]
    fn the_command_line_wins_over_variables_over_the_file_over_the_defaults() {
        let settings = merge(
            &[("listen", "127.0.0.1:1")],
            &[("DORMOUSE_LISTEN", "127.0.0.1:2"), ("DORMOUSE_MAX_RESIDENTS", "7")],
            "listen = \"127.0.0.1:3\"\nmax-residents = 8\nmemory-budget = \"1GiB\"",
        )
        .expect("it is right");
        assert_eq!(settings.config.listen.to_string(), "127.0.0.1:1");
        assert_eq!(settings.config.host.max_residents, 7);
        assert_eq!(settings.config.host.memory_budget, 1 << 30);
        assert_eq!(origin(&settings, "listen"), "--listen");
        assert_eq!(origin(&settings, "max-residents"), "DORMOUSE_MAX_RESIDENTS");
        assert_eq!(origin(&settings, "memory-budget"), "dormouse.toml");
        assert_eq!(origin(&settings, "log"), "default");
    }

    #[test]
    fn a_setting_that_there_is_not_is_named() {
        let error = merge(&[], &[("DORMOUSE_LISTENN", "x")], "").unwrap_err().to_string();
        let expected = "unknown setting DORMOUSE_LISTENN in the environment: did you mean \
                        DORMOUSE_LISTEN? `dormouse --help` lists all settings";
        assert_eq!(error, expected);
        let error = merge(&[], &[], "max_residents = 1").unwrap_err().to_string();
        assert!(error.contains("in dormouse.toml: did you mean max-residents?"), "{error}");
        let error = merge(&[], &[], "foo = 2").unwrap_err().to_string();
        assert!(error.starts_with("unknown setting foo in dormouse.toml: `dormouse"), "{error}");
    }

    #[test]
    fn a_bad_value_names_its_origin_also_where_it_is_overridden() {
        let error = merge(&[], &[("DORMOUSE_TURN_TIMEOUT", "soon")], "").unwrap_err().to_string();
        assert!(error.starts_with("turn-timeout (from DORMOUSE_TURN_TIMEOUT) must"), "{error}");
        let error = merge(&[("log", "json")], &[], "log = \"xml\"").unwrap_err().to_string();
        assert!(error.starts_with("log (from dormouse.toml) must"), "{error}");
    }

    #[test]
    fn lists_of_the_file_are_lists_of_strings() {
        let settings = merge(&[], &[], "allowed-hosts = [\"a.org\", \"b.org\"]").expect("right");
        assert_eq!(settings.config.api.allowed_hosts, ["a.org", "b.org"]);
        assert!(merge(&[], &[], "allowed-hosts = [1]").is_err());
        let settings = merge(&[], &[], "[limits.user.ann]\nmax-turns = 3").expect("right");
        assert_eq!(
            crate::limits::show_all(&settings.config.host.limits.overrides),
            "user.ann.max-turns=3"
        );
        let error = merge(&[], &[], "[limits.user.ann]\nmax-turns = true").unwrap_err().to_string();
        assert!(
            error.starts_with("limits in dormouse.toml has a value that is no text, no number"),
            "{error}"
        );
        let error = merge(&[], &[], "[host]\nlog = \"json\"").unwrap_err().to_string();
        assert!(error.starts_with("host in dormouse.toml is a section"), "{error}");
    }
    #[test]
    fn a_table_of_the_file_and_variables_make_providers_together() {
        let file = "[providers.local]\nkind = \"openai\"\nurl = \"http://127.0.0.1:11434/v1\"\n\
                    models = [\"llama3*\", \"qwen3\"]\n[providers.local.prices.\"llama3.1\"]\n\
                    input = 0\noutput = 0.25\n[prices.\"gpt-4.1*\"]\ninput = 2\noutput = 8\n";
        let settings = merge(&[], &[("ANTHROPIC_API_KEY", "sk-secret")], file).expect("it reads");
        let providers = crate::models::providers::show_all(&settings.config.models.providers);
        for part in
            ["local.models=llama3* qwen3", "local.prices.llama3.1.output=0.25", "anthropic."]
        {
            assert!(providers.contains(part), "{providers}");
        }
        assert!(!format!("{:?}", settings.config).contains("sk-secret"));
        assert_eq!(origin(&settings, "providers"), "dormouse.toml, ANTHROPIC_API_KEY");
        let prices = crate::models::prices::show_all(&settings.config.models.prices);
        assert_eq!(prices, "gpt-4.1*.input=2,gpt-4.1*.output=8");
    }

    #[test]
    fn a_bad_provider_names_its_place_and_no_value() {
        let file = "[providers.local]\nkey = \"sk-secret\"\n";
        let error = merge(&[], &[], file).unwrap_err().to_string();
        let expected = "providers (from dormouse.toml) has the entry 'local.key': a key is not";
        assert!(error.starts_with(expected) && !error.contains("sk-secret"), "{error}");
        let error = merge(&[], &[("OPENAI_BASE_URL", "here")], "").unwrap_err().to_string();
        assert!(
            error.starts_with("providers (from OPENAI_BASE_URL) must be an address"),
            "{error}"
        );
    }
}
