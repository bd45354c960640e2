//! `dormouse sim`: worlds from files, without a server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dormouse_tests::provider::{Play, ProviderServer};
use serde_json::Value;

use crate::run;

/// Where the worlds of the examples are.
pub(crate) const WORLDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/worlds");

/// The document on the last line, of a command that has this exit code.
fn last_line(arguments: &[&str], code: i32) -> Value {
    let output = run(arguments, Path::new("/"));
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}{complained}");
    let last = said.lines().last().unwrap_or_else(|| panic!("nothing was said: {complained}"));
    serde_json::from_str(last).unwrap()
}

#[test]
fn a_world_runs_from_its_file_and_its_bundle_is_verified() {
    let wealth = format!("{WORLDS}/wealth.toml");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let short = ["sim", "run", &wealth, "--ticks", "40", "--json"];
    let ran = last_line(&[short.as_slice(), &["--out", out]].concat(), 0);
    assert_eq!((&ran["ticks"], &ran["memberSteps"]), (&40.into(), &4_000_000.into()));
    assert_eq!((&ran["calls"], &ran["costUsd"]), (&0.into(), &0.0.into()));
    assert!((0.5..0.65).contains(&ran["aggregates"]["gini"].as_f64().unwrap()), "{ran}");
    assert!(ran["seconds"].as_f64().unwrap() > 0.0);

    let split = last_line(&[short.as_slice(), &["--rows", "7000"]].concat(), 0);
    assert_eq!(split["fingerprint"], ran["fingerprint"]);
    assert_eq!(split["instances"], 15);
    let other = last_line(&[short.as_slice(), &["--seed", "2"]].concat(), 0);
    assert_ne!(other["fingerprint"], ran["fingerprint"]);

    let bundle = format!("{out}/bundle");
    let verified = last_line(&["sim", "verify", &bundle, "--json"], 0);
    assert_eq!(
        (&verified["verified"], &verified["fingerprint"]),
        (&true.into(), &ran["fingerprint"])
    );
    let lines =
        |name: &str| std::fs::read_to_string(format!("{out}/{name}")).unwrap().lines().count();
    assert_eq!((lines("aggregates.csv"), lines("members-traders.csv")), (1 + 40 + 5, 100_001));

    let mut bytes = std::fs::read(&bundle).unwrap();
    let aggregates = bytes.windows(9).rposition(|window| window == b"tick,name").unwrap();
    bytes[aggregates + 25] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let verified = last_line(&["sim", "verify", &bundle, "--json"], 1);
    assert_eq!(verified["verified"], false, "{verified}");
}

#[test]
fn a_world_is_forked_from_its_bundle_and_compared() {
    let epidemic = format!("{WORLDS}/epidemic.toml");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (out, forked) = (path("out"), path("forked"));
    let ran = last_line(&["sim", "run", &epidemic, "--out", &out, "--json"], 0);
    let bundle = format!("{out}/bundle");
    let fork = ["sim", "fork", &bundle, "--at", "3", "--json"];
    let nothing = "people.transmission=0";
    let none = [fork.as_slice(), &["--set", nothing, "--out", &forked]].concat();
    let none = last_line(&none, 0);
    assert_eq!((&none["firstDifference"], &none["ticks"]), (&3.into(), &ran["ticks"]));
    assert_ne!(none["fingerprint"], ran["fingerprint"]);
    let of_fork = format!("{forked}/bundle");
    let verified = last_line(&["sim", "verify", &of_fork, "--json"], 0);
    assert_eq!(verified["fingerprint"], none["fingerprint"]);
    let diff = last_line(&["sim", "diff", &bundle, &of_fork, "--json"], 0);
    assert_eq!((&diff["first"], &diff["compared"]), (&3.into(), &ran["ticks"]));
    let (aggregates, name) = (&diff["aggregates"], ran["aggregates"].as_object().unwrap());
    for (name, last) in name {
        assert_eq!(
            (&aggregates[name]["one"], &aggregates[name]["other"]),
            (last, &none["aggregates"][name])
        );
    }
    let same = last_line(&["sim", "diff", &bundle, &bundle, "--json"], 0);
    assert_eq!(same["first"], Value::Null);
    for (set, part) in [("people=1", "ROLE.NAME=VALUE"), ("wolves.p=1", "there is no such role")] {
        let bad = ["sim", "fork", &bundle, "--at", "3", "--set", set];
        let output = run(&bad, Path::new("/"));
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(complained.contains(part), "{complained}");
    }
    for name in ["aggregates.jsonl", "aggregates.parquet", "members-people.parquet"] {
        assert!(std::fs::metadata(format!("{out}/{name}")).unwrap().len() > 100, "{name}");
    }
}

