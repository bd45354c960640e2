//! Members that are sessions ask who is near.

use dormouse_test_guests as guests;
use dormouse_tests::TestHost;

use super::world;

/// Four beings on a line from the left border to the right one, of whom the last ends with its first turn, and two birds.
fn line(torus: bool, seeks: &str) -> String {
    format!(
        r#"
        ticks = 2
        space = {{ size = [10, 10], torus = {torus} }}

        [[members]]
        role = "beings"
        agent = "lives_in_worlds"
        count = 4
        columns = ["x", "y", "near"]
        config = {{ seeks = "{seeks}" }}
        each = [{{}}, {{}}, {{}}, {{ life = 0 }}]
        attributes = {{ x = [0.5, 9.8, 5.0, 1.2], y = 2.0 }}

        [[members]]
        role = "birds"
        agent = "flock"
        count = 2
        attributes = {{ x = [4.5, 0.0], y = 2.0 }}
        "#
    )
}

#[tokio::test]
async fn sessions_find_those_of_any_role_who_are_near_and_have_not_ended() {
    let test = TestHost::new().await;
    test.upload(&guests::LIVES_IN_WORLDS).await;
    // Who is near each, a bit for each number: in the first tick, and in the second.
    for (torus, seeks, first, second) in [
        (true, "beings", [0b1010, 1, 0, 1], [0b10, 1, 0, 1]),
        (false, "beings", [0b1000, 0, 0, 1], [0, 0, 0, 1]),
        (true, "birds", [0b10, 0b10, 1, 0], [0b10, 0b10, 1, 0]),
        (false, "birds", [0b10, 0, 1, 0], [0b10, 0, 1, 0]),
    ] {
        let mut world = world(&test, &line(torus, seeks)).await;
        for near in [first, second] {
            world.run(1).await.unwrap();
            let told = world.column("beings", "near").await.unwrap();
            let near = near.map(f64::from).to_vec();
            assert_eq!(told, dormouse::Column::Numbers(near), "{seeks}, torus: {torus}");
        }
    }
}
