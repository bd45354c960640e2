//! The todo list of a model, which it writes with the tool `TodoWrite`.
//!
//! An agent keeps the list in its state. Clients read it in the checkpoint of the session, under `todos`.
//!
//! ```
//! # use dormouse_sdk::{model::{Answer, Conversation, Tools}, prelude::*, testing::MockHost, todo::{Status, Todos}};
//! #[derive(Default, Serialize, Deserialize)]
//! struct Planner { conversation: Conversation, todos: Todos }
//!
//! impl Agent for Planner {
//!     fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
//!         self.conversation.user(turn.text());
//!         let mut tools = Tools::new().of_todos(&mut self.todos, host);
//!         let answer = host.model().chat("").run(&mut self.conversation, &mut tools)?;
//!         Ok(Reply::text(answer.text()))
//!     }
//! }
//!
//! let todos = json!([{ "content": "Write the text", "status": "pending" }]);
//! let mut mock = MockHost::new()
//!     .with_answer(Answer::of_tool_call("TodoWrite", &json!({ "todos": todos })))
//!     .with_answer(Answer::of_text("I have a plan."));
//! let mut planner = Planner::default();
//! mock.turn(&mut planner, "Plan my week").unwrap();
//! assert_eq!(planner.todos.entries()[0].status, Status::Pending);
//! assert_eq!(mock.checkpoint(), Some(json!({ "todos": todos })));
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Error, Host, Result,
    model::{Tool, Tools},
};

/// The key in the checkpoint.
const KEY: &str = "todos";
/// A checkpoint has 64 KiB, of which clients want some.
const MAX_TODOS: usize = 100;
const MAX_TEXT: usize = 200;

/// What is to be done, in the order in which the model has it: 100 entries at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Todos(Vec<Todo>);

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Todo {
    /// What is to be done, in 200 bytes at most.
    pub content: String,
    /// How far it is.
    pub status: Status,
    /// The same while it is being done: "Looking for mail".
    #[serde(rename = "activeForm", default, skip_serializing_if = "Option::is_none")]
    pub active_form: Option<String>,
}

/// How far an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing is done yet.
    Pending,
    /// It is being done.
    InProgress,
    /// It is done.
    Completed,
}

/// The arguments of the tool.
#[derive(Deserialize)]
struct Written {
    todos: Vec<Todo>,
}

impl Todos {
    /// The entries.
    pub fn entries(&self) -> &[Todo] {
        &self.0
    }

    /// What a model is told of its list where it may have forgotten it. `None`: it is empty.
    pub fn reminder(&self) -> Option<String> {
        let line = |todo: &Todo| {
            let mark = match todo.status {
                Status::Pending => ' ',
                Status::InProgress => '~',
                Status::Completed => 'x',
            };
            format!("\n- [{mark}] {}", todo.content)
        };
        let lines: String = self.0.iter().map(line).collect();
        (!lines.is_empty()).then(|| format!("Your todo list:{lines}"))
    }

    /// The model has written a new list. What it is told.
    fn write(&mut self, written: Written, host: &Host) -> Result<String> {
        let Written { todos } = written;
        let is_long = todos.iter().any(|todo| {
            let texts = [Some(&todo.content), todo.active_form.as_ref()];
            texts.into_iter().flatten().any(|text| text.len() > MAX_TEXT)
        });
        if todos.len() > MAX_TODOS || is_long {
            let text = format!("a list has at most {MAX_TODOS} entries of {MAX_TEXT} bytes");
            return Err(Error::invalid(text));
        }
        let todos = Todos(todos);
        todos.show(host)?;
        *self = todos;
        let open = self.0.iter().filter(|todo| todo.status != Status::Completed).count();
        Ok(format!("The list is written; {open} of {} entries are not completed.", self.0.len()))
    }

    /// Shows it to clients, beside whatever else is in the checkpoint.
    fn show(&self, host: &Host) -> Result<()> {
        let checkpoint = host.session().checkpoint::<BTreeMap<String, Value>>()?;
        let mut checkpoint = checkpoint.unwrap_or_default();
        checkpoint.insert(KEY.to_owned(), json!(self.0));
        host.session().set_checkpoint(&checkpoint)?;
        Ok(())
    }
}

impl<'t> Tools<'t> {
    /// Adds the tool `TodoWrite`, with which a model writes this list. Each list that it writes takes the place of the last, and
    /// is set in the checkpoint of the session, under `todos`.
    #[must_use]
    pub fn of_todos(self, todos: &'t mut Todos, host: &'t Host) -> Self {
        self.tool(tool(), move |written| todos.write(written, host))
    }
}

