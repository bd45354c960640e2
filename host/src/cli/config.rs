//! `dormouse config`: what is in force, and where it comes from.

use std::io::Write;
use std::process::ExitCode;

use super::settings::SETTINGS;
use super::sources::Settings;

pub(super) fn run(settings: Settings) -> ExitCode {
    let written = std::io::stdout().lock().write_all(table(&settings).as_bytes());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
        let table = table(&sources.merge().expect("it is right"));
        assert_eq!(table.lines().count(), SETTINGS.len() + 1);
        let listen = table.lines().find(|line| line.starts_with("listen ")).expect("it is there");
        assert_eq!(
            listen.split_whitespace().collect::<Vec<_>>(),
            ["listen", "127.0.0.1:9", "--listen"]
        );
    }
}
