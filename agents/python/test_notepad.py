"""Run with: agents/build --types target/agents/types, and then
PYTHONPATH=target/agents/types/python python3 -m unittest discover agents/python"""

import unittest
from unittest.mock import patch

from componentize_py_types import Err
from wit_world.exports.handler import Failure_Invalid, Part_Text, Sender_User, Turn
from wit_world.imports import log

import notepad


def say(text: str) -> str:
    """The text that the agent answers to this one."""
    turn = Turn("turn", 1, Sender_User(), [Part_Text(text)], 0, 1_000_000)
    return notepad.Handler().handle(turn).content[0].value


class Notepad(unittest.TestCase):
    def test_a_note_is_kept_logged_and_listed(self) -> None:
        with patch("wit_world.imports.log.log") as logged:
            self.assertEqual(say("add buy milk"), "noted as 1")
        logged.assert_called_once_with(log.Level.INFO, "noted", [("number", "1")])
        self.assertEqual(say("list"), "1. buy milk")

    def test_a_message_that_makes_no_sense_is_a_failure_of_the_contract(self) -> None:
        with self.assertRaises(Err) as raised:
            say("remove 7")
        self.assertIsInstance(raised.exception.value, Failure_Invalid)


if __name__ == "__main__":
    unittest.main()
