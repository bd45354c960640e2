"""Unit exchange in Mesa or AMBER: `peers.py mesa|ambr MEMBERS TICKS SEED`. Prints `{"seconds": …}`."""

import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")


def mesa(count, ticks, seed):
    """Whoever has something gives one unit to somebody, in an order that is shuffled for each tick. Nothing is recorded."""
    from mesa import Agent, Model

    class Trader(Agent):
        def __init__(self, model):
            super().__init__(model)
            self.wealth = 1

        def give(self):
            if self.wealth > 0:
                self.wealth -= 1
                self.model.random.choice(self.model.everybody).wealth += 1

    model = Model(seed=seed)
    Trader.create_agents(model, count)
    model.everybody = list(model.agents)
    begun = time.perf_counter()
    for _ in range(ticks):
        model.agents.shuffle_do("give")
    return time.perf_counter() - begun


def ambr(count, ticks, seed):
    """The same at once for all, on columns."""
    import ambr as am

    class Economy(am.Model):
        def setup(self):
            self.add_agents(count, wealth=1)

        def step_vectorized(self):
            givers = self.agents.where(self.agents.wealth > 0)
            givers.wealth -= 1
            takers = self.rng.choice(self.agents.ids.to_numpy(), size=len(givers))
            self.agents.at[takers].scatter_add(wealth=1)

    model = Economy({"steps": ticks, "seed": seed, "show_progress": False})
    begun = time.perf_counter()
    model.cpu(mode="vectorized").run()
    return time.perf_counter() - begun


if __name__ == "__main__":
    of = {"mesa": mesa, "ambr": ambr}[sys.argv[1]]
    print(json.dumps({"seconds": of(*map(int, sys.argv[2:5]))}))