#[test]
fn a_population_whose_rows_share_something_is_found() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acts.wasm"), dormouse_test_guests::ACTS_IN_WORLDS.bytes)
        .unwrap();
    let world = |act: &str| {
        let path = folder.path().join("world.toml");
        let spec = format!(
            r#"
            ticks = 20
            members = [{{ role = "beings", agent = "acts.wasm", count = 50, parameters = {{ act = "{act}" }} }}]
            aggregates = [{{ name = "energy", of = "beings.energy", is = "mean" }}]
            "#
        );
        std::fs::write(&path, spec).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let checked = last_line(&["sim", "check", &world("multiply"), "--json"], 0);
    assert_eq!((&checked["same"], &checked["ticks"]), (&true.into(), &10.into()));
    let checked = last_line(&["sim", "check", &world("share"), "--json"], 1);
    assert_eq!((&checked["same"], &checked["rows"]), (&false.into(), &7.into()), "{checked}");
}

#[test]
fn a_world_tells_where_its_time_goes() {
    let world = format!("{WORLDS}/wealth.toml");
    let output =
        run(&["sim", "run", &world, "--ticks", "3", "--profile", "--json"], Path::new("/"));
    let (told, table) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(told["ticks"], 3);
    for part in [
        "rows act",
        "rows publish",
        "effects are merged",
        "aggregates are computed",
        "hashed",
        "the rest",
    ] {
        let line = table.lines().find(|line| line.contains(part));
        let columns: Vec<&str> =
            line.unwrap_or_else(|| panic!("{part}: {table}")).split('|').collect();
        assert!(columns[2].trim().parse::<f64>().unwrap() > 0.0, "{table}");
    }
}

#[test]
fn what_cannot_be_run_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("world.toml");
    for (spec, part) in [
        ("ticks = 3\n[[members]]\nrole = \"a\"\nagnt = \"wealth\"\ncount = 1", "line 4"),
        (
            "ticks = 3\n[[members]]\nrole = \"a\"\nagent = \"none\"\ncount = 1",
            "members[0].agent: there is no agent 'none'",
        ),
        (
            "ticks = 3\n[[members]]\nrole = \"a\"\nagent = \"none.wasm\"\ncount = 1",
            "none.wasm cannot be read",
        ),
        (
            "ticks = 3\n[[members]]\nrole = \"a\"\nagent = \"wealth\"\ncount = 20000\nrows = 1",
            "rows = ",
        ),
    ] {
        std::fs::write(&path, spec).unwrap();
        let output = run(&["sim", "run", path.to_str().unwrap()], Path::new("/"));
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{complained}");
        assert!(complained.contains(part), "{complained}");
    }
}

#[test]
fn a_sweep_that_is_cut_off_goes_on_with_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(
        path("world.toml"),
        r#"
        ticks = 30
        schedule = "by-event"
        aggregates = [{ name = "immune", of = "people.state", is = { share = 2 } }]
        [[members]]
        role = "people"
        agent = "epidemic"
        count = 200
        attributes = { infected = { exactly = 3 } }
        topology = { kind = "ring" }
        "#,
    )
    .unwrap();
    std::fs::write(
        path("sweep.toml"),
        r#"
        world = "world.toml"
        [experiment]
        replicates = 3
        [experiment.parameters]
        "people.parameters.transmission" = [0.0, 1.0]
        "people.count" = [100, 200]
        "#,
    )
    .unwrap();
    let (sweep, table) = (path("sweep.toml"), path("table.csv"));
    let arguments = ["sim", "sweep", &sweep, "--out", &table, "--json"];
    let done = last_line(&arguments, 0);
    assert_eq!((&done["runs"], &done["ran"]), (&12.into(), &12.into()));
    let whole = std::fs::read_to_string(&table).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!(
        lines[0],
        "run,people.count,people.parameters.transmission,seed,replicate,immune,fingerprint"
    );
    assert_eq!(lines.len(), 13);
    for line in &lines[1..] {
        let fields: Vec<&str> = line.split(',').collect();
        let immune: f64 = fields[5].parse().unwrap();
        // Only those who began ill, or everybody whom thirty ticks can reach.
        assert_eq!(immune > 0.1, fields[2] == "1.0", "{line}");
    }
    // Cut off in the middle of a line.
    let cut = whole.find(lines[8]).unwrap() + 10;
    std::fs::write(&table, &whole[..cut]).unwrap();
    assert_eq!(last_line(&arguments, 0)["ran"], 5);
    assert_eq!(std::fs::read_to_string(&table).unwrap(), whole);
    std::fs::write(&table, "run,other\n").unwrap();
    let refused = run(&arguments, Path::new("/"));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the table of another experiment"));
}

