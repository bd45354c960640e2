//! The tools of a server, as agents see them: named, described and bounded.

use std::collections::BTreeSet;
use std::sync::Arc;

use rmcp::model::{JsonObject, Tool};

use crate::error::McpError;
use crate::scan::Scan;

/// The most tools of one server.
pub const MAX_TOOLS: usize = 256;
/// The most bytes of the name of a tool, and of a server.
pub const MAX_NAME: usize = 64;
/// The most bytes of a description. What is longer is cut.
pub const MAX_DESCRIPTION: usize = 4 << 10;
/// The most bytes of the schema of arguments, as JSON. A tool with a larger one is left out.
pub const MAX_SCHEMA: usize = 32 << 10;
/// The most bytes of all descriptions and schemas of a server. Tools behind them are left out.
pub const MAX_LISTING: usize = 512 << 10;
/// The most bytes of the arguments of a call, as JSON.
pub const MAX_ARGUMENTS: usize = 256 << 10;
/// What the names of MCP tools begin with.
const PREFIX: &str = "mcp__";
/// What is between the name of a server and that of a tool.
const BETWEEN: &str = "__";

/// A tool of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpTool {
    /// Its name among the tools of its server: [`MAX_NAME`] letters, digits, `-` and `_` at most. Other characters of the
    /// name that the server gives are `_`.
    pub name: String,
    /// What it does, as the server says: text for a model, and nothing that a host may trust.
    pub description: String,
    /// The JSON Schema of its arguments, one JSON object.
    pub input_schema: String,
    /// What may be done about a call of which nobody knows whether it has happened.
    pub class: ToolClass,
    /// The name by which the server knows it.
    pub(crate) own_name: String,
}

impl McpTool {
    /// The name by which agents know it: `mcp__SERVER__TOOL`.
    #[must_use]
    pub fn full_name(&self, server: &str) -> String {
        format!("{PREFIX}{server}{BETWEEN}{}", self.name)
    }
}

/// What may be done about a call of which nobody knows whether it has happened. It is what the server says of its tool: a
/// server that says it falsely does its own work twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolClass {
    /// The call is made again: the tool only reads (`readOnlyHint`), or does the same thing once however often it is
    /// asked (`idempotentHint`).
    Repeatable,
    /// The call is not made again.
    Once,
}

/// Server and tool of a name such as `mcp__files__read`. `None`: it is no name of an MCP tool.
#[must_use]
pub fn split_name(full: &str) -> Option<(&str, &str)> {
    full.strip_prefix(PREFIX)?.split_once(BETWEEN)
}

/// Whether a text can be the name of a server: what stands between the `__` of the names of its tools.
#[must_use]
pub fn is_server_name(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(is_good)
        && !text.contains(BETWEEN)
        && !text.starts_with('_')
        && !text.ends_with('_')
}

/// The tools of one server.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) tools: Vec<McpTool>,
    /// How many the server has besides, which are not as a host takes them.
    pub(crate) left_out: usize,
    bytes: usize,
    names: BTreeSet<String>,
}

impl Listing {
    /// Add a tool, if it is within bounds and the operator allows it. `allowed`: the names of those that are, or all.
    pub(crate) fn add(&mut self, tool: Tool, allowed: Option<&BTreeSet<String>>) {
        if allowed.is_some_and(|allowed| !allowed.contains(tool.name.as_ref())) {
            return;
        }
        match self.taken(tool) {
            Some(tool) => self.tools.push(tool),
            None => self.left_out += 1,
        }
    }

    fn taken(&mut self, tool: Tool) -> Option<McpTool> {
        let name = visible_name(&tool.name)?;
        let description = description(tool.description.as_deref().unwrap_or_default());
        let input_schema = schema(&tool.input_schema)?;
        let bytes = self.bytes + name.len() + description.len() + input_schema.len();
        let fits = self.tools.len() < MAX_TOOLS && bytes <= MAX_LISTING;
        if !fits || !self.names.insert(name.clone()) {
            return None;
        }
        self.bytes = bytes;
        let hints = tool.annotations.unwrap_or_default();
        let is_repeatable = [hints.read_only_hint, hints.idempotent_hint].contains(&Some(true));
        let class = if is_repeatable { ToolClass::Repeatable } else { ToolClass::Once };
        Some(McpTool { name, description, input_schema, class, own_name: tool.name.into_owned() })
    }

    /// The tool of this name.
    pub(crate) fn tool(&self, server: &str, name: &str) -> Result<&McpTool, McpError> {
        let found = self.tools.iter().find(|tool| tool.name == name);
        found.ok_or_else(|| McpError::UnknownTool {
            server: server.to_owned(),
            tool: name.chars().take(MAX_NAME).collect(),
        })
    }
}

/// A name that every provider of models takes.
fn visible_name(own: &str) -> Option<String> {
    let is_good = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
    let name: String = own.chars().map(|c| if is_good(&c) { c } else { '_' }).collect();
    (1..=MAX_NAME).contains(&name.len()).then_some(name)
}

/// A description without control characters but line breaks, cut.
fn description(own: &str) -> String {
    let mut text: String = own
        .chars()
        .take(MAX_DESCRIPTION)
        .filter(|c| !c.is_control() || "\n\t".contains(*c))
        .collect();
    text.truncate(text.floor_char_boundary(MAX_DESCRIPTION));
    text
}

