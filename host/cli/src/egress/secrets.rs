//! Secrets, as `NAME.SETTING=VALUE`.

use super::NONE;
use crate::models::providers::{KeySource, entries};
use dormouse::egress::{EgressSecret, EgressTarget, InvalidEgressRule};

/// One secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretSetting {
    pub(super) name: String,
    key: KeySource,
    hosts: Vec<EgressTarget>,
}

impl SecretSetting {
    /// The secret, with its value.
    ///
    /// # Errors
    /// Why its value cannot be used. The value is in none of them.
    pub(super) fn secret(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<EgressSecret, String> {
        let value = self.key.text(variable)?;
        let secret = EgressSecret::new(&self.name, &value, self.hosts.clone());
        secret.map_err(|error| error.to_string())
    }

    /// The entries that are read as this.
    fn entries(&self) -> [String; 2] {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        [self.key.entry(&self.name), format!("{}.hosts={}", self.name, hosts.join(" "))]
    }
}

/// What is known of a secret while its entries are read.
#[derive(Default)]
struct Draft {
    name: String,
    key: Option<KeySource>,
    hosts: Vec<EgressTarget>,
}

/// Read a list of settings of secrets, each `NAME.SETTING=VALUE`.
///
/// # Errors
/// What the entry must be that is none, or what a secret lacks. No value is repeated: one may be a secret that
/// stands where none belongs.
pub(crate) fn read(text: &str) -> Result<Vec<SecretSetting>, String> {
    let mut drafts: Vec<Draft> = Vec::new();
    for (path, value) in entries(text) {
        set(&mut drafts, path, value)
            .map_err(|problem| format!("has the entry '{path}': {problem}"))?;
    }
    drafts.into_iter().map(Draft::finish).collect()
}

/// The list that is read as these.
pub(crate) fn show_all(secrets: &[SecretSetting]) -> String {
    let entries: Vec<String> = secrets.iter().flat_map(SecretSetting::entries).collect();
    if entries.is_empty() { NONE.to_owned() } else { entries.join(",") }
}

fn set(drafts: &mut Vec<Draft>, path: &str, value: &str) -> Result<(), String> {
    let (name, setting) = path.split_once('.').ok_or("it must be NAME.SETTING=VALUE")?;
    let is_good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_good) {
        return Err("the name of a secret has at most 64 letters, digits, - and _".to_owned());
    }
    let known = drafts.iter().position(|draft| draft.name == name).unwrap_or_else(|| {
        drafts.push(Draft { name: name.to_owned(), ..Draft::default() });
        drafts.len() - 1
    });
    drafts[known].set(setting, value)
}

impl Draft {
    fn set(&mut self, setting: &str, value: &str) -> Result<(), String> {
        match (KeySource::of_entry(setting, value)?, setting) {
            (Some(key), _) => match self.key.replace(key) {
                None => Ok(()),
                Some(_) => Err("its key is named already, by key-env or key-file".to_owned()),
            },
            (None, "hosts") => {
                let hosts = value.split_whitespace().map(host);
                self.hosts = hosts.collect::<Result<_, _>>()?;
                Ok(())
            }
            (None, _) => {
                Err(format!("there is no setting {setting}; there are key-env, key-file, hosts"))
            }
        }
    }

    fn finish(self) -> Result<SecretSetting, String> {
        let Draft { name, key, hosts } = self;
        let key = key.ok_or_else(|| format!("has no {name}.key-env and no {name}.key-file"))?;
        match hosts.is_empty() {
            false => Ok(SecretSetting { name, key, hosts }),
            true => Err(format!("has no {name}.hosts: the hosts that the secret is sent to")),
        }
    }
}

fn host(text: &str) -> Result<EgressTarget, String> {
    text.parse().map_err(|error: InvalidEgressRule| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_read_back_as_what_they_are_shown_as() {
        let list = "github.key-env=GITHUB_TOKEN,github.hosts=api.github.com uploads.github.com:8443,\
                    b_1.key-file=/run/b.key,b_1.hosts=*.b.example";
        assert_eq!(show_all(&read(list).expect("it reads")), list);
        assert_eq!(read(NONE), Ok(Vec::new()));
        assert_eq!(show_all(&[]), NONE);
    }

    #[test]
    fn what_is_no_secret_says_what_it_lacks_and_repeats_no_value() {
        for (list, expected) in [
            ("a", "must be NAME.SETTING=VALUE"),
            ("a b.key-env=X", "letters, digits"),
            ("a.key=ghp_01234", "is not written here"),
            ("a.key-env=ghp-01234", "must be the name of a variable"),
            ("a.value=ghp_01234", "there is no setting value"),
            ("a.key-env=X,a.key-file=/y", "is named already"),
            ("a.key-env=X", "has no a.hosts"),
            ("a.hosts=a.example", "has no a.key-env"),
            ("a.hosts=a.example/x", "is no host"),
        ] {
            let problem = read(list).expect_err(list);
            assert!(problem.contains(expected) && !problem.contains("ghp"), "{list}: {problem}");
        }
    }
}
