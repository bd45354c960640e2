//! What the offline model says where it has no script and no tool to ask for: it remembers a few things that
//! the conversation says.

use std::collections::HashSet;

use super::text;
use dormouse_domain::model::{ModelMessage, ModelRole};

/// What a text says or asks for, as far as a few patterns can tell.
#[derive(Debug, PartialEq, Eq)]
enum Intent<'a> {
    TellName(&'a str),
    AskName,
    Remember(&'a str),
    Recall,
    Forget,
    CountTurns,
    Other(&'a str),
}

/// What the user has told so far.
#[derive(Default)]
struct Memory<'a> {
    name: Option<&'a str>,
    /// In the order in which they were told.
    facts: Vec<&'a str>,
    /// The same.
    known: HashSet<&'a str>,
}

/// The answer to the last message of a conversation.
pub(super) fn answer(system: Option<&str>, messages: &[ModelMessage]) -> String {
    let said = messages.iter().filter(|message| message.role == ModelRole::User).map(text);
    let said: Vec<String> = said.filter(|text| !text.is_empty()).collect();
    let Some((last, before)) = said.split_last() else { return "hello".to_owned() };
    let mut memory = Memory::default();
    before.iter().for_each(|text| memory.note(&Intent::of(text)));
    let intent = Intent::of(last);
    memory.note(&intent);
    match intent {
        Intent::TellName(name) => format!("Nice to meet you, {name}. I will remember your name."),
        Intent::AskName => match memory.name {
            Some(name) => format!("Your name is {name}."),
            None => "You have not told me your name yet.".to_owned(),
        },
        Intent::Remember(fact) => format!("I will remember: {fact}"),
        Intent::Recall => memory.recalled(),
        Intent::Forget => "I have forgotten everything.".to_owned(),
        Intent::CountTurns => format!("This is turn {} of our conversation.", said.len()),
        Intent::Other(text) => {
            let name = memory.name.map(|name| format!("{name}, ")).unwrap_or_default();
            let turn = said.len();
            let system = system.map(|text| format!("\nMy instructions are: {text}"));
            format!(
                "{name}you said: {text}\nThis is turn {turn}. I am the offline model, which can only \
                 remember things: tell me `my name is …` or `remember …`, and ask `what is my name` or \
                 `what do you remember`.{}",
                system.unwrap_or_default()
            )
        }
    }
}

impl<'a> Memory<'a> {
    fn note(&mut self, intent: &Intent<'a>) {
        match intent {
            Intent::TellName(name) => self.name = Some(name),
            Intent::Remember(fact) if self.known.insert(fact) => self.facts.push(fact),
            Intent::Forget => *self = Memory::default(),
            Intent::Remember(_)
            | Intent::AskName
            | Intent::Recall
            | Intent::CountTurns
            | Intent::Other(_) => {}
        }
    }

    /// All of it, in words.
    fn recalled(&self) -> String {
        let name = self.name.map(|name| format!("your name is {name}"));
        let all = name.as_deref().into_iter().chain(self.facts.iter().copied());
        let lines = all.map(|fact| format!("- {fact}"));
        let lines: Vec<String> = lines.collect();
        match lines.is_empty() {
            true => "I remember nothing yet.".to_owned(),
            false => format!("I remember:\n{}", lines.join("\n")),
        }
    }
}

impl<'a> Intent<'a> {
    fn of(text: &'a str) -> Intent<'a> {
        let text = text.trim();
        // Only ASCII letters change, so offsets in one are offsets in the other.
        let lower = text.to_ascii_lowercase();
        let says_any = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
        if says_any(&["what is my name", "what's my name", "my name?", "who am i"]) {
            return Intent::AskName;
        }
        if says_any(&["what do you remember", "what do you know", "recall"]) {
            return Intent::Recall;
        }
        if says_any(&["how many turns", "which turn", "count the turns"]) {
            return Intent::CountTurns;
        }
        if says_any(&["forget everything", "forget all"]) {
            return Intent::Forget;
        }
        if let Some(name) = after(text, &lower, "my name is ") {
            let end = name.find(['.', ',', '!', '?', ';', '\n']);
            let name = name[..end.unwrap_or(name.len())].trim();
            if !name.is_empty() {
                return Intent::TellName(name);
            }
        }
        if let Some(fact) = after(text, &lower, "remember ") {
            let fact = fact.strip_prefix("that ").unwrap_or(fact).trim();
            if !fact.is_empty() {
                return Intent::Remember(fact);
            }
        }
        Intent::Other(text)
    }
}

/// What follows a phrase, as it was written.
fn after<'a>(text: &'a str, lower: &str, phrase: &str) -> Option<&'a str> {
    let start = lower.find(phrase)? + phrase.len();
    text.get(start..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_understood_in_any_case() {
        for (text, intent) in [
            ("MY NAME IS Zoë, hello", Intent::TellName("Zoë")),
            ("What is my name?", Intent::AskName),
            ("Please remember that I am ÄÖ", Intent::Remember("I am ÄÖ")),
            ("Remember milk", Intent::Remember("milk")),
            ("What do you remember?", Intent::Recall),
            ("my name is ", Intent::Other("my name is")),
            ("  hello ", Intent::Other("hello")),
        ] {
            assert_eq!(Intent::of(text), intent, "{text}");
        }
    }
}
