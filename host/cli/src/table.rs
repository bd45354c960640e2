//! Settings that are tables of the file: each is read as the list that it also is on the command line,
//! `user.alice.max-turns=10,pattern.hybrid.max-idle-time=30m`.

/// The settings that may be tables.
pub(super) const TABLES: [&str; 5] = ["limits", "providers", "prices", "secrets", "mcp"];

/// A table as a list: each value behind the names of the tables that it stands in.
///
/// # Errors
/// What is wrong with an entry of it.
pub(super) fn as_list(table: &toml::Table) -> Result<String, &'static str> {
    let mut entries = Vec::new();
    collect(&mut entries, "", table)?;
    Ok(entries.join(","))
}

fn collect(entries: &mut Vec<String>, path: &str, table: &toml::Table) -> Result<(), &'static str> {
    for (name, value) in table {
        if name.contains([',', '=']) {
            return Err("has a name with ',' or '=', which no name can have");
        }
        let text = match value {
            toml::Value::Table(inner) => {
                collect(entries, &format!("{path}{name}."), inner)?;
                continue;
            }
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Array(items) => texts(items).ok_or(NO_VALUE)?,
            toml::Value::Boolean(_) | toml::Value::Datetime(_) => return Err(NO_VALUE),
        };
        if text.contains(',') {
            return Err("has a text with ',', which no value can have: write a list as one");
        }
        entries.push(format!("{path}{name}={text}"));
    }
    Ok(())
}

const NO_VALUE: &str = "has a value that is no text, no number and no list of texts";

/// A list of texts as one, with spaces between.
fn texts(items: &[toml::Value]) -> Option<String> {
    let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
    texts.filter(|texts| !texts.iter().any(|text| text.contains(' '))).map(|texts| texts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(file: &str) -> Result<String, &'static str> {
        as_list(&file.parse().expect("it is TOML"))
    }

    #[test]
    fn each_value_of_a_table_is_an_entry_behind_the_names_of_its_tables() {
        let file = "[all]\nmax-lifetime = \"30d\"\n[user.\"john@example.com\"]\nmax-turns = 10\n\
                    [project.x]\nmax-budget-usd = 1.5\n[local]\nmodels = [\"llama3*\", \"qwen3\"]\n";
        let expected = [
            "all.max-lifetime=30d",
            "local.models=llama3* qwen3",
            "project.x.max-budget-usd=1.5",
            "user.john@example.com.max-turns=10",
        ];
        let list = list(file).expect("it is a list");
        let mut entries: Vec<&str> = list.split(',').collect();
        entries.sort_unstable();
        assert_eq!(entries, expected);
    }

    #[test]
    fn what_no_list_can_hold_is_refused() {
        for file in [
            "[all]\nmax-turns = true",
            "[user.\"a,b\"]\nmax-turns = 1",
            "[local]\nurl = \"http://a,b\"",
            "[local]\nmodels = [1]",
            "[local]\nmodels = [\"a b\"]",
        ] {
            assert!(list(file).is_err(), "{file}");
        }
    }
}
