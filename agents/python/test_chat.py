"""Run with: agents/build --types target/agents/types, and then
PYTHONPATH=target/agents/types/python python3 -m unittest discover agents/python"""

import copy
import unittest
from unittest.mock import patch

from componentize_py_types import Err
from wit_world.exports.handler import Failure_Failed, Part_Text, Sender_User, Turn
from wit_world.imports import model, session

import chat


def say(text: str) -> list[str]:
    """The texts that the agent answers to this one."""
    turn = Turn("turn", 1, Sender_User(), [Part_Text(text)], 0, 1_000_000)
    return [part.value for part in chat.Handler().handle(turn).content]


@patch("wit_world.imports.session.get_config", lambda _: session.Value_Text("m-1"))
class Chat(unittest.TestCase):
    def setUp(self) -> None:
        # The host does so where a turn fails.
        chat.messages.clear()

    def test_the_model_is_asked_with_all_that_was_said_before(self) -> None:
        asked: list[model.Request] = []

        def answers(request: model.Request) -> model.Answer:
            asked.append(copy.deepcopy(request))
            text = model.Content_Text(f"answer {len(asked)}")
            return model.Answer([text], model.StopReason.END, None, "test")

        with patch("wit_world.imports.model.chat", answers):
            self.assertEqual(say("first"), ["answer 1"])
            self.assertEqual(say("second\nthird"), ["answer 2", "answer 3"])
        self.assertEqual(asked[-1].model, "m-1")
        said = [message.content[0].value for message in asked[-1].messages]
        self.assertEqual(said, ["first", "answer 1", "second", "answer 2", "third"])

    def test_a_failure_of_the_model_is_one_of_the_turn_in_its_words(self) -> None:
        fails = Err(model.Error_BudgetExceeded("nothing is left"))
        with patch("wit_world.imports.model.chat", side_effect=fails):
            with self.assertRaises(Err) as raised:
                say("hi")
        expected = Failure_Failed("BudgetExceeded: nothing is left")
        self.assertEqual(raised.exception.value, expected)


if __name__ == "__main__":
    unittest.main()
