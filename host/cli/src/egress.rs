//! What agents may reach over HTTP, as the configuration says it.
//!
//! In the file rules and networks are lists of texts, and secrets are tables, `[secrets.github]`. No value of a
//! secret stands in any of them: a secret names the variable or the file that holds it, and nothing shows it.

pub(super) mod secrets;

use std::fmt::Display;

use super::models::Unusable;
use dormouse::egress::{EgressOptions, EgressPolicy, InvalidEgressRule, InvalidNetworks, Networks};
use secrets::SecretSetting;

/// What is shown where nothing is configured.
const NONE: &str = "none";
/// Rules that the banner names at most.
const NAMED: usize = 5;

/// What the configuration says of the web.
#[derive(Clone, Debug, Default)]
pub(super) struct EgressSettings {
    pub(super) policy: EgressPolicy,
    pub(super) private: Networks,
    pub(super) secrets: Vec<SecretSetting>,
}

impl EgressSettings {
    /// The options of a host that is configured so. `variable` reads the environment.
    ///
    /// # Errors
    /// The value of a secret is not where the secret says, or cannot be one.
    pub(super) fn options(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<EgressOptions, Unusable> {
        let secret = |setting: &SecretSetting| {
            setting.secret(variable).map_err(|problem| Unusable {
                setting: "secrets",
                problem: format!("has the secret {}: {problem}", setting.name),
            })
        };
        Ok(EgressOptions {
            policy: self.policy.clone(),
            private: self.private.clone(),
            secrets: self.secrets.iter().map(secret).collect::<Result<_, _>>()?,
            ..EgressOptions::default()
        })
    }
}

/// What may be reached, in one line for the start of a server.
pub(super) fn summary(policy: &EgressPolicy) -> String {
    let rules = policy.rules();
    let shown: Vec<String> = rules.iter().take(NAMED).map(ToString::to_string).collect();
    match rules.len().saturating_sub(NAMED) {
        0 if shown.is_empty() => "agents reach nothing (see egress)".to_owned(),
        0 => format!("agents reach {}", shown.join("; ")),
        more => format!("agents reach {} and what {more} more rules say", shown.join("; ")),
    }
}

/// Read a list of rules.
///
/// # Errors
/// What is wrong with one of them.
pub(super) fn policy(text: &str) -> Result<EgressPolicy, String> {
    let invalid = |error: InvalidEgressRule| format!("is not a list of rules: {error}");
    if text == NONE { Ok(EgressPolicy::default()) } else { text.parse().map_err(invalid) }
}

/// Read a list of networks.
///
/// # Errors
/// What is wrong with one of them.
pub(super) fn networks(text: &str) -> Result<Networks, String> {
    let invalid = |error: InvalidNetworks| format!("is not a list of networks: {error}");
    if text == NONE { Ok(Networks::default()) } else { text.parse().map_err(invalid) }
}

/// The list that is read as these rules or networks.
pub(super) fn show_list(list: &impl Display) -> String {
    let shown = list.to_string();
    if shown.is_empty() { NONE.to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(secrets: &str) -> EgressSettings {
        EgressSettings {
            policy: policy("GET,POST api.example.com,*.b.example:8443").expect("it reads"),
            private: networks("10.1.0.0/16").expect("it reads"),
            secrets: secrets::read(secrets).expect("it reads"),
        }
    }

    #[test]
    fn rules_and_networks_read_back_and_what_is_none_of_them_says_what_to_write() {
        let settings = settings("");
        assert_eq!(show_list(&settings.policy), "GET,POST api.example.com,*.b.example:8443");
        assert_eq!(show_list(&settings.private), "10.1.0.0/16");
        assert_eq!(show_list(&policy(NONE).expect("it reads")), NONE);
        let problem = policy("https://a.example").unwrap_err();
        assert!(problem.starts_with("is not a list of rules: "), "{problem}");
        let problem = networks("10.1.2.3/16").unwrap_err();
        assert!(problem.contains("10.1.0.0/16: write that"), "{problem}");
    }

    #[test]
    fn a_host_has_the_rules_the_networks_and_the_secrets_of_the_configuration() {
        let settings = settings("github.key-env=TOKEN,github.hosts=api.github.com");
        let options = settings.options(&|_| Some("ghp_0123456789".to_owned())).expect("they are");
        assert_eq!(options.policy, settings.policy);
        assert_eq!(options.private, settings.private);
        assert_eq!(options.secrets.len(), 1);
        assert!(!format!("{options:?} {settings:?}").contains("ghp_"));
    }

    #[test]
    fn a_secret_that_is_not_there_or_cannot_be_one_is_named_and_not_shown() {
        let settings = settings("github.key-env=TOKEN,github.hosts=api.github.com");
        for (value, expected) in [
            (None, "github: its key-env names TOKEN, which is not set"),
            (Some("short!"), "github: the value of a secret has 8 to 4096 bytes"),
            (Some("short!\nand long"), "github: the value of a secret has letters"),
        ] {
            let unusable = settings.options(&|_| value.map(str::to_owned)).unwrap_err();
            assert_eq!(unusable.setting, "secrets");
            assert!(unusable.problem.contains(expected), "{unusable:?}");
            assert!(!unusable.problem.contains("short!"), "{unusable:?}");
        }
    }

    #[test]
    fn the_summary_names_some_rules() {
        assert!(summary(&EgressPolicy::default()).contains("nothing"));
        assert_eq!(
            summary(&policy("GET a.example").expect("it reads")),
            "agents reach GET a.example"
        );
        let many = summary(&policy("a,b,c,d,e,f,g").expect("it reads"));
        assert!(many.ends_with("a; b; c; d; e and what 2 more rules say"), "{many}");
    }
}
