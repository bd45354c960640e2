//! The tool `Task`: work for a session of the same group, whose answer is the result.

use serde::Deserialize;

use dormouse_domain::tool::ToolError;

/// The most bytes of the description of one member that models are told.
const MAX_DESCRIPTION: usize = 300;

/// Work for another session of the group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// What the group calls that session.
    pub agent: String,
    /// What it is asked.
    pub prompt: String,
    /// What models say of a task for people to read. Nobody needs it.
    #[serde(default)]
    description: Option<String>,
}

impl Task {
    /// The task that these arguments are.
    ///
    /// # Errors
    /// [`ToolError::Invalid`] says what to change.
    pub fn parse(arguments: &str) -> Result<Task, ToolError> {
        let task: Task = serde_json::from_str(arguments).map_err(|error| {
            let wanted = "`agent`, the name of a session of the group, and `prompt`, what to do";
            ToolError::Invalid(format!("the arguments are no task ({error}): it has {wanted}"))
        })?;
        if task.prompt.is_empty() {
            return Err(ToolError::Invalid("the prompt is empty".to_owned()));
        }
        Ok(task)
    }
}

/// What a model is told of it, by the names of those who take tasks, and what they are for.
pub(crate) fn description<'a>(others: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let mut text = "Hands a task to another agent, waits until it is done, and returns what that agent answers. The \
         agent knows only what the prompt says, and what it remembers of earlier tasks. Agents:"
        .to_owned();
    for (name, what) in others {
        let what = what.unwrap_or_default();
        let end = what.char_indices().map(|(at, _)| at).find(|at| *at >= MAX_DESCRIPTION);
        let what = what.get(..end.unwrap_or(what.len())).unwrap_or_default();
        text.push_str("\n- ");
        text.push_str(name);
        if !what.is_empty() {
            text.push_str(": ");
            text.push_str(what);
        }
    }
    text
}

/// The schema of its arguments.
pub(crate) fn schema<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    serde_json::json!({
        "type": "object",
        "properties": {
            "agent": { "type": "string", "enum": names, "description": "Who does it." },
            "prompt": { "type": "string", "description": "What to do, with all that it takes to know." },
            "description": { "type": "string", "description": "The task in a few words, for people." }
        },
        "required": ["agent", "prompt"],
        "additionalProperties": false
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_an_agent_and_a_prompt_and_nothing_that_nobody_knows() {
        let task = Task::parse(r#"{"agent": "ann", "prompt": "count", "description": "d"}"#);
        let task = task.expect("it is a task");
        assert_eq!((task.agent.as_str(), task.prompt.as_str()), ("ann", "count"));
        for wrong in [
            "{}",
            "[]",
            r#"{"agent": "ann"}"#,
            r#"{"agent": "ann", "prompt": ""}"#,
            r#"{"agent": "ann", "prompt": "p", "x": 1}"#,
        ] {
            assert!(matches!(Task::parse(wrong), Err(ToolError::Invalid(_))), "{wrong}");
        }
    }

    #[test]
    fn models_are_told_who_there_is_in_few_words() {
        let long = "ä".repeat(400);
        let text = description(
            [("ann", Some("counts")), ("bob", None), ("eve", Some(&*long))].into_iter(),
        );
        assert!(text.contains("\n- ann: counts\n- bob\n- eve: ä"), "{text}");
        assert!(text.len() < 800);
        let schema = schema(["ann"].into_iter());
        assert!(schema.contains(r#""enum":["ann"]"#), "{schema}");
    }
}
