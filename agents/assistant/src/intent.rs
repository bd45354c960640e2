//! What somebody wants of the assistant.

/// What a text asks for, as far as a few patterns can tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Intent<'a> {
    TellName(&'a str),
    AskName,
    Remember(&'a str),
    Recall,
    Forget,
    CountTurns,
    Other(&'a str),
}

impl<'a> Intent<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
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
