//! `dormouse config`: what is in force, and where it comes from.

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use super::settings::SETTINGS;
use super::sources::Settings;
use super::store::json_flag;

pub(super) fn command() -> Command {
    Command::new("config").about("Show all settings, and where each comes from").arg(json_flag())
}

pub(super) fn run(given: &ArgMatches, settings: Settings) -> ExitCode {
    let text = if given.get_flag("json") { document(&settings) } else { table(&settings) };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A list of `{setting, value, from}`, on one line.
fn document(settings: &Settings) -> String {
    let row = |(setting, origin): (&super::settings::Setting, &super::sources::SettingOrigin)| {
        let value = (setting.show)(&settings.config);
        json!({ "setting": setting.name, "value": value, "from": origin.to_string() })
    };
    let rows: Vec<Value> = SETTINGS.iter().zip(&settings.origins).map(row).collect();
    format!("{}\n", Value::from(rows))
}

/// A line for each setting: name, value, origin.
fn table(settings: &Settings) -> String {
    let mut rows = vec![("SETTING".to_owned(), "VALUE".to_owned(), "FROM".to_owned())];
    for (setting, origin) in SETTINGS.iter().zip(&settings.origins) {
        rows.push((setting.name.to_owned(), (setting.show)(&settings.config), origin.to_string()));
    }
    let width = |column: fn(&(String, String, String)) -> &String| {
        rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0)
    };
    let (names, values) = (width(|row| &row.0), width(|row| &row.1));
    let line = |(name, value, origin): &(String, String, String)| {
        format!("{name:names$}  {value:values$}  {origin}\n")
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sources::Sources;
    use super::*;

    #[test]
    fn each_setting_is_shown_with_its_origin() {
        let options = [("listen", "127.0.0.1:9".to_owned())].into_iter().collect();
        let sources = Sources { options, file: Some("/dev/null".into()), ..Sources::default() };
        let settings = sources.merge().expect("it is right");
        let rows: Vec<Value> = serde_json::from_str(&document(&settings)).expect("it is JSON");
        let row = json!({ "setting": "listen", "value": "127.0.0.1:9", "from": "--listen" });
        assert!(rows.len() == SETTINGS.len() && rows.contains(&row), "{rows:?}");
        let table = table(&settings);
        assert_eq!(table.lines().count(), SETTINGS.len() + 1);
        let listen = table.lines().find(|line| line.starts_with("listen ")).expect("it is there");
        assert_eq!(
            listen.split_whitespace().collect::<Vec<_>>(),
            ["listen", "127.0.0.1:9", "--listen"]
        );
    }
}
