//! Watches pages of the web, and tells what is new on them.
//!
//! A user says what to watch. The model calls the tool `watch`, which reads the page and sets a timer. Whenever the timer is
//! due, the agent reads the page again with the tool `WebFetch` of the host. Only where lines of the page have changed, the
//! agent asks the model, which gets these lines from the tool `news` and reports them: a look at a page that is as it was costs
//! no money. `config.model` says which model. The state are the watches; no conversation grows with them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use dormouse_sdk::model::{Conversation, Tool, Tools};
use dormouse_sdk::prelude::*;

/// The tool of the host that reads pages.
const FETCH: &str = "WebFetch";
/// What a timer sends. The name of the timer is that of the watch.
const LOOK: &str = "look";

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Monitor {
    /// By their names. The host bounds the timers of a session, and how much of a page `WebFetch` returns.
    watches: BTreeMap<String, Watch>,
}

/// A page, and what was there at the last look.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Watch {
    url: String,
    schedule: String,
    /// What the user wants to know of what is new.
    wanted: String,
    lines: Vec<String>,
}

impl Agent for Monitor {
    fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
        let watch = match &turn.sender {
            Sender::Timer(name) => self.watches.get_mut(name).map(|watch| (name, watch)),
            Sender::User | Sender::Agent(_) | Sender::Host(_) => None,
        };
        let answer = match watch {
            Some((name, watch)) => watch.look(name, host)?,
            // A schedule of the session's owner comes as a timer, too: it says something, as a user does.
            None => self.answer(&turn.text(), host)?,
        };
        Ok(Reply::text(answer))
    }
}

export_agent!(Monitor, portable);

impl Monitor {
    /// What the model says to a user. It may change what is watched.
    fn answer(&mut self, text: &str, host: &Host) -> Result<String> {
        if text.trim().is_empty() {
            return Err(Error::invalid("say what to watch"));
        }
        let system = self.system();
        let this = RefCell::new(self);
        let tools = Tools::new()
            .tool(watch_tool(), |asked| this.borrow_mut().watch(asked, host))
            .tool(unwatch_tool(), |asked| this.borrow_mut().unwatch(&asked, host));
        ask(text, &system, tools, host)
    }

    fn system(&self) -> String {
        let line = |(name, watch): (&String, &Watch)| {
            format!("\n- {name}: {} ({})", watch.url, watch.schedule)
        };
        let watched: String = self.watches.iter().map(line).collect();
        format!("You watch pages of the web for your user. What you watch now:{watched}")
    }

    fn watch(&mut self, asked: WatchArguments, host: &Host) -> Result<String> {
        let WatchArguments { name, url, schedule, wanted } = asked;
        let lines = read(&url, host)?;
        host.timers().each(&name, &schedule, LOOK)?;
        let told = format!("{name} is watched; lines for now: {}", lines.len());
        self.watches.insert(name, Watch { url, schedule, wanted, lines });
        Ok(told)
    }

    fn unwatch(&mut self, asked: &UnwatchArguments, host: &Host) -> Result<String> {
        let name = &asked.name;
        if self.watches.remove(name).is_none() {
            return Err(Error::invalid(format!("there is no watch `{name}`")));
        }
        host.timers().cancel(name);
        Ok(format!("{name} is no longer watched"))
    }
}

impl Watch {
    /// The timer is due. A turn that fails leaves `lines` as they were, and so loses no news.
    fn look(&mut self, name: &str, host: &Host) -> Result<String> {
        let lines = match read(&self.url, host) {
            Ok(lines) => lines,
            // The next look may do better. Failed turns in a row would end the session.
            Err(error) => return Ok(format!("{name}: {error}")),
        };
        let news = changes(&self.lines, &lines);
        if news.is_empty() {
            return Ok(format!("{name}: nothing new"));
        }
        self.lines = lines;
        let question = format!(
            "There is something new on the page {name}. Read it with the tool `news`, and report it. {}",
            self.wanted
        );
        let tools = Tools::new().tool(news_tool(), |_: Value| Ok(news.join("\n")));
        ask(&question, "You watch pages of the web for your user.", tools, host)
    }
}

/// What the model says, once it has used these tools, and those of the host, as it likes.
fn ask<'t>(text: &str, system: &str, tools: Tools<'t>, host: &'t Host) -> Result<String> {
    let model = host.session().config::<Option<String>>("model")?.flatten();
    let chat = host.model().chat(model.as_deref().unwrap_or_default()).system(system).forward();
    let mut conversation = Conversation::new();
    conversation.user(text);
    let answer = chat.run(&mut conversation, &mut tools.of_host(host.tools()))?;
    Ok(answer.text())
}

/// The lines of a page.
fn read(url: &str, host: &Host) -> Result<Vec<String>> {
    let page = host.tools().call(FETCH, &json!({ "url": url }))?;
    let text = page.text();
    // A line about the page comes before the page.
    let (about, text) = text.split_once('\n').unwrap_or((&text, ""));
    if page.is_error {
        return Err(Error::failed(about));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// The lines that have come, each behind a `+`, and those that are gone, each behind a `-`.
fn changes(before: &[String], now: &[String]) -> Vec<String> {
    let not_in = |lines: &[String], sign: char, others: &[String]| {
        let others: BTreeSet<&String> = others.iter().collect();
        let changed = lines.iter().filter(|line| !others.contains(line));
        changed.map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
    };
    [not_in(now, '+', before), not_in(before, '-', now)].concat()
}

#[derive(Deserialize)]
struct WatchArguments {
    name: String,
    url: String,
    schedule: String,
    #[serde(default)]
    wanted: String,
}

#[derive(Deserialize)]
struct UnwatchArguments {
    name: String,
}

fn watch_tool() -> Tool {
    let description = "Reads a page of the web now, and again by a schedule. Whenever its lines have changed, you are \
                       asked to report them.";
    let text = |description: &str| json!({ "type": "string", "description": description });
    let properties = json!({
        "name": text("A short name for the page, such as `inbox`."),
        "url": text("The address of the page."),
        "schedule": text("Five fields of cron, in UTC: `*/10 * * * *` is every ten minutes."),
        "wanted": text("What the user wants to know of what is new, in the words of the user."),
    });
    tool("watch", description, &properties, &["name", "url", "schedule"])
}

fn unwatch_tool() -> Tool {
    let name = json!({ "name": { "type": "string" } });
    tool("unwatch", "Watches a page no longer.", &name, &["name"])
}

fn news_tool() -> Tool {
    let description = "Returns the lines that have come since the last look, each behind a +, and those that are gone, \
                       each behind a -.";
    tool("news", description, &json!({}), &[])
}

fn tool(name: &str, description: &str, properties: &Value, required: &[&str]) -> Tool {
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    Tool::new(name, description, schema)
}

#[cfg(test)]
mod tests;
