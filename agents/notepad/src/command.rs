//! What a notepad understands.

/// One command. The texts are trimmed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    Add(&'a str),
    List,
    Find(&'a str),
    Remove(&'a str),
    Count,
    Unknown,
}

impl<'a> Command<'a> {
    /// Reads a command: a verb in any case, and what follows it.
    pub(crate) fn parse(text: &'a str) -> Self {
        let text = text.trim();
        let (verb, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        match (verb.to_lowercase().as_str(), rest) {
            ("add", note) => Command::Add(note),
            ("list", "") => Command::List,
            ("find", words) => Command::Find(words),
            ("remove", number) => Command::Remove(number),
            ("count", "") => Command::Count,
            _ => Command::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read_in_any_case() {
        assert_eq!(Command::parse(" Add  a note "), Command::Add("a note"));
        assert_eq!(Command::parse("LIST"), Command::List);
        assert_eq!(Command::parse("list all"), Command::Unknown);
        assert_eq!(Command::parse(""), Command::Unknown);
    }
}
