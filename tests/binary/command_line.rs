//! The command line as a newcomer meets it.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use dormouse_tests::Server;
use dormouse_tests::process::without_settings;
use dormouse_tests::scripted::{QUICKJS, scripted};
use dormouse_tests::test_host::eventually;
use serde_json::json;

use crate::{DORMOUSE, blocks, run};

/// Run a script of a document on the address of this server, instead of the usual one.
fn shell(script: &str, base: &str, directory: &Path) -> String {
    blocks::shell(&script.replace("http://127.0.0.1:3333", base), directory)
}

/// What the block of the README reads that uploads an agent in JavaScript.
const SCRIPTED: &str = "target/agents/notepad-quickjs.wasm";

/// The blocks of the README that have this word.
fn blocks_of_the_readme(word: &str) -> Vec<String> {
    blocks::blocks("README.md", "sh").into_iter().filter(|block| block.contains(word)).collect()
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn an_agent_in_javascript_is_uploaded_as_the_readme_says_and_goes_on_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let component = directory.path().join(SCRIPTED);
    std::fs::create_dir_all(component.parent().unwrap()).unwrap();
    std::fs::write(component, scripted(QUICKJS).unwrap().bytes).unwrap();
    let mut blocks = blocks_of_the_readme("curl ");
    blocks.retain(|block| block.contains(SCRIPTED));
    assert_eq!(blocks.len(), 1, "{blocks:#?}");

    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let script = format!("{}\necho; echo $ID", blocks[0]);
    let said = shell(&script, server.base(), directory.path());
    assert!(said.contains("noted as 1"), "{said}");
    let id = said.lines().last().unwrap().to_owned();
    server.kill().unwrap();

    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    assert_eq!(server.client().ask(&id, "add write it down").await.unwrap(), "noted as 2");
    assert_eq!(server.terminate().unwrap(), Some(0));
}

#[test]
fn the_blocks_of_the_readme_can_be_played_as_they_stand() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(DORMOUSE, &directory.path().join("data"), &[]).unwrap();
    std::fs::write(directory.path().join("agent.wasm"), dormouse_test_guests::SPENDS_FUEL.bytes)
        .unwrap();
    let mut blocks = blocks_of_the_readme("curl ");
    blocks.retain(|block| !block.contains(SCRIPTED));
    assert_eq!(blocks.len(), 8, "{blocks:#?}");
    let said = shell(&blocks.join("\n"), server.base(), directory.path());
    for expected in [
        "you said: hello",
        "turn 1: hello\nasleep\nturn 2: still there?\n",
        "turn 3: and now as a stream",
        "turn 1: hello\nturn 2: still there?\nturn 3: and now as a stream\n",
        "\"name\": \"mine\"",
        "HELLO!",
    ] {
        assert!(said.contains(expected), "{expected} is missing in {said}");
    }
}

#[test]
fn the_blocks_of_the_readme_with_commands_can_be_played_as_they_stand() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(DORMOUSE, &directory.path().join("data"), &[]).unwrap();
    let blocks = blocks_of_the_readme("dormouse talk");
    assert_eq!(blocks.len(), 2, "{blocks:#?}");
    let programs = Path::new(DORMOUSE).parent().unwrap().to_str().unwrap();
    let script = blocks.join("\n").replace("$PWD/target/release", programs);
    let script = format!("export DORMOUSE_SERVER={}\n{script}", server.base());
    let said = shell(&script, server.base(), directory.path());
    for expected in ["Ada", "turn 2: still there?\n", "active, asleep\n", "STATUS"] {
        assert!(said.contains(expected), "{expected} is missing in {said}");
    }
}

#[tokio::test]
async fn the_lines_that_the_host_prints_at_its_start_can_be_pasted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(DORMOUSE, &directory.path().join("data"), &[]).unwrap();
    let lines = || -> Vec<String> {
        let printed = server.printed();
        printed
            .iter()
            .map(|line| line.trim().to_owned())
            .filter(|line| line.contains("curl ") || line.contains(" talk "))
            .collect()
    };
    eventually("four lines are printed", async || lines().len() == 4).await;
    let said = shell(&lines().join("\n"), server.base(), directory.path());
    assert_eq!(said.matches("turn 1: ").count(), 2, "{said}");
    let printed = server.printed().join("\n");
    for agent in
        ["assistant", "counter", "echo", "fib", "monitor", "notepad", "populations", "wealth"]
    {
        assert!(printed.contains(agent), "{agent}");
    }
    let data = directory.path().join("data");
    assert!(printed.contains(&format!("{} (0 sessions)", data.display())), "{printed}");
}

#[test]
fn the_command_line_overrides_the_environment_and_that_the_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("dormouse.toml"),
        "max-residents = 11\nmax-queued-messages = 12\nlisten = \"127.0.0.1:4001\"\n",
    )
    .unwrap();
    let mut command = Command::new(DORMOUSE);
    without_settings(&mut command);
    let output = command
        .args(["config", "--listen", "127.0.0.1:4003"])
        .env("DORMOUSE_LISTEN", "127.0.0.1:4002")
        .env("DORMOUSE_MAX_QUEUED_MESSAGES", "13")
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let line = |name: &str| {
        let found = printed.lines().find(|line| line.trim_start().starts_with(name));
        found.unwrap_or_else(|| panic!("{name} is missing in {printed}")).to_owned()
    };
    let listen = line("listen");
    assert!(listen.contains("127.0.0.1:4003") && listen.contains("--listen"), "{listen}");
    let queued = line("max-queued-messages");
    assert!(queued.contains("13") && queued.contains("DORMOUSE_MAX_QUEUED_MESSAGES"), "{queued}");
    let residents = line("max-residents");
    assert!(residents.contains("11") && residents.contains("dormouse.toml"), "{residents}");
    assert!(line("data-dir").contains("default"), "{printed}");
}

