//! The document as a whole.

use super::*;

/// Each schema in a document that is one, with its place.
fn schemas<'a>(value: &'a Value, place: String, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            found.push((place.clone(), value));
            for (name, field) in fields {
                schemas(field, format!("{place}/{name}"), found);
            }
        }
        Value::Array(all) => {
            for (index, one) in all.iter().enumerate() {
                schemas(one, format!("{place}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = openapi();
    let mut found = Vec::new();
    schemas(document, String::new(), &mut found);
    let references = found.iter().filter_map(|(place, it)| Some((place, it["$ref"].as_str()?)));
    let lost: Vec<_> = references
        .filter(|(_, to)| document.pointer(to.trim_start_matches('#')).is_none())
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn what_is_created_leads_to_what_can_be_done_with_it() {
    for (path, operation, field) in [
        ("/api/sessions", "sendMessage", "id"),
        ("/api/templates", "deleteTemplate", "name"),
        ("/api/keys", "revokeKey", "id"),
    ] {
        let link = &openapi()["paths"][path]["post"]["responses"]["201"]["links"][operation];
        assert_eq!(link["parameters"][field], format!("$response.body#/{field}"), "{operation}");
    }
}

#[test]
fn no_object_is_open_but_documents_of_clients_and_agents() {
    let mut found = Vec::new();
    schemas(&openapi()["components"]["schemas"], String::new(), &mut found);
    let open: Vec<&str> = found
        .iter()
        .filter(|(_, it)| it["type"] == "object" && it["additionalProperties"] == true)
        .map(|(place, _)| place.rsplit('/').next().unwrap_or_default())
        .collect();
    for name in open {
        let known = [
            "config",
            "context",
            "metadata",
            "checkpoint",
            "fields",
            "runtime_metadata",
            "spec",
            // Those of single members of a simulation, `each`.
            "items",
            "ConfigFields",
            "0",
            // Those of a run of an experiment: whatever fields of its specification are varied.
            "parameters",
        ];
        assert!(known.contains(&name), "{name} is open");
    }
    let session = &openapi()["components"]["schemas"]["Session"];
    assert_eq!(session["additionalProperties"], false);
    assert!(session["required"].as_array().is_some_and(|it| it.len() > 40), "{session}");
}

#[test]
fn every_operation_has_a_name_of_its_own_a_sentence_an_answer_and_its_errors() {
    let mut names = std::collections::BTreeSet::new();
    let paths = openapi()["paths"].as_object().expect("paths");
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().expect("operations") {
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name), "{name} is the name of two operations");
            assert!(operation["summary"].as_str().is_some_and(|it| it.ends_with('.')), "{name}");
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            assert!(responses.contains_key("421") && responses.contains_key("500"), "{name}");
            let is_open = operation["security"] == json!([]);
            assert_eq!(responses.contains_key("401"), !is_open, "{name}");
        }
    }
    assert_eq!(names.len(), crate::routes::all().len());
}
