//! What a model can do with files, and what it is told where it cannot.

mod changing;
mod finding;
mod reading;
mod searching;

use std::{fs, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Files;
use crate::{
    handler::{Reply, Result, Turn},
    model::{Answer, Content, Conversation, Tools},
    prelude::{Agent, Host},
    testing::MockHost,
};

/// A workspace, and what a model is told of it.
struct Workspace(TempDir);

/// What a tool has answered, with the root of the workspace as `/w`.
type Told = std::result::Result<String, String>;

impl Workspace {
    fn new(files: &[(&str, &[u8])]) -> Workspace {
        let workspace = Workspace(tempfile::tempdir().unwrap());
        for (path, content) in files {
            workspace.put(path, content);
        }
        workspace
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, path: &str, content: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// The names of all that is in the workspace, in order.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// Has a model call a tool once.
    fn call(&self, tool: &str, arguments: Value) -> Told {
        let root = self.root().to_str().unwrap();
        let arguments =
            serde_json::from_str(&arguments.to_string().replace("/w/", &format!("{root}/")))
                .unwrap();
        let mut mock = MockHost::new()
            .with_workspace(root)
            .with_answer(Answer::of_tool_call(tool, &arguments))
            .with_answer(Answer::of_text("done"));
        mock.turn(&mut Model, "go").unwrap();
        let asked = mock.model_requests().pop().unwrap();
        let Content::ToolResult(result) = &asked.messages[2].content[0] else { panic!() };
        let text = result.content.replace(root, "/w");
        if result.is_error { Err(text) } else { Ok(text) }
    }
}

/// An agent that has a model use files.
#[derive(Default)]
struct Model;

impl Agent for Model {
    fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
        let mut conversation = Conversation::new();
        conversation.user(turn.text());
        let mut tools = Tools::new().of_files(host.files());
        let answer = host.model().chat("").run(&mut conversation, &mut tools)?;
        Ok(Reply::text(answer.text()))
    }
}

#[test]
fn a_model_finds_reads_and_mends_a_bug() {
    let workspace = Workspace::new(&[
        ("src/mean.rs", b"fn mean(of: &[f64]) -> f64 {\n    of.iter().sum::<f64>() / (of.len() - 1) as f64\n}\n"),
        ("src/main.rs", b"mod mean;\n\nfn main() {}\n"),
    ]);
    let glob = workspace.call("Glob", json!({ "pattern": "**/*.rs" }));
    assert_eq!(glob.unwrap(), "/w/src/main.rs\n/w/src/mean.rs\n");
    let grep = json!({ "pattern": r"len\(\) - \d", "output_mode": "content", "type": "rust" });
    let line = "    of.iter().sum::<f64>() / (of.len() - 1) as f64";
    assert_eq!(workspace.call("Grep", grep).unwrap(), format!("/w/src/mean.rs:2:{line}\n"));
    let read = workspace.call("Read", json!({ "file_path": "/w/src/mean.rs" })).unwrap();
    assert_eq!(read.lines().nth(1), Some(&*format!("     2\t{line}")));
    let edit = json!({
        "file_path": "/w/src/mean.rs", "old_string": "(of.len() - 1)", "new_string": "of.len()",
    });
    assert_eq!(
        workspace.call("Edit", edit).unwrap(),
        "`/w/src/mean.rs` is changed in one place, line 2."
    );
    let write = json!({ "file_path": "docs/CHANGES.md", "content": "- mend the mean\n" });
    assert_eq!(
        workspace.call("Write", write).unwrap(),
        "`/w/docs/CHANGES.md` is written: 16 bytes."
    );
    assert!(workspace.get("src/mean.rs").contains("/ of.len() as f64"));
    assert_eq!(workspace.get("docs/CHANGES.md"), "- mend the mean\n");
}

#[test]
fn paths_are_below_the_root_or_refused() {
    let workspace = Workspace::new(&[("a.txt", b"here\n")]);
    for path in ["a.txt", "./a.txt", "/w/a.txt", "/w/./a.txt", "/w//a.txt"] {
        let read = workspace.call("Read", json!({ "file_path": path }));
        assert_eq!(read.as_deref(), Ok("     1\there\n"), "{path}");
    }
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path().join("b.txt").to_str().unwrap().to_owned();
    let long = "a".repeat(5_000);
    for path in
        ["", "a\0b", &*long, "../b.txt", "x/../../b.txt", "/w/../b.txt", "/etc/passwd", &*outside]
    {
        for (tool, arguments) in [
            ("Read", json!({ "file_path": path })),
            ("Write", json!({ "file_path": path, "content": "x" })),
            ("Edit", json!({ "file_path": path, "old_string": "x", "new_string": "y" })),
            ("Glob", json!({ "pattern": "*", "path": path })),
            ("Grep", json!({ "pattern": "x", "path": path })),
        ] {
            if path.is_empty() && ["Glob", "Grep"].contains(&tool) {
                // A model that has no path to give gives an empty one.
                assert!(workspace.call(tool, arguments).is_ok());
                continue;
            }
            let told = workspace.call(tool, arguments).unwrap_err();
            let expected = ["is not below `/w`", "name the path from `/w` on", "a path has 1 to"];
            assert!(expected.iter().any(|text| told.contains(text)), "{tool} {path}: {told}");
        }
    }
    assert!(!Path::new(&outside).exists());
}

#[test]
fn there_are_no_tools_where_there_is_no_workspace_and_an_agent_chooses_among_them() {
    let directory = tempfile::tempdir().unwrap();
    let names = |tools: Tools<'_>| format!("{tools:?}");
    let all = || Tools::new().of_files(Files::at(directory.path()));
    assert_eq!(names(all()), r#"["Read", "Write", "Edit", "Glob", "Grep"]"#);
    assert_eq!(names(all().only(|name| name == "Read")), r#"["Read"]"#);
    let none = Files::at(directory.path().join("none"));
    assert_eq!(names(Tools::new().of_files(none)), "[]");
    let own = crate::model::Tool::new("Grep", "Another one.", json!({ "type": "object" }));
    let own = Tools::new().tool(own, |_: Value| Ok("mine")).of_files(Files::at(directory.path()));
    assert_eq!(names(own), r#"["Grep", "Read", "Write", "Edit", "Glob"]"#);
    assert_eq!(MockHost::new().host().files().root(), Path::new("/workspace"));
}
