//! Answers with what it was sent, whatever it is.

use dormouse_sdk::prelude::*;

#[derive(Default, Serialize, Deserialize)]
struct Echo;

impl Agent for Echo {
    fn handle(&mut self, turn: &Turn, _host: &Host) -> Result<Reply> {
        Ok(Reply::new(turn.content.clone()))
    }
}

export_agent!(Echo, portable);

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_sdk::testing::MockHost;

    #[test]
    fn every_kind_of_part_comes_back_unchanged() {
        let content = [
            Part::text("hello"),
            Part::Json(Json::from_text(r#"{"z": 1, "a": 2}"#)),
            Part::blob("image/png", [0, 1, 2]),
        ];
        let reply = MockHost::new().send(&mut Echo, Turn::new(content.clone()));
        assert_eq!(reply, Ok(Reply::new(content)));
    }

    #[test]
    fn nothing_is_lost_in_an_upgrade() {
        assert!(MockHost::new().reload(&Echo).is_ok());
    }
}
