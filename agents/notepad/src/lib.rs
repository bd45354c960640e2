//! Keeps a list of notes.

mod command;

use command::Command;
use dormouse_sdk::prelude::*;

const HELP: &str = "add TEXT, list, find TEXT, remove N, count";

#[derive(Default, Serialize, Deserialize)]
struct Notepad {
    notes: Vec<String>,
}

impl Agent for Notepad {
    fn handle(&mut self, turn: &Turn, _host: &Host) -> Result<Reply> {
        let text = turn.text();
        let answer = match Command::parse(&text) {
            Command::Add(note) => self.add(note)?,
            Command::List => self.listed(|_| true),
            Command::Find(words) => {
                let words = words.to_lowercase();
                self.listed(|note| note.to_lowercase().contains(&words))
            }
            Command::Remove(number) => self.remove(number)?,
            Command::Count => format!("{} in the list", self.notes.len()),
            Command::Unknown => format!("I keep notes. I understand: {HELP}."),
        };
        Ok(Reply::text(answer))
    }
}

export_agent!(Notepad, portable);

impl Notepad {
    fn add(&mut self, note: &str) -> Result<String> {
        if note.is_empty() {
            return Err(Error::invalid("a note has a text: `add TEXT`"));
        }
        self.notes.push(note.to_owned());
        Ok(format!("noted as {}", self.notes.len()))
    }

    fn listed(&self, wanted: impl Fn(&str) -> bool) -> String {
        let lines: Vec<String> = self
            .notes
            .iter()
            .enumerate()
            .filter(|(_, note)| wanted(note))
            .map(|(index, note)| format!("{}. {note}", index + 1))
            .collect();
        if lines.is_empty() { "no notes".to_owned() } else { lines.join("\n") }
    }

    fn remove(&mut self, number: &str) -> Result<String> {
        let index = number
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_sub(1))
            .filter(|index| *index < self.notes.len())
            .ok_or_else(|| Error::invalid(format!("there is no note `{number}`")))?;
        Ok(format!("removed: {}", self.notes.remove(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_sdk::testing::MockHost;

    fn say(notepad: &mut Notepad, text: &str) -> String {
        let reply = MockHost::new().turn(notepad, text).unwrap();
        reply.as_text().into_owned()
    }

    #[test]
    fn notes_are_kept_found_and_removed() {
        let mut notepad = Notepad::default();
        assert_eq!(say(&mut notepad, "list"), "no notes");
        assert_eq!(say(&mut notepad, "add buy milk"), "noted as 1");
        assert_eq!(say(&mut notepad, "add  Call Ann "), "noted as 2");
        assert_eq!(say(&mut notepad, "list"), "1. buy milk\n2. Call Ann");
        assert_eq!(say(&mut notepad, "find ann"), "2. Call Ann");
        assert_eq!(say(&mut notepad, "remove 1"), "removed: buy milk");
        assert_eq!(say(&mut notepad, "count"), "1 in the list");
    }

    #[test]
    fn notes_survive_an_upgrade() {
        let mut notepad = Notepad::default();
        say(&mut notepad, "add buy milk");
        let mut notepad = MockHost::new().reload(&notepad).unwrap();
        assert_eq!(say(&mut notepad, "list"), "1. buy milk");
    }

    #[test]
    fn what_cannot_be_done_is_invalid() {
        for text in ["add", "remove 1", "remove 0", "remove it"] {
            let answer = MockHost::new().turn(&mut Notepad::default(), text);
            assert!(matches!(answer, Err(Error::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn anything_else_is_answered_with_help() {
        assert!(say(&mut Notepad::default(), "hello").contains(HELP));
    }
}
