"""Remembers what it is told. `agents/build` makes it with `--stub-wasi`: whatever it asks WASI for traps."""

import time

from wit_world import exports
from wit_world.exports.handler import Part_Text, Reply, Turn

# The state.
told: list[str] = []


class Handler(exports.Handler):
    """What the host calls, once a turn."""

    def handle(self, turn: Turn) -> Reply:
        text = "\n".join(part.value for part in turn.content if isinstance(part, Part_Text))
        told.append(text)
        if text == "time":
            time.time()
        return Reply([Part_Text(", ".join(told))], False)
