//! Remembers what it is told. The agent of sessions that are created without naming one.
//!
//! It has no model behind it, says so, and answers from its own state.

mod intent;
mod memory;

use dormouse_sdk::prelude::*;
use intent::Intent;
use memory::Memory;

#[derive(Default, Serialize, Deserialize)]
struct Assistant {
    turns: u64,
    memory: Memory,
}

impl Agent for Assistant {
    fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
        self.turns += 1;
        let answer = self.answer(&turn.text(), host)?;
        // As a model would: word by word, so that clients see an answer grow.
        for piece in answer.split_inclusive(' ') {
            host.output().text(piece)?;
        }
        Ok(Reply::text(answer))
    }
}

export_agent!(Assistant, portable);

impl Assistant {
    fn answer(&mut self, text: &str, host: &Host) -> Result<String> {
        Ok(match Intent::of(text) {
            Intent::TellName(name) => {
                self.memory.set_name(name);
                format!("Nice to meet you, {name}. I will remember your name.")
            }
            Intent::AskName => match self.memory.name() {
                Some(name) => format!("Your name is {name}."),
                None => "You have not told me your name yet.".to_owned(),
            },
            Intent::Remember(fact) => {
                self.memory.add(fact);
                format!("I will remember: {fact}")
            }
            Intent::Recall => self.memory.recalled(),
            Intent::Forget => {
                self.memory = Memory::default();
                "I have forgotten everything.".to_owned()
            }
            Intent::CountTurns => format!("This is turn {} of our conversation.", self.turns),
            Intent::Other(text) => self.say_what_i_am(text, host)?,
        })
    }

    fn say_what_i_am(&self, text: &str, host: &Host) -> Result<String> {
        let mut answer = String::new();
        if let Some(name) = self.memory.name() {
            answer.push_str(&format!("{name}, "));
        }
        answer.push_str(&format!(
            "you said: {text}\nThis is turn {}. I have no language model, so I can only remember \
             things: tell me `my name is …` or `remember …`, and ask `what is my name` or `what do \
             you remember`.",
            self.turns
        ));
        if let Some(prompt) = host.session().config::<String>("systemPrompt")? {
            answer.push_str(&format!("\nMy instructions are: {prompt}"));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_sdk::testing::MockHost;

    fn say(mock: &mut MockHost, assistant: &mut Assistant, text: &str) -> String {
        let reply = mock.turn(assistant, text).unwrap();
        assert_eq!(reply.as_text(), mock.streamed_text());
        reply.as_text().into_owned()
    }

    #[test]
    fn it_remembers_across_an_upgrade() {
        let mut mock = MockHost::new();
        let mut assistant = Assistant::default();
        say(&mut mock, &mut assistant, "Hi! My name is Alice.");
        say(&mut mock, &mut assistant, "remember that tea is at four");

        let mut assistant = mock.reload(&assistant).unwrap();
        let name = say(&mut mock, &mut assistant, "What's my name?");
        assert_eq!(name, "Your name is Alice.");
        let facts = say(&mut mock, &mut assistant, "what do you remember?");
        assert!(facts.contains("tea is at four"), "{facts}");
        let turns = say(&mut mock, &mut assistant, "How many turns was that?");
        assert!(turns.contains("turn 5"), "{turns}");
    }

    #[test]
    fn it_says_plainly_that_it_has_no_model() {
        let mut mock = MockHost::new().with_config("systemPrompt", "Be brief.");
        let answer = say(&mut mock, &mut Assistant::default(), "Write a poem");
        assert!(answer.contains("no language model"), "{answer}");
        assert!(answer.contains("Write a poem"), "{answer}");
        assert!(answer.contains("Be brief."), "{answer}");
    }

    #[test]
    fn it_forgets_when_told() {
        let mut mock = MockHost::new();
        let mut assistant = Assistant::default();
        say(&mut mock, &mut assistant, "my name is Bob");
        say(&mut mock, &mut assistant, "forget everything");
        let answer = say(&mut mock, &mut assistant, "who am I?");
        assert!(answer.contains("not told me"), "{answer}");
    }
}