/// The tool, as a model is told of it.
fn tool() -> Tool {
    let description = format!(
        "Writes your todo list, in the place of the last. Use it for work of several steps, and keep it true: it is still \
         there when the conversation goes on after days, and the user can see it. At most {MAX_TODOS} entries of \
         {MAX_TEXT} bytes."
    );
    let text = json!({ "type": "string" });
    let todo = json!({
        "type": "object",
        "properties": {
            "content": text,
            "status": { "type": "string", "enum": ["pending", "in_progress", "completed"] },
            "activeForm": text,
        },
        "required": ["content", "status"],
    });
    let schema = json!({
        "type": "object",
        "properties": { "todos": { "type": "array", "items": todo } },
        "required": ["todos"],
    });
    Tool::new("TodoWrite", description, schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Agent, Reply, Turn,
        model::{Answer, Content, Conversation},
        state,
        testing::MockHost,
    };

    #[derive(Default)]
    struct Planner(Todos);

    impl Agent for Planner {
        fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
            let mut conversation = Conversation::new();
            conversation.user(turn.text());
            let mut tools = Tools::new().of_todos(&mut self.0, host);
            let answer = host.model().chat("").run(&mut conversation, &mut tools)?;
            Ok(Reply::text(answer.text()))
        }
    }

    /// Has a model write a list, and returns what it is told.
    fn write(mock: MockHost, planner: &mut Planner, todos: Value) -> (MockHost, bool, String) {
        let call = Answer::of_tool_call("TodoWrite", &json!({ "todos": todos }));
        let mut mock = mock.with_answer(call).with_answer(Answer::of_text("ok"));
        mock.turn(planner, "plan").unwrap();
        let asked = mock.model_requests().pop().unwrap();
        let Content::ToolResult(result) = &asked.messages[2].content[0] else { panic!() };
        (mock, result.is_error, result.content.clone())
    }

    #[test]
    fn a_list_takes_the_place_of_the_last_and_is_shown_beside_the_rest_of_the_checkpoint() {
        let mut planner = Planner::default();
        assert_eq!(planner.0.reminder(), None);
        let first = json!([
            { "content": "Look for mail", "status": "in_progress", "activeForm": "Looking for mail" },
            { "content": "Answer it", "status": "pending" },
            { "content": "Get up", "status": "completed" },
        ]);
        let mock = MockHost::new().with_checkpoint(json!({ "mine": 1, "todos": "old" }));
        let (mock, is_error, told) = write(mock, &mut planner, first.clone());
        assert_eq!(
            (is_error, &*told),
            (false, "The list is written; 2 of 3 entries are not completed.")
        );
        assert_eq!(mock.checkpoint(), Some(json!({ "mine": 1, "todos": first })));
        let reminder = "Your todo list:\n- [~] Look for mail\n- [ ] Answer it\n- [x] Get up";
        assert_eq!(planner.0.reminder().as_deref(), Some(reminder));
        let (mock, ..) = write(mock, &mut planner, json!([]));
        assert_eq!(mock.checkpoint(), Some(json!({ "mine": 1, "todos": [] })));
        assert!(planner.0.entries().is_empty());
    }

    #[test]
    fn a_list_has_bounds_and_one_that_is_refused_leaves_the_last() {
        let mut planner = Planner::default();
        let todo = json!({ "content": "x".repeat(200), "status": "pending" });
        let (mut mock, is_error, _) = write(MockHost::new(), &mut planner, json!(vec![todo; 100]));
        assert!(!is_error);
        let (list, shown) = (planner.0.clone(), mock.checkpoint());
        let short = json!({ "content": "x", "status": "pending" });
        for wrong in [
            json!([{ "content": "x".repeat(201), "status": "pending" }]),
            json!([{ "content": "x", "status": "pending", "activeForm": "x".repeat(201) }]),
            json!(vec![short; 101]),
            json!([{ "content": "x", "status": "later" }]),
        ] {
            let is_error;
            (mock, is_error, _) = write(mock, &mut planner, wrong);
            assert!(is_error);
            assert_eq!((&planner.0, &mock.checkpoint()), (&list, &shown));
        }
    }

    #[test]
    fn a_list_that_the_checkpoint_has_no_room_for_is_refused() {
        let mut planner = Planner::default();
        let full = MockHost::new().with_checkpoint(json!({ "mine": "x".repeat(65_000) }));
        let long = json!({ "content": "x".repeat(200), "status": "pending" });
        let (_, is_error, told) = write(full, &mut planner, json!(vec![long; 10]));
        assert_eq!((is_error, &*told), (true, "a checkpoint may take 65536 bytes"));
        assert!(planner.0.entries().is_empty());
    }

    #[test]
    fn a_list_is_saved_as_the_entries_that_it_has() {
        #[derive(Default, Serialize, Deserialize)]
        struct Saved(Value);
        impl Agent for Saved {
            fn handle(&mut self, _turn: &Turn, _host: &Host) -> Result<Reply> {
                Err(Error::declined())
            }
        }
        #[derive(Default, Serialize, Deserialize)]
        struct Restored(Todos);
        impl Agent for Restored {
            fn handle(&mut self, _turn: &Turn, _host: &Host) -> Result<Reply> {
                Err(Error::declined())
            }
        }
        let saved = state::save(&Saved(json!([
            { "content": "a", "status": "in_progress", "activeForm": "b" },
            { "content": "c", "status": "completed" },
        ])));
        let Restored(todos) = state::restore(&saved.unwrap()).unwrap();
        let entry = |content: &str, status, active: Option<&str>| Todo {
            content: content.to_owned(),
            status,
            active_form: active.map(str::to_owned),
        };
        let expected =
            [entry("a", Status::InProgress, Some("b")), entry("c", Status::Completed, None)];
        assert_eq!(todos.entries(), expected);
    }
}