fn schema(own: &Arc<JsonObject>) -> Option<String> {
    let text = serde_json::to_string(own.as_ref()).ok()?;
    (text.len() <= MAX_SCHEMA).then_some(text)
}

/// The arguments of a call.
///
/// # Errors
/// [`McpError::InvalidArguments`]
pub(crate) fn arguments(text: &str) -> Result<JsonObject, McpError> {
    let invalid = |problem: String| McpError::InvalidArguments(problem);
    if text.len() > MAX_ARGUMENTS {
        return Err(invalid(format!("there are {}", text.len())));
    }
    let mut scan = Scan::default();
    scan.read(text.as_bytes());
    if scan.refusal().is_some() {
        return Err(invalid("they are too deep, or have too many values".to_owned()));
    }
    serde_json::from_str(text).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn listing(tools: Vec<Value>, allowed: Option<&[&str]>) -> Listing {
        let allowed = allowed.map(|names| names.iter().map(|it| (*it).to_owned()).collect());
        let mut listing = Listing::default();
        for tool in tools {
            listing.add(serde_json::from_value(tool).expect("it is a tool"), allowed.as_ref());
        }
        listing
    }

    fn tool(name: &str) -> Value {
        json!({ "name": name, "inputSchema": { "type": "object" } })
    }

    fn names(listing: &Listing) -> Vec<&str> {
        listing.tools.iter().map(|tool| tool.name.as_str()).collect()
    }

    #[test]
    fn a_name_is_one_that_models_take_and_stands_once() {
        let long = "x".repeat(MAX_NAME + 1);
        let listing = listing(
            vec![tool("a.b/c"), tool("a_b_c"), tool("ä\u{1b}"), tool(""), tool(&long)],
            None,
        );
        assert_eq!(names(&listing), ["a_b_c", "__"]);
        assert_eq!(listing.left_out, 3);
        let tool = listing.tool("s", "a_b_c").expect("it is there");
        assert_eq!(
            (tool.own_name.as_str(), tool.full_name("s").as_str()),
            ("a.b/c", "mcp__s__a_b_c")
        );
        assert!(matches!(listing.tool("s", "a.b/c"), Err(McpError::UnknownTool { .. })));
    }

    #[test]
    fn the_name_of_a_tool_says_its_server() {
        assert_eq!(split_name("mcp__my_files__read__all"), Some(("my_files", "read__all")));
        for name in ["Read", "mcp__files", "mcp_files__read", ""] {
            assert_eq!(split_name(name), None, "{name}");
        }
        for name in ["files", "my-files", "a_b", "A1"] {
            assert!(is_server_name(name), "{name}");
        }
        for name in ["", "a__b", "_a", "a_", "a b", "ä", "a.b", &"x".repeat(MAX_NAME + 1)] {
            assert!(!is_server_name(name), "{name}");
        }
    }

    #[test]
    fn what_the_operator_does_not_allow_is_absent() {
        let listing = listing(vec![tool("a"), tool("b.c")], Some(&["b.c"]));
        assert_eq!((names(&listing), listing.left_out), (vec!["b_c"], 0));
    }

    #[test]
    fn hints_say_whether_a_call_may_be_repeated() {
        let hinted = |name: &str, hints: Value| json!({ "name": name, "inputSchema": {}, "annotations": hints });
        let listing = listing(
            vec![
                tool("a"),
                hinted("b", json!({ "readOnlyHint": true })),
                hinted("c", json!({ "idempotentHint": true, "destructiveHint": true })),
                hinted("d", json!({ "readOnlyHint": false })),
            ],
            None,
        );
        let classes: Vec<ToolClass> = listing.tools.iter().map(|tool| tool.class).collect();
        use ToolClass::{Once, Repeatable};
        assert_eq!(classes, [Once, Repeatable, Repeatable, Once]);
    }

    #[test]
    fn descriptions_schemas_and_their_number_have_bounds() {
        let described = json!({
            "name": "a", "inputSchema": {}, "description": format!("\u{1b}[31m\n{}", "ä".repeat(5_000)),
        });
        let large = json!({ "name": "b", "inputSchema": { "x": "y".repeat(MAX_SCHEMA) } });
        let listing = listing(vec![described, large], None);
        assert_eq!((listing.tools.len(), listing.left_out), (1, 1));
        let description = &listing.tools[0].description;
        assert!(description.starts_with("[31m\nä") && description.len() <= MAX_DESCRIPTION);
        let many = (0..MAX_TOOLS + 7).map(|number| tool(&number.to_string())).collect();
        assert_eq!(super::tests::listing(many, None).left_out, 7);
        let full = (0..20)
            .map(|n| json!({ "name": n.to_string(), "inputSchema": { "x": "y".repeat(30 << 10) } }))
            .collect();
        assert_eq!(super::tests::listing(full, None).tools.len(), 17);
    }

    #[test]
    fn arguments_are_one_object_that_is_neither_large_nor_deep() {
        assert_eq!(arguments(r#"{"a":1}"#).map(|it| it.len()), Ok(1));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_ARGUMENTS));
        for text in ["", "1", "[]", "{", "{\"a\":1e999}", &deep, &large] {
            assert!(matches!(arguments(text), Err(McpError::InvalidArguments(_))), "{:.20}", text);
        }
    }
}
