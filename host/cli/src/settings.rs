//! All settings of the program, each in one place: its name, what it is for, how it is read and
//! shown. Command line, environment, file, help and `dormouse config` all go by this table.

mod entry;
mod form;
mod table;

use std::path::PathBuf;

use super::egress::EgressSettings;
use super::listen::Addresses;
use super::mcp::McpSettings;
use super::models::ModelSettings;
use dormouse::HostOptions;
use dormouse_base::telemetry::LogFormat;
use dormouse_http::ApiOptions;
pub(super) use table::SETTINGS;

/// Everything that the program is told.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) data_dir: PathBuf,
    pub(super) listen: Addresses,
    pub(super) log: LogFormat,
    pub(super) log_level: String,
    pub(super) host: HostOptions,
    pub(super) models: ModelSettings,
    pub(super) egress: EgressSettings,
    pub(super) mcp: McpSettings,
    pub(super) api: ApiOptions,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_dir: PathBuf::from("data"),
            listen: Addresses::default(),
            log: LogFormat::Human,
            log_level: "info".to_owned(),
            host: HostOptions::default(),
            models: ModelSettings::default(),
            egress: EgressSettings::default(),
            mcp: McpSettings::default(),
            api: ApiOptions::default(),
        }
    }
}

/// What a setting is about: its heading in the help, and which commands it is an option of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SettingGroup {
    Common,
    Server,
    Sessions,
    Models,
    Web,
    Machine,
    Storage,
}

impl SettingGroup {
    /// The heading in the help.
    pub(super) fn heading(self) -> &'static str {
        match self {
            SettingGroup::Common => "Options",
            SettingGroup::Server => "Server",
            SettingGroup::Sessions => "Sessions and turns",
            SettingGroup::Models => "Language models",
            SettingGroup::Web => "The web",
            SettingGroup::Machine => "Memory and threads",
            SettingGroup::Storage => "Storage",
        }
    }

    /// Whether commands that look after the data directory go by it.
    pub(super) fn is_of_store(self) -> bool {
        matches!(self, SettingGroup::Common | SettingGroup::Storage)
    }

    /// Whether commands that run worlds by themselves go by it.
    pub(super) fn is_of_models(self) -> bool {
        self == SettingGroup::Models
    }
}

/// One setting. Its name is that of the option, of the key in the file, and, in capitals, of the
/// variable.
pub(super) struct Setting {
    pub(super) group: SettingGroup,
    pub(super) name: &'static str,
    /// What stands for its value in the help.
    pub(super) value: &'static str,
    pub(super) doc: &'static str,
    /// Take a value. The error says what it must be.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    /// The value that is in force, without secrets.
    pub(super) show: fn(&Config) -> String,
}

impl Setting {
    /// The variable of the environment: `DORMOUSE_DATA_DIR`.
    pub(super) fn variable(&self) -> String {
        format!("DORMOUSE_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_reads_back_as_what_it_is() {
        let mut config = Config::default();
        for setting in SETTINGS {
            let shown = (setting.show)(&config);
            if !matches!(setting.name, "api-keys" | "allowed-hosts" | "allowed-origins") {
                (setting.set)(&mut config, &shown)
                    .unwrap_or_else(|e| panic!("{} {e}", setting.name));
            }
            assert_eq!((setting.show)(&config), shown, "{}", setting.name);
        }
    }

    #[test]
    fn names_are_distinct_and_of_one_form() {
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert!(names.iter().all(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
    }
}
