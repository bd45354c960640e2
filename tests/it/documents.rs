//! What the documents tell a newcomer to do works: their blocks are run.

use std::path::{Path, PathBuf};
use std::process::Command;

use dormouse::{Host, NewSession, Pattern};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The code blocks of this language in a document, in order.
pub(crate) fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let mut blocks = Vec::new();
    let mut rest = text.as_str();
    let fence = format!("\n```{language}\n");
    while let Some(at) = rest.find(&fence) {
        rest = &rest[at + fence.len()..];
        let end = rest.find("\n```").expect("a block ends");
        blocks.push(rest[..end].to_owned() + "\n");
        rest = &rest[end..];
    }
    assert!(!blocks.is_empty(), "{document} has no block in {language}");
    blocks
}

#[tokio::test]
async fn a_guest_made_from_the_readme_of_the_sdk_works_on_a_host_that_has_never_seen_it() {
    let directory = tempfile::tempdir().unwrap();
    let guest = directory.path().join("guest");
    std::fs::create_dir_all(guest.join("src")).unwrap();
    let manifest = blocks("guest-sdk/README.md", "toml").remove(0);
    let sdk = root().join("guest-sdk");
    let manifest = manifest.replace("../dormouse/guest-sdk", sdk.to_str().unwrap());
    assert!(manifest.contains(sdk.to_str().unwrap()), "the README names another place: {manifest}");
    std::fs::write(guest.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(guest.join("src/lib.rs"), blocks("guest-sdk/README.md", "rust").remove(0))
        .unwrap();
    // The versions that this repository was tested with; the guest is a crate of its own.
    std::fs::copy(root().join("Cargo.lock"), guest.join("Cargo.lock")).unwrap();

    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--target", "wasm32-wasip2"])
        .current_dir(&guest)
        .env("CARGO_TARGET_DIR", root().join("target/tmp/outside"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = root().join("target/tmp/outside/wasm32-wasip2/release");
    let component = std::fs::read_dir(built)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .expect("a component was built");

    let host = Host::builder().in_memory().build().await.unwrap();
    let bytes = std::fs::read(component).unwrap();
    host.agents().upload("mine", "1", bytes).await.unwrap();
    let mine = NewSession::with_agent("mine@1".parse().unwrap()).pattern(Pattern::Hybrid);
    let session = host.sessions().create(mine).await.unwrap();
    for n in 1..=3 {
        assert_eq!(session.send("hi").await.unwrap().text(), format!("turn {n}: hi"));
        session.sleep().await.unwrap();
    }
    host.shut_down().await.unwrap();
}

#[test]
fn the_agent_of_the_readme_is_the_bundled_counter() {
    let readme = blocks("README.md", "rust").remove(0);
    let counter = std::fs::read_to_string(root().join("agents/counter/src/lib.rs")).unwrap();
    let essence = |text: &str| text.split_whitespace().collect::<String>();
    let handler = readme.split_once("fn handle").unwrap().1.split_once("export_agent").unwrap().0;
    assert!(essence(&counter).contains(&essence(handler)), "{handler}");
}

/// Write the first two blocks of a guide, test the agent as the guide says, build it, and talk to it.
async fn follow(guide: &str, language: &str, files: [&str; 2], test: &str) {
    let directory = tempfile::tempdir().unwrap();
    for (file, block) in files.into_iter().zip(blocks(guide, language)) {
        std::fs::write(directory.path().join(file), block).unwrap();
    }
    let commands = blocks(guide, "sh").remove(0);
    assert!(commands.contains(test), "the guide tests otherwise: {commands}");
    let local = commands.lines().take_while(|line| !line.starts_with("curl"));
    let script = local.collect::<Vec<_>>().join("\n").replace("DORMOUSE", root().to_str().unwrap());
    let output =
        Command::new("sh").args(["-euc", &script]).current_dir(directory.path()).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));

    let host = Host::builder().in_memory().build().await.unwrap();
    let component = std::fs::read(directory.path().join("agent.wasm")).unwrap();
    host.agents().upload("mine", "1", component).await.unwrap();
    let mine = NewSession::with_agent("mine".parse().unwrap()).pattern(Pattern::Hybrid);
    let session = host.sessions().create(mine).await.unwrap();
    for n in 1..=2 {
        assert_eq!(session.send("hi").await.unwrap().text(), format!("turn {n}: hi"));
        session.sleep().await.unwrap();
    }
    host.shut_down().await.unwrap();
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn the_guide_for_javascript_leads_to_a_running_agent() {
    let files = ["agent.js", "agent.test.js"];
    follow("agents/javascript/README.md", "js", files, "--test agent.test.js").await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn the_guide_for_python_leads_to_a_running_agent() {
    let files = ["agent.py", "test_agent.py"];
    follow("agents/python/README.md", "python", files, "-m unittest test_agent").await;
}
