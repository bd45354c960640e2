//! Providers of models in the configuration.

use std::path::Path;
use std::process::Command;

use dormouse_tests::process::{Server, without_settings};
use dormouse_tests::test_host::eventually;

use crate::{DORMOUSE, blocks, run};

const FILE: &str = r#"
default-model = "llama3.2"

[providers.local]
kind = "openai"
url = "http://127.0.0.1:9/v1"
key-file = "secret"
models = ["llama3*"]

[prices."llama3*"]
input = 0
output = 0
"#;

fn started(command: Command, directory: &Path) -> Server {
    Server::spawn(command, &directory.join("data")).unwrap()
}

async fn says(server: &Server, line: &str) {
    let is_there = async || server.printed().join("\n").contains(line);
    eventually("the server says who answers for models", is_there).await;
}

#[tokio::test]
async fn a_server_says_at_its_start_who_answers_for_models() {
    let directory = tempfile::tempdir().unwrap();
    let server = started(Command::new(DORMOUSE), directory.path());
    says(&server, "offline answers every name; set ANTHROPIC_API_KEY or OPENAI_API_KEY").await;
    drop(server);

    std::fs::write(directory.path().join("dormouse.toml"), FILE).unwrap();
    std::fs::write(directory.path().join("secret"), "sk-secret").unwrap();
    let server = started(Command::new(DORMOUSE), directory.path());
    says(&server, "local (llama3*), offline; default llama3.2").await;
    assert!(!server.printed().join("\n").contains("sk-secret"));
}

#[test]
fn a_key_of_the_environment_makes_a_provider_and_is_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(DORMOUSE);
    without_settings(&mut command);
    command.arg("config").env("OPENAI_API_KEY", "sk-secret").current_dir(directory.path());
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let line = printed.lines().find(|line| line.starts_with("providers ")).unwrap();
    assert!(line.contains("openai.key-env=OPENAI_API_KEY"), "{line}");
    assert!(line.ends_with("  OPENAI_API_KEY"), "{line}");
    assert!(!printed.contains("sk-secret"), "{printed}");
}

#[test]
fn a_server_whose_provider_has_no_key_does_not_start_and_names_the_place() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("dormouse.toml"), FILE).unwrap();
    let output = run(&["serve"], directory.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    let expected = "providers (from dormouse.toml) has the provider local: its key-file secret";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn each_example_of_the_page_on_models_is_one() {
    let examples = blocks::blocks("docs/models.md", "toml");
    assert!(examples.len() >= 4, "{examples:#?}");
    for example in examples {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("dormouse.toml"), &example).unwrap();
        let output = run(&["config"], directory.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{example}\n{said}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let models = printed.lines().filter(|line| line.starts_with("pr"));
        assert!(models.clone().any(|line| line.ends_with("dormouse.toml")), "{printed}");
    }
}
