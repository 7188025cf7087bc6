"""The slow, obvious engine: one SimPy process a user, one request at a time, plain lists. The oracle of the fast one.

It shares the user model and the recommenders with the engine, and nothing of the machinery: no rounds, no batches, no
rings, no look-ahead.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import simpy

from recommenders.base import PADDING, Feedback, Interactions, Recommender, Requests
from simulator.draws import Purpose
from simulator.engine.clock import Service
from simulator.engine.log import EventLog
from simulator.engine.serving import KeyedRequestDraws
from simulator.world.behaviour import Behaviour
from simulator.world.utility import UtilityOf
from simulator.world.world import World

DEPLOY, RELEASE, TRAIN, USER = 0, 1, 2, 3


def simulate_slowly(world: World, behaviour: Behaviour, service: Service, model: dict, until: int) -> EventLog:
    """The event log of a world that starts at tick 0 with `model` serving."""
    env = simpy.Environment()
    platform, features = service.platform, world.catalogue.features
    recommender = service.build()
    recommender.load_state_dict(model, features)
    state = behaviour.begin(world)
    events: list[list[tuple]] = [[] for _ in range(world.population.n_users)]
    rows: list[tuple] = []
    serving: list[Recommender] = [recommender]
    newest = [model]
    eligible = [world.catalogue.eligible(0)]

    def wait(tick: int, rank: int) -> simpy.Event:
        """An event at a tick; of those at one tick, lower ranks come first."""
        return env.timeout(tick - env.now + rank / 8)

    def releases() -> Generator:
        for tick in range(platform.release_every, until, platform.release_every):
            yield wait(tick, RELEASE)
            eligible[0] = world.catalogue.eligible(tick)

    def deployment(tick: int, student: Recommender) -> Generator:
        yield wait(tick, DEPLOY)
        serving[0] = student

    def trainer() -> Generator:
        if platform.retrain_every is None:
            return
        for number in range(1, until // platform.retrain_every + 1):
            tick = number * platform.retrain_every
            yield wait(tick, TRAIN)
            told = [e for user in events for e in user if e[0] + platform.ingestion_delay <= tick]
            told.sort(key=lambda e: (e[0], e[1]))
            columns = list(zip(*told, strict=True)) or [()] * 5
            dtypes = (np.int64, np.int32, np.int32, np.uint8, np.float32)
            log = Interactions(*(np.array(c, d) for c, d in zip(columns, dtypes, strict=True)))
            student = service.build()
            if student.traits.warm_start:
                student.load_state_dict(newest[0], features)
            student.fit(log, features, seed=world.draws.integer_seed(Purpose.FIT, number))
            newest[0] = dict(student.state_dict())
            if platform.training_delay == 0:
                serving[0] = student
            else:
                env.process(deployment(tick + platform.training_delay, student))

    def life(user: int) -> Generator:
        who = np.array([user])
        while state.wake_tick[user] < until:
            tick = int(state.wake_tick[user])
            yield wait(tick, USER)
            told = [e for e in events[user] if e[0] + platform.ingestion_delay <= tick]
            requests = request_of(user, tick, told)
            size = serving[0].traits.batch_size or 1
            requests = requests.take(np.zeros(size, np.intp))
            draws = KeyedRequestDraws(world.draws, requests.user, requests.session, requests.step)
            slates = serving[0].recommend(requests, platform.slate_size, draws)
            item = slates.item[:1]
            responses = behaviour.respond(world, state, who, np.array([tick]), item)
            behaviour.advance(world, state, who, np.array([tick]), item, responses)
            done_seconds = 0.0
            for slot in range(platform.slate_size):
                flags, dwell = int(responses.feedback[0, slot]), responses.dwell_seconds[0, slot]
                done = -1
                if flags & Feedback.EXAMINED:
                    done_seconds += float(dwell) + world.settings.behaviour.overhead_seconds
                    done = tick + max(1, round(done_seconds * 1000))
                    events[user].append((done, user, int(item[0, slot]), flags, dwell))
                propensity = np.nan if slates.propensity is None else slates.propensity[0, slot]
                rows.append(
                    (tick, user, int(requests.session[0]), int(requests.step[0]), slot, int(item[0, slot]), flags,
                     dwell, done, propensity, state.satisfaction[user], responses.dislike_probability[0, slot])
                )  # fmt: skip

    def request_of(user: int, tick: int, told: list[tuple]) -> Requests:
        width = serving[0].traits.history_length
        kept = told[max(0, len(told) - width) :]
        pad = width - len(kept)
        return Requests(
            user=np.array([user], np.int32),
            session=state.session[[user]],
            step=state.step[[user]],
            tick=np.array([tick]),
            history_item=np.array([[PADDING] * pad + [e[2] for e in kept]], np.int32).reshape(1, width),
            history_feedback=np.array([[0] * pad + [e[3] for e in kept]], np.uint8).reshape(1, width),
            history_dwell_seconds=np.array([[0.0] * pad + [e[4] for e in kept]], np.float32).reshape(1, width),
            history_tick=np.array([[0] * pad + [e[0] for e in kept]], np.int64).reshape(1, width),
            eligible=eligible[0],
            utility=UtilityOf(world, state, np.array([user])) if serving[0].traits.needs_utility else None,
        )

    env.process(releases())
    env.process(trainer())
    for user in range(world.population.n_users):
        env.process(life(user))
    env.run(until=float(until))
    rows.sort(key=lambda row: (row[0], row[1], row[4]))
    columns = list(zip(*rows, strict=True)) or [()] * len(EventLog.DTYPES)
    return EventLog(**{n: np.array(c, d) for (n, d), c in zip(EventLog.DTYPES.items(), columns, strict=True)})
