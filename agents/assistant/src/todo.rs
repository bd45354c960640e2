//! The todo list of a conversation: the model writes it with the tool `TodoWrite`, and clients read it in the checkpoint of
//! the session, under `todos`.

use std::collections::BTreeMap;

use dormouse_sdk::model::Tool;
use dormouse_sdk::prelude::*;

/// The name of the tool.
pub(crate) const TODO_WRITE: &str = "TodoWrite";
/// The key in the checkpoint.
const KEY: &str = "todos";
/// A checkpoint has 64 KiB, of which clients want some.
const MAX_TODOS: usize = 100;
const MAX_TEXT: usize = 200;

/// What is to be done, in the order in which the model has it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Todos(Vec<Todo>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Todo {
    content: String,
    status: Status,
    /// The same while it is being done: "Looking for mail".
    #[serde(rename = "activeForm", default, skip_serializing_if = "Option::is_none")]
    active_form: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Pending,
    InProgress,
    Completed,
}

/// The arguments of the tool.
#[derive(Deserialize)]
pub(crate) struct Written {
    todos: Vec<Todo>,
}

/// The tool, as a model is told of it.
pub(crate) fn tool() -> Tool {
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
    Tool::new(TODO_WRITE, description, schema)
}

impl Todos {
    /// The model has written a new list. What it is told.
    pub(crate) fn write(&mut self, written: Written) -> Result<String> {
        let Written { todos } = written;
        let is_long = todos.iter().any(|todo| {
            let texts = [Some(&todo.content), todo.active_form.as_ref()];
            texts.into_iter().flatten().any(|text| text.len() > MAX_TEXT)
        });
        if todos.len() > MAX_TODOS || is_long {
            let text = format!("a list has at most {MAX_TODOS} entries of {MAX_TEXT} bytes");
            return Err(Error::invalid(text));
        }
        self.0 = todos;
        let open = self.0.iter().filter(|todo| todo.status != Status::Completed).count();
        Ok(format!("The list is written; {open} of {} entries are not completed.", self.0.len()))
    }

    /// What the model is told of its list where it may have forgotten it. `None`: it is empty.
    pub(crate) fn reminder(&self) -> Option<String> {
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

    /// Show it to clients, beside whatever else is in the checkpoint.
    pub(crate) fn show(&self, host: &Host) -> Result<()> {
        let checkpoint = host.session().checkpoint::<BTreeMap<String, Value>>()?;
        let mut checkpoint = checkpoint.unwrap_or_default();
        checkpoint.insert(KEY.to_owned(), json!(self.0));
        host.session().set_checkpoint(&checkpoint)?;
        Ok(())
    }
}
