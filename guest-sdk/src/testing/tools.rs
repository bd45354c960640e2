//! The tools that the host of an agent under test has.

use std::{fmt, rc::Rc};

use serde_json::{Value, json};

use super::world::Backend;
use crate::{
    model::Tool,
    tools::{Answer, Error},
};

/// What a tool does with its arguments.
type Run = dyn Fn(&Value) -> Result<Answer, Error>;

/// A tool that a test has written.
#[derive(Clone)]
pub(super) struct MockTool {
    tool: Tool,
    run: Rc<Run>,
}

impl fmt::Debug for MockTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tool.name)
    }
}

impl MockTool {
    pub(super) fn new(
        name: String,
        run: impl Fn(&Value) -> Result<Answer, Error> + 'static,
    ) -> MockTool {
        let schema = json!({ "type": "object" });
        MockTool { tool: Tool::new(name, "A tool of a test.", schema), run: Rc::new(run) }
    }
}

impl Backend {
    pub(crate) fn tools(&self) -> Vec<Tool> {
        self.0.borrow().tools.iter().map(|mock| mock.tool.clone()).collect()
    }

    pub(crate) fn call_tool(&self, name: &str, arguments: &str) -> Result<Answer, Error> {
        let arguments: Value = serde_json::from_str(arguments)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| Error::Invalid("the arguments are no JSON object".to_owned()))?;
        let known = self.0.borrow().tools.iter().find(|mock| mock.tool.name == name).cloned();
        // The world is not borrowed meanwhile: the tool may look at it.
        let mock = known.ok_or(Error::Unknown)?;
        self.0.borrow_mut().tool_calls.push((name.to_owned(), arguments.clone()));
        (mock.run)(&arguments)
    }
}
