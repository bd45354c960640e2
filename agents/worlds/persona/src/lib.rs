//! A person of a simulated society who thinks with a language model: whether the person passes on a rumour, the model decides.
//!
//! Each person is a member of a world. Somebody whose configuration has a `rumour` has heard it with the first turn, and all
//! others hear it from the first member who writes to them. In the turn in which a person hears the rumour the model is asked
//! once, and where it says yes, the person tells the rumour to all neighbours. What the program of the world says is news, such as
//! a correction of the rumour: the last of it stands in all that the model is asked later. A person publishes `heard` and `told`,
//! which are 0 or 1.
//!
//! Whoever else sends a turn, as in an interview, gets an answer of the model, which is told what the person knows.

mod settings;

use dormouse_sdk::model;
use dormouse_sdk::peers;
use dormouse_sdk::prelude::*;
use dormouse_sdk::world::Moment;
use settings::Settings;

/// The most characters that are kept of the rumour, and of the news. So many of them fit into all mails of a turn.
const MAX_TEXT: usize = 2_000;
/// The most neighbours who are told, because a turn sends so many mails at most. Whoever has more does not go on in later turns:
/// a rumour that 64 have heard needs no others to spread.
const MAX_TOLD: usize = 64;
/// What the model decides.
const QUESTION: &str = "Do you tell it to your friends? Answer with exactly one word: yes or no.";
/// The most tokens of an answer that is `yes` or `no`: a model may think before it says so.
const MAX_TOKENS: u32 = 1_024;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Persona {
    /// The rumour, once the person has heard it.
    heard: Option<String>,
    /// Whether the person has told it to anybody.
    told: bool,
    /// The last news. A correction of the rumour comes as news.
    news: Option<String>,
}

impl Agent for Persona {
    fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
        let settings = Settings::of(host)?;
        match Moment::of(turn) {
            Some(moment) => self.live(&moment, &settings, host),
            None => self.answer(&turn.text(), &settings, host),
        }
    }
}

export_agent!(Persona, portable);

impl Persona {
    /// One tick of the world.
    fn live(&mut self, moment: &Moment, settings: &Settings, host: &Host) -> Result<Reply> {
        let with_text = moment.mail.iter().filter(|mail| !mail.text().trim().is_empty());
        let (news, talk): (Vec<_>, Vec<_>) = with_text.partition(|mail| mail.is_of_world());
        if let Some(last) = news.last() {
            self.news = Some(beginning(&last.text()));
        }
        if self.heard.is_none() {
            let known = settings.rumour.as_deref().map(beginning);
            let rumour = known.or_else(|| talk.first().map(|mail| beginning(&mail.text())));
            if let Some(rumour) = rumour {
                self.hear(rumour, moment, settings, host)?;
            }
        }
        host.metrics().sample("heard", f64::from(self.heard.is_some()))?;
        host.metrics().sample("told", f64::from(self.told))?;
        Ok(Reply::empty())
    }

    /// The person hears the rumour, and tells it where the model says so.
    fn hear(
        &mut self,
        rumour: String,
        moment: &Moment,
        settings: &Settings,
        host: &Host,
    ) -> Result<()> {
        let address = moment.address(moment.member);
        let mut lines = vec![format!("You are {}.", settings.name.as_ref().unwrap_or(&address))];
        lines.extend(self.news_line());
        lines.push(format!("You hear this rumour: {rumour}"));
        lines.push(QUESTION.to_owned());
        let chat = settings.chat(host).user(lines.join("\n")).max_tokens(MAX_TOKENS);
        let says_yes = match chat.send() {
            Ok(answer) => answer.text().trim().to_lowercase().starts_with("yes"),
            // A provider that does not take the question decides nothing: the person keeps the rumour.
            Err(model::Error::Refused(_)) => false,
            Err(error) => return Err(error.into()),
        };
        if says_yes {
            self.tell(&rumour, moment, host)?;
        }
        self.heard = Some(rumour);
        Ok(())
    }

    /// The neighbours hear the rumour with the next tick.
    fn tell(&mut self, rumour: &str, moment: &Moment, host: &Host) -> Result<()> {
        let neighbours = host.world(moment).neighbours(moment.member)?;
        for neighbour in neighbours.into_iter().take(MAX_TOLD) {
            match host.peers().send_text(&moment.address(neighbour), rumour) {
                Ok(()) => self.told = true,
                // Whoever has left the world hears nothing.
                Err(peers::Error::Ended | peers::Error::UnknownPeer) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What the person says to somebody outside of the world.
    fn answer(&self, question: &str, settings: &Settings, host: &Host) -> Result<Reply> {
        if question.trim().is_empty() {
            return Err(Error::invalid("ask the person something"));
        }
        let mut lines = Vec::new();
        lines.extend(settings.name.as_ref().map(|name| format!("You are {name}.")));
        lines.push(match &self.heard {
            Some(rumour) => format!("You have heard this rumour: {rumour}"),
            None => "You have heard no rumour.".to_owned(),
        });
        if self.heard.is_some() {
            let told = if self.told {
                "You have told it to your friends."
            } else {
                "You have told it to nobody."
            };
            lines.push(told.to_owned());
        }
        lines.extend(self.news_line());
        lines.push(format!("You are asked: {question}"));
        let answer = settings.chat(host).user(lines.join("\n")).send()?;
        Ok(Reply::text(answer.text()))
    }

    /// What a model is told of the news.
    fn news_line(&self) -> Option<String> {
        self.news.as_ref().map(|news| format!("The news says: {news}"))
    }
}

/// As much of a text as is kept.
fn beginning(text: &str) -> String {
    text.trim().chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests;
