//! What the assistant was told.

use dormouse_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    name: Option<String>,
    facts: Vec<String>,
}

impl Memory {
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn set_name(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    /// Keeps a fact, once.
    pub(crate) fn add(&mut self, fact: &str) {
        if !self.facts.iter().any(|known| known == fact) {
            self.facts.push(fact.to_owned());
        }
    }

    /// All of it, in words.
    pub(crate) fn recalled(&self) -> String {
        let name = self.name().map(|name| format!("your name is {name}"));
        let lines: Vec<String> =
            name.iter().chain(&self.facts).map(|fact| format!("- {fact}")).collect();
        if lines.is_empty() {
            "I remember nothing yet.".to_owned()
        } else {
            format!("I remember:\n{}", lines.join("\n"))
        }
    }
}