#[test]
fn what_cannot_be_understood_is_refused_with_where_it_came_from() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("dormouse.toml"), "max-resident = 11\n").unwrap();
    let output = run(&["config"], directory.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("max-resident") && said.contains("dormouse.toml"), "{said}");

    std::fs::remove_file(directory.path().join("dormouse.toml")).unwrap();
    let output = run(&["config", "--max-residents", "many"], directory.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("--max-residents") && said.contains("integer"), "{said}");
}

/// What a run that fails says, on one line.
fn refusal(arguments: &[&str], directory: &Path) -> String {
    let output = run(arguments, directory);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap().trim().to_owned()
}

#[test]
fn a_misspelt_setting_is_refused_with_the_one_that_was_meant() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("dormouse.toml"), "max_residents = 11\n").unwrap();
    for command in [&["config"][..], &["store", "stat"], &["serve"]] {
        let said = refusal(command, directory.path());
        assert!(
            said.contains("max_residents in dormouse.toml: did you mean max-residents?"),
            "{said}"
        );
    }
    std::fs::remove_file(directory.path().join("dormouse.toml")).unwrap();
    let said = refusal(&["config", "--max-residents", "-1"], directory.path());
    assert!(
        said.ends_with("max-residents (from --max-residents) must be an integer, 0 or more"),
        "{said}"
    );
    let said = refusal(&["config", "--log-level", "blah="], directory.path());
    assert!(said.contains("must be a level"), "{said}");
}

#[test]
fn a_directory_with_something_else_in_it_is_not_taken_for_data() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("src")).unwrap();
    let said = refusal(&["--data-dir", ".", "--listen", "127.0.0.1:0"], directory.path());
    assert!(said.contains("not a data directory") && said.contains("it holds src"), "{said}");
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_directory_that_another_user_has_is_named_with_the_cause_and_once() {
    let directory = tempfile::tempdir().unwrap();
    // Root may read everything: it becomes somebody else, who needs a program that it can reach.
    let program = directory.path().join("dormouse");
    std::fs::copy(DORMOUSE, &program).unwrap();
    let mode = |path: &Path, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).unwrap();
    };
    mode(directory.path(), 0o755);
    let data = directory.path().join("data");
    std::fs::create_dir_all(data.join("store")).unwrap();
    mode(&data, 0o000);
    for command in [&["store", "stat"][..], &["backup", "copy"], &["serve"]] {
        let mut refused = Command::new(&program);
        without_settings(&mut refused);
        if rustix::process::geteuid().is_root() {
            refused.uid(65_534);
        }
        refused.args(command).arg("--data-dir").arg(&data).current_dir(directory.path());
        if command == ["serve"] {
            refused.args(["--listen", "127.0.0.1:0"]);
        }
        // A process that another test has just started may still hold the file open that was written.
        let output = loop {
            match refused.output() {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    std::thread::yield_now();
                }
                output => break output.unwrap(),
            }
        };
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{said}");
        assert!(said.contains(data.to_str().unwrap()), "{said}");
        assert_eq!(said.matches("Permission denied").count(), 1, "{said}");
    }
    mode(&data, 0o755);
}

#[test]
fn to_listen_beyond_loopback_without_keys_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(&["--listen", "0.0.0.0:0"], directory.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("key"), "{said}");
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let output =
        run(&["--data-dir", data.to_str().unwrap(), "--listen", "127.0.0.1:0"], directory.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains(&server.pid().to_string()), "{said}");
    let id = server.client().create(&json!({ "agent": "counter" })).await.unwrap();
    assert_eq!(server.client().ask(&id, "hello").await.unwrap(), "turn 1: hello");
}

#[tokio::test]
async fn asked_to_end_the_host_puts_everything_to_sleep_and_the_next_one_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let body = json!({ "agent": "counter", "pattern": "long-running" });
    let id = server.client().create(&body).await.unwrap();
    assert_eq!(server.client().ask(&id, "one").await.unwrap(), "turn 1: one");
    assert_eq!(server.terminate().unwrap(), Some(0));

    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let (_, session) = server.client().get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["residency"], "asleep");
    assert_eq!(server.client().ask(&id, "two").await.unwrap(), "turn 2: two");
}

#[tokio::test]
async fn uploads_are_compiled_in_a_child_process_and_hostile_ones_harm_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(DORMOUSE, &directory.path().join("data"), &[]).unwrap();
    let client = server.client();
    let (status, answer) =
        client.upload("mine", "1", dormouse_test_guests::SPENDS_FUEL.bytes).await.unwrap();
    assert_eq!(status.as_u16(), 201, "{answer}");
    let zeros = vec![0_u8; 100 << 20];
    // The host may answer before it has read everything, and the connection then ends early.
    if let Ok((status, answer)) = client.upload("zeros", "1", zeros).await {
        assert_eq!(status.as_u16(), 413, "{answer}");
    }
    let id = client.create(&json!({ "agent": "mine@1" })).await.unwrap();
    assert_eq!(client.ask(&id, "hello").await.unwrap(), "turn 1: hello");
}
