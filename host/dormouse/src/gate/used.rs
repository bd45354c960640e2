//! Which tools a turn uses: those of the host that it calls, and those that its agent runs itself because a model asks for
//! them, which the next request to the model tells.

use dormouse_domain::effect::{Effect, EffectAnswer};
use dormouse_domain::model::{ModelContent, ModelMessage, ModelRequest};
use dormouse_domain::tool::{MAX_TOOL_NAME, MAX_TOOLS_USED, ToolError};

/// The names of the tools that a turn has used.
#[derive(Default)]
pub(super) struct UsedTools(Vec<String>);

impl UsedTools {
    /// This effect is answered so. A call that was refused uses nothing.
    pub(super) fn note(&mut self, effect: &Effect, answer: &EffectAnswer) {
        match (effect, answer) {
            (Effect::Model(call), _) => self.note_results(&call.request),
            (Effect::Tool(_), EffectAnswer::Tool(Err(error))) if is_refusal(error) => {}
            (Effect::Tool(request), _) => self.add(&request.name),
            (Effect::Http(_) | Effect::ListTools | Effect::Ask(_), _) => {}
        }
    }

    /// Each once, in the order of their first use.
    pub(super) fn into_names(self) -> Vec<String> {
        self.0
    }

    /// The last message of a conversation has the results of tools that the message before has asked for. A name that
    /// was not offered is an invention of the model, and nothing was used.
    fn note_results(&mut self, request: &ModelRequest) {
        let [.., asking, results] = request.messages.as_slice() else { return };
        for part in &results.content {
            let ModelContent::ToolResult(result) = part else { continue };
            let name = name_of(asking, &result.call);
            let is_offered = |name: &&str| request.tools.iter().any(|tool| tool.name == *name);
            if let Some(name) = name.filter(is_offered) {
                self.add(name);
            }
        }
    }

    fn add(&mut self, name: &str) {
        let is_new = !self.0.iter().any(|known| known == name);
        if is_new && self.0.len() < MAX_TOOLS_USED && name.len() <= MAX_TOOL_NAME {
            self.0.push(name.to_owned());
        }
    }
}

/// Whether a call was not made.
fn is_refusal(error: &ToolError) -> bool {
    match error {
        ToolError::NotAllowed(_)
        | ToolError::Unknown(_)
        | ToolError::Invalid(_)
        | ToolError::BudgetExceeded(_) => true,
        ToolError::Unavailable { .. }
        | ToolError::TimedOut(_)
        | ToolError::TooLarge(_)
        | ToolError::UnknownOutcome => false,
    }
}

/// The name of the tool that this message asks for under this id.
fn name_of<'m>(asking: &'m ModelMessage, id: &str) -> Option<&'m str> {
    asking.content.iter().find_map(|part| match part {
        ModelContent::ToolCall(call) if call.id == id => Some(call.name.as_str()),
        ModelContent::ToolCall(_)
        | ModelContent::Text(_)
        | ModelContent::Image { .. }
        | ModelContent::ToolResult(_)
        | ModelContent::Thinking(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_domain::effect::ModelCall;
    use dormouse_domain::model::{ModelError, ModelRole, ModelTool, ToolCall, ToolResult};
    use dormouse_domain::tool::ToolRequest;

    fn call(name: &str) -> Effect {
        Effect::Tool(ToolRequest { name: name.to_owned(), arguments: "{}".to_owned() })
    }

    fn failed(error: ToolError) -> EffectAnswer {
        EffectAnswer::Tool(Err(error))
    }

    fn asks(name: &str) -> ModelContent {
        let (id, name) = (format!("id of {name}"), name.to_owned());
        ModelContent::ToolCall(ToolCall { id, name, arguments: "{}".to_owned() })
    }

    fn result(name: &str) -> ModelContent {
        let call = format!("id of {name}");
        ModelContent::ToolResult(ToolResult { call, content: String::new(), is_error: false })
    }

    fn says(role: ModelRole, content: Vec<ModelContent>) -> ModelMessage {
        ModelMessage { role, content }
    }

    fn conversation(messages: Vec<ModelMessage>) -> Effect {
        let tool = |name: &str| ModelTool {
            name: name.to_owned(),
            description: String::new(),
            schema: "{}".to_owned(),
        };
        let tools = vec![tool("add"), tool("subtract")];
        let request = ModelRequest { messages, tools, ..ModelRequest::default() };
        Effect::Model(ModelCall { request, forward: false })
    }

    #[test]
    fn a_tool_is_used_once_its_result_is_told_and_was_offered() {
        let mut used = UsedTools::default();
        used.note(&call("Bash"), &failed(ToolError::NotAllowed("no".to_owned())));
        used.note(&call("WebFetch"), &failed(ToolError::TimedOut("late".to_owned())));
        let told = EffectAnswer::Model(Err(ModelError::UnknownOutcome));
        let (model, agent) = (ModelRole::Assistant, ModelRole::User);
        // What lies further back was noted before, if it was used in this turn.
        let all = conversation(vec![
            says(model, vec![asks("subtract")]),
            says(agent, vec![result("subtract")]),
            says(model, vec![asks("add"), asks("invented")]),
            says(agent, vec![result("add"), result("invented"), result("nobody")]),
        ]);
        used.note(&all, &told);
        used.note(&conversation(vec![says(model, vec![asks("subtract")])]), &told);
        assert_eq!(used.into_names(), ["WebFetch", "add"]);
    }

    #[test]
    fn names_are_bounded_in_number_and_in_length() {
        let mut used = UsedTools::default();
        let answer = failed(ToolError::UnknownOutcome);
        for number in 0..2 * MAX_TOOLS_USED {
            used.note(&call(&number.to_string()), &answer);
        }
        assert_eq!(used.into_names().len(), MAX_TOOLS_USED);
        let mut used = UsedTools::default();
        used.note(&call(&"a".repeat(MAX_TOOL_NAME + 1)), &answer);
        assert!(used.into_names().is_empty());
    }
}
