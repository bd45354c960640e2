//! Each world of the examples comes to the same, whichever way it is run: by the command line, over the API, and in a program
//! that embeds the host.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dormouse::model::TokenPrice;
use dormouse::{Bundle, ManualClock, TickSummary, WorldSpec};
use dormouse_tests::provider::{Play, ProviderServer};
use dormouse_tests::{Client, Server, TestHost};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::sim::WORLDS;
use crate::{DORMOUSE, run};

/// How many ticks each world has here.
const TICKS: u64 = 5;

/// What a world comes to.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// In hexadecimal.
    fingerprint: Value,
    /// The last value of each aggregate, by name.
    aggregates: Value,
    /// How many calls of models its members have made.
    calls: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_world_of_the_examples_comes_to_the_same_on_each_way() {
    let provider = ProviderServer::start(|asked| {
        let agrees = asked.text.bytes().map(u64::from).sum::<u64>() % 3 != 0;
        Play::Says(if agrees { "Yes." } else { "No." }.to_owned())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "default-model = \"loopback-1\"\n[providers.loopback]\nkind = \"openai\"\nurl = \"{}\"\nmodels = [\"loopback-1\"]\n\
         [prices.loopback-1]\ninput = 0\noutput = 0\n",
        provider.url
    );
    std::fs::write(folder.path().join("dormouse.toml"), settings).unwrap();
    let server = Server::start(DORMOUSE, &folder.path().join("data"), &[]).unwrap();
    let client = server.client();
    let embedded =
        TestHost::built(&folder.path().join("embedded"), &ManualClock::new(), |builder| {
            let builder = builder.models(provider.catalog(TokenPrice::default()));
            // Address space for few, so that other tests can run beside this one.
            builder.configure(|options| options.max_world_instances = 400)
        })
        .await;

    let worlds = worlds();
    let thinks = |world: &&PathBuf| world.parent() != Some(Path::new(WORLDS));
    assert!(worlds.len() >= 11 && worlds.iter().filter(thinks).count() >= 2, "{worlds:?}");
    for world in worlds {
        let (by_command, spec) = by_command(&world, folder.path());
        let over_api = over_api(&client, &spec).await;
        assert_eq!(over_api, by_command, "{}", world.display());
        assert_eq!(in_program(&embedded, spec).await, by_command, "{}", world.display());
        assert_eq!(by_command.calls > 0, thinks(&&world), "{}", world.display());
    }
    assert_eq!(server.terminate().unwrap(), Some(0));
}

/// The specifications of worlds among the examples. Other files name a world, and have no members.
fn worlds() -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>()
    };
    let within = |path: PathBuf| if path.is_dir() { entries(&path) } else { vec![path] };
    let is_world = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "toml") && {
            let text = std::fs::read_to_string(path).unwrap();
            text.parse::<toml::Table>().unwrap().contains_key("members")
        }
    };
    let mut worlds: Vec<PathBuf> =
        entries(Path::new(WORLDS)).into_iter().flat_map(within).filter(is_world).collect();
    worlds.sort();
    worlds
}

/// What the command line says of it, and the specification that it has run, with what stands in the tables beside the file.
fn by_command(world: &Path, folder: &Path) -> (Outcome, WorldSpec) {
    let (world, ticks) = (world.to_str().unwrap(), TICKS.to_string());
    let output = run(&["sim", "run", world, "--ticks", &ticks, "--out", "out", "--json"], folder);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{world}: {said}{}", String::from_utf8_lossy(&output.stderr));
    let mut ran: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(ran["ticks"], TICKS, "{world}");
    let outcome = Outcome {
        fingerprint: ran["fingerprint"].take(),
        aggregates: ran["aggregates"].take(),
        calls: ran["calls"].as_u64().unwrap(),
    };
    let bundle = Bundle::read(File::open(folder.join("out/bundle")).unwrap()).unwrap();
    (outcome, bundle.spec)
}

/// What a server says of it.
async fn over_api(client: &Client, spec: &WorldSpec) -> Outcome {
    let ask = async |method: Method, path: &str, body: Value| -> Value {
        let response = client.request(method, path).json(&body).send().await.unwrap();
        let (status, answer) = (response.status(), response.json::<Value>().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    };
    let made = ask(Method::POST, "/api/simulations", json!({ "spec": spec })).await;
    let path = format!("/api/simulations/{}", made["id"].as_str().unwrap());
    let mut shown = ask(Method::POST, &format!("{path}/start"), json!({})).await;
    for _ in 0..6_000 {
        shown = ask(Method::GET, &path, json!({})).await;
        if shown["status"] != "running" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(shown["status"], "completed", "{shown}");
    let page = ask(Method::GET, &format!("{path}/ticks"), json!({})).await;
    let mut aggregates = Map::new();
    for tick in page["ticks"].as_array().unwrap() {
        // Those of later ticks come later.
        aggregates.extend(tick["aggregates"].as_object().unwrap().clone());
    }
    Outcome {
        fingerprint: shown["fingerprint"].take(),
        aggregates: Value::Object(aggregates),
        calls: shown["calls"]["made"].as_u64().unwrap(),
    }
}

/// What it comes to in a program.
async fn in_program(test: &TestHost, spec: WorldSpec) -> Outcome {
    let names: Vec<String> = spec.aggregates.iter().map(|own| own.name.clone()).collect();
    let mut world = test.host.simulations().make(spec).await.unwrap();
    let mut aggregates = Map::new();
    for TickSummary { aggregates: due, .. } in world.run(TICKS).await.unwrap() {
        aggregates.extend(due.into_iter().map(|own| (names[own.place].clone(), json!(own.value))));
    }
    let fingerprint = world.fingerprint().await.unwrap();
    Outcome {
        fingerprint: fingerprint
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .into(),
        aggregates: Value::Object(aggregates),
        calls: world.calls().made,
    }
}