/// A provider that agrees to some of what it is asked, and a file with settings that names it.
async fn provider() -> (ProviderServer, String) {
    let provider = ProviderServer::start(|asked| {
        let sum = asked.text.bytes().map(u64::from).sum::<u64>();
        let agrees = (sum / 3).is_multiple_of(2) && !asked.text.contains("never a plan");
        Play::Says(if agrees { "Yes." } else { "No." }.to_owned())
    })
    .await;
    let file = format!(
        "default-model = \"m\"\n[providers.local]\nkind = \"openai\"\nurl = \"{}\"\nmodels = [\"m\"]\n\
         [prices.m]\ninput = 1\noutput = 1\n",
        provider.url
    );
    (provider, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn arms_are_forked_compared_and_gone_on_with() {
    let (provider, file) = provider().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("dormouse.toml"), &file).unwrap();
    let people: String = (0..120)
        .map(|number| {
            let rumour = if number < 3 { "The bridge is closed." } else { "" };
            format!("Person {number},You are person {number}.,{rumour}\n")
        })
        .collect();
    std::fs::write(at("people.csv"), format!("name,persona,rumour\n{people}")).unwrap();
    let rumour = std::fs::read_to_string(format!("{WORLDS}/rumour/rumour.toml")).unwrap();
    std::fs::write(at("rumour.toml"), rumour.replace("ticks = 24", "ticks = 10")).unwrap();
    let arms = std::fs::read_to_string(format!("{WORLDS}/rumour/arms.toml")).unwrap();
    let arms =
        arms.replace("replicates = 20", "replicates = 3").replace("members = 50", "members = 5");
    std::fs::write(at("arms.toml"), arms.replace("at = 4", "at = 2")).unwrap();
    let arms = || -> Value {
        let output = run(&["sim", "arms", "arms.toml", "--out", "out", "--json"], folder.path());
        let said = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{complained}");
        serde_json::from_str(said.lines().last().unwrap()).unwrap()
    };
    let whole = arms();
    let ledger = &whole["ledger"];
    let calls = |arm: &str| ledger[arm]["calls"].as_u64().unwrap();
    let inherited = |arm: &str| ledger[arm]["inheritedCalls"].as_u64().unwrap();
    assert_eq!((whole["runs"].as_u64(), calls("silence")), (Some(9), 0), "{whole}");
    assert!(calls("base") > 50 && calls("correction") > 0, "{whole}");
    assert_eq!(inherited("silence"), calls("base"), "{whole}");
    let reach = &whole["aggregates"]["reach"];
    let effect = &reach["correction"]["effect"];
    assert!(effect["high"].as_f64().unwrap() < 0.0, "a correction stops it: {reach}");
    assert_eq!(reach["silence"]["effect"], Value::Null);
    assert!(whole["aggregates"]["survey"]["appeal"]["mean"].as_f64().is_some(), "{whole}");
    let answered = provider.answered().len();

    // A bundle of it is verified by somebody who has no model.
    for arm in ["base", "correction"] {
        let bundle = at(&format!("out/{arm}-0.bundle"));
        let verified = last_line(&["sim", "verify", bundle.to_str().unwrap(), "--json"], 0);
        assert_eq!(verified["verified"], true, "{verified}");
    }
    // Where nothing is missing, nothing is run; where something is, that is.
    assert_eq!(arms(), whole);
    assert_eq!(provider.answered().len(), answered);
    let runs = std::fs::read_to_string(at("out/runs.csv")).unwrap();
    let lines: Vec<&str> = runs.lines().collect();
    let (last, before) = lines.split_last().unwrap();
    std::fs::write(at("out/runs.csv"), format!("{}\n{}", before.join("\n"), &last[..9])).unwrap();
    assert_eq!(arms(), whole);
    let again = std::fs::read_to_string(at("out/runs.csv")).unwrap();
    assert_eq!(again, runs);

    let other = std::fs::read_to_string(at("arms.toml")).unwrap().replace("at = 2", "at = 3");
    std::fs::write(at("arms.toml"), other).unwrap();
    let output = run(&["sim", "arms", "arms.toml", "--out", "out"], folder.path());
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(complained.contains("has the results of other arms"), "{complained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_from_a_table_and_their_answers_go_along_with_the_bundle() {
    let (provider, file) = provider().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dormouse.toml"), &file).unwrap();
    let world = r#"
        ticks = 4
        [[members]]
        role = "people"
        agent = "persona"
        from = "people.csv"
        columns = ["heard"]
        topology = { kind = "edges", from = "ties.csv" }
        [[aggregates]]
        name = "reach"
        of = "people.heard"
        is = "sum"
    "#;
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("world.toml", world);
    write("people.csv", "name,rumour\nAnn,It rains.\nBob,\nCid,\n");
    write("ties.csv", "from,to\n0,1\n1,2\n");
    let said = |arguments: &[&str]| {
        let output = run(arguments, folder.path());
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (is_well, text) = said(&["sim", "run", "world.toml", "--out", "out", "--json"]);
    let ran: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(is_well && ran["calls"].as_u64().unwrap() >= 1, "{text}");
    let (is_well, text) = said(&["sim", "check", "world.toml"]);
    assert!(is_well, "{text}");
    let asked = provider.asked().len();
    let fork = ["sim", "fork", "out/bundle", "--at", "1", "--send", "people=It shines."];
    let (is_well, text) = said(&[&fork[..], &["--set", "people.config.name=Eve"]].concat());
    assert!(is_well, "{text}");
    let (is_well, text) = said(&["sim", "verify", "out/bundle"]);
    assert!(is_well && text.starts_with("verified"), "{text}");
    assert!(provider.asked().len() <= asked + 3);
    for (name, table, told) in [
        ("people.csv", "name,name\nA,B\n", "it has two columns by the name `name`"),
        ("people.csv", "name\n", "it has no lines behind its names"),
        ("people.csv", "name,rumour\nA\n", "people.csv"),
        ("ties.csv", "from,to\n0,9\n", "there is no member 9"),
        ("ties.csv", "from,to\n0,x\n", "line 2 has no two numbers of members"),
    ] {
        let before = std::fs::read_to_string(folder.path().join(name)).unwrap();
        write(name, table);
        let (is_well, text) = said(&["sim", "run", "world.toml"]);
        assert!(!is_well && text.contains(told), "{told}: {text}");
        write(name, &before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_that_is_kept_goes_on_where_it_was_cut_off() {
    let asked_for = Arc::new(AtomicUsize::new(0));
    let count = asked_for.clone();
    let provider = ProviderServer::start(move |asked| {
        if count.fetch_add(1, Ordering::Relaxed) == 30 {
            let problem = serde_json::json!({ "error": { "message": "no such key" } });
            return Play::Refuses(401, problem, None);
        }
        let agrees = asked.text.bytes().map(u64::from).sum::<u64>() % 10 < 8;
        Play::Says(if agrees { "Yes." } else { "No." }.to_owned())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "dormouse.toml",
        &format!(
            "default-model = \"m\"\n[providers.local]\nkind = \"openai\"\nurl = \"{}\"\nmodels = [\"m\"]\n\
             [prices.m]\ninput = 1\noutput = 1\n",
            provider.url
        ),
    );
    let person =
        |number: u32| format!("Person {number},{}\n", if number < 3 { "It rains." } else { "" });
    write("people.csv", &format!("name,rumour\n{}", (0..90).map(person).collect::<String>()));
    let rumour = std::fs::read_to_string(format!("{WORLDS}/rumour/rumour.toml")).unwrap();
    write("world.toml", &rumour.replace("ticks = 24", "ticks = 10"));
    let sim = |arguments: &[&str]| {
        let output =
            run(&[&["sim", "run", "world.toml", "--json"], arguments].concat(), folder.path());
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), text)
    };
    let (is_well, text) = sim(&["--keep", "kept"]);
    assert!(!is_well && text.contains("is paused") && text.contains("goes on with it"), "{text}");
    let (is_well, text) = sim(&["--keep", "kept", "--out", "out"]);
    let ran: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap_or(Value::Null);
    assert!(is_well, "{text}");
    let answered = provider.answered().len();
    assert_eq!(ran["calls"], answered, "no answer was paid for twice: {text}");
    let (is_well, text) = sim(&["--keep", "kept"]);
    assert!(is_well && text.contains(ran["fingerprint"].as_str().unwrap()), "{text}");
    assert_eq!(provider.answered().len(), answered);
    let (_, text) = sim(&[]);
    assert!(text.contains(ran["fingerprint"].as_str().unwrap()), "{text}");
    let (is_well, text) = sim(&["--keep", "kept", "--seed", "9"]);
    assert!(!is_well && text.contains("it keeps another world"), "{text}");
}
