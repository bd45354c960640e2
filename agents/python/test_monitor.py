"""Run with: agents/build --types target/agents/types, and then
PYTHONPATH=target/agents/types/python python3 -m unittest discover agents/python"""

import copy
import json
import unittest
from unittest.mock import patch

from componentize_py_types import Err
from wit_world.exports.handler import (
    Failure_Failed,
    Failure_Invalid,
    Part_Text,
    Sender,
    Sender_Timer,
    Sender_User,
    Turn,
)
from wit_world.imports import model, session, timers, tools

import monitor

INBOX = {"name": "inbox", "url": "http://a.example/", "schedule": "*/10 * * * *", "wanted": "Who?"}


class Monitor(unittest.TestCase):
    def setUp(self) -> None:
        # The host does so where a turn fails.
        monitor.watches.clear()
        self.page: list[str] | tools.Answer | Err = []
        self.fetched: list[str] = []
        self.timers: dict[str, timers.When] = {}
        self.answers: list[str | tuple[str, dict[str, str]] | Err] = []
        self.requests: list[model.Request] = []
        for name, function in [
            ("tools.list", lambda: [model.Tool("WebFetch", "A tool of a test.", "{}")]),
            ("tools.call", self.call),
            ("timers.set", self.set_timer),
            ("timers.cancel", lambda name: self.timers.pop(name, None) is not None),
            ("model.chat", self.chat),
            ("session.get_config", lambda _: session.Value_Text("m-1")),
        ]:
            patched = patch(f"wit_world.imports.{name}", function)
            patched.start()
            self.addCleanup(patched.stop)

    def call(self, name: str, arguments: str) -> tools.Answer:
        if name != "WebFetch":
            raise Err(tools.Error_Unknown())
        self.fetched.append(json.loads(arguments)["url"])
        if isinstance(self.page, Err):
            raise self.page
        if isinstance(self.page, tools.Answer):
            return self.page
        return tools.Answer([tools.Content_Text("\n".join(['{"status": 200}', *self.page]))], False)

    def set_timer(self, name: str, when: timers.When, message: str) -> None:
        if isinstance(when, timers.When_Each) and len(when.value.split()) != 5:
            raise Err(timers.Error_Invalid("a schedule has five fields"))
        self.timers[name] = when

    def chat(self, request: model.Request) -> model.Answer:
        self.requests.append(copy.deepcopy(request))
        answer = self.answers.pop(0)
        if isinstance(answer, Err):
            raise answer
        if isinstance(answer, str):
            return model.Answer([model.Content_Text(answer)], model.StopReason.END, None, "test")
        name, arguments = answer
        call = model.ToolCall("call", name, json.dumps(arguments))
        return model.Answer([model.Content_ToolCall(call)], model.StopReason.TOOL_USE, None, "test")

    def send(self, sender: Sender, text: str) -> str:
        turn = Turn("turn", 1, sender, [Part_Text(text)], 0, 1_000_000)
        return monitor.Handler().handle(turn).content[0].value

    def say(self, text: str) -> str:
        return self.send(Sender_User(), text)

    def look(self) -> str:
        return self.send(Sender_Timer("inbox"), "look")

    def watch(self) -> None:
        self.answers = [("watch", INBOX), "I watch it."]
        self.assertEqual(self.say("Watch my inbox"), "I watch it.")

    def told(self) -> tuple[str, bool]:
        """What a model was told last."""
        result = self.requests[-1].messages[-1].content[0].value
        return result.content, result.is_error

    def test_a_page_is_read_when_it_is_watched_and_a_timer_is_set(self) -> None:
        self.page = ["From Ann", "From Bob"]
        self.watch()
        self.assertEqual(self.told(), ("inbox is watched; lines for now: 2", False))
        self.assertEqual(self.fetched, ["http://a.example/"])
        self.assertEqual(self.timers, {"inbox": timers.When_Each("*/10 * * * *")})
        offered = [tool.name for tool in self.requests[0].tools]
        self.assertEqual(offered, ["watch", "unwatch", "WebFetch"])
        self.assertEqual(self.requests[0].model, "m-1")

    def test_no_model_is_asked_where_nothing_is_new_and_else_it_is_told_what_is(self) -> None:
        self.page = ["From Ann", "From Bob"]
        self.watch()
        self.requests.clear()
        self.page = ["From Bob", "", " From Ann "]
        self.assertEqual(self.look(), "inbox: nothing new")
        self.assertEqual(self.requests, [])
        self.page = ["From Bob", "From Eve"]
        self.answers = [("news", {}), "Eve has written."]
        self.assertEqual(self.look(), "Eve has written.")
        self.assertEqual(self.told(), ("+ From Eve\n- From Ann", False))
        self.assertTrue(self.requests[0].messages[0].content[0].value.endswith("Who?"))
        self.assertEqual(self.look(), "inbox: nothing new")

    def test_a_page_that_cannot_be_read_is_told_and_fails_no_turn(self) -> None:
        self.page = ["From Ann"]
        self.watch()
        self.page = tools.Answer([tools.Content_Text('{"status": 404}\nNot found')], True)
        self.assertEqual(self.look(), 'inbox: {"status": 404}')
        self.page = Err(tools.Error_Unavailable(tools.Unavailable("nobody answers", None)))
        self.assertEqual(self.look(), "inbox: Unavailable: nobody answers")

    def test_what_goes_wrong_in_a_tool_the_model_is_told(self) -> None:
        self.page = ["From Ann"]
        for asked, expected in [
            (("watch", INBOX | {"schedule": "often"}), "Invalid: a schedule has five fields"),
            (("watch", {"name": "inbox"}), "the arguments are not as the schema says: `url` is no text"),
            (("unwatch", {"name": "inbox"}), "there is no watch `inbox`"),
            (("Bash", {}), "Unknown"),
        ]:
            self.answers = [asked, "ok"]
            self.say("do it")
            self.assertEqual(self.told(), (expected, True))
        self.assertEqual((self.timers, monitor.watches), ({}, {}))
        self.watch()
        self.answers = [("unwatch", {"name": "inbox"}), "Done."]
        self.assertEqual(self.say("enough"), "Done.")
        self.assertEqual((self.timers, monitor.watches), ({}, {}))

    def test_a_failure_of_the_model_is_one_of_the_turn_in_its_words(self) -> None:
        self.answers = [Err(model.Error_BudgetExceeded("nothing is left"))]
        with self.assertRaises(Err) as raised:
            self.say("hi")
        self.assertEqual(raised.exception.value, Failure_Failed("BudgetExceeded: nothing is left"))
        with self.assertRaises(Err) as raised:
            self.say(" ")
        self.assertIsInstance(raised.exception.value, Failure_Invalid)


if __name__ == "__main__":
    unittest.main()
