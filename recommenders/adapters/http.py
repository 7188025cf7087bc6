"""A served model as an arm: whoever speaks the protocol of docs/http.md can be measured, in any language.

The state is the name of a model that the server keeps. The engine forks worlds, retrains and deploys by handing states
to fresh instances, so every request says which model shall answer it, and a server that no longer has that model must
say so instead of answering with another.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from recommenders.adapters.http_client import HttpClient, StatusError
from recommenders.adapters.http_config import HttpConfig
from recommenders.adapters.http_messages import (
    ServerTraits,
    fit_key,
    read_fit_answer,
    read_slates,
    read_traits,
    write_catalogue,
    write_log,
    write_requests,
)
from recommenders.base import (
    Config,
    Float64,
    Interactions,
    ItemFeatures,
    Progress,
    RecommenderError,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
)

ROWS_PER_PART = 50_000
"""Interactions of a log that are sent at a time: about 2 MB."""
_CONFLICT = 409
"""Status with which a server says that it has no such model."""


class HttpRecommender:
    """A model behind a url."""

    config_class: ClassVar[type[Config]] = HttpConfig

    def __init__(self, config: HttpConfig) -> None:
        self.config = config
        self._client = HttpClient(config)
        self._model_version: str | None = None

    @property
    def traits(self) -> Traits:
        """As the server says, which is asked once.

        Raises:
            RecommenderError: it cannot be reached, or says something wrong.
        """
        return self._server.traits()

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Send the log, part by part as the server asks for them; a server that trains elsewhere is sent nothing.

        Raises:
            RecommenderError: the server cannot be reached, or never says that it has a model.
        """
        if not self._server.fit:
            self._model_version = self._server.model_version
            return
        from_model = self._model_version if self._server.warm_start else None
        n_parts = max(1, -(-len(log) // ROWS_PER_PART))
        about: dict[str, Any] = {"fit": fit_key(log, items, seed, from_model), "parts": n_parts, "seed": str(seed)}
        part, where = 0, self._client.where("POST", "/fit")
        # A server that starts anew in between asks for the beginning again, which it may do once a part.
        for _ in range(2 * n_parts + self.config.tries):
            rows = log.take(slice(part * ROWS_PER_PART, (part + 1) * ROWS_PER_PART))
            content = about | {"part": part, "from_model": from_model, "log": write_log(rows)}
            if part == 0:
                content["catalogue"] = write_catalogue(items)
            answer = self._client.post("/fit", content, self.config.fit_timeout_seconds)
            found = read_fit_answer(answer, where, n_parts)
            if found.model_version is not None:
                self._model_version = found.model_version
                return
            part = found.next_part or 0
            if progress is not None:
                progress(part, n_parts)
        raise RecommenderError(f"{where}: got no model_version after all {n_parts} parts, sent more than once")

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The server's slates, asked for in batches of at most the settings' size.

        Raises:
            RecommenderError: not fitted, the server cannot be reached, has lost the model, or answers something wrong.
        """
        model_version = self._fitted()
        n_draws = self._server.n_draws(k)
        uniform = draws.uniform(n_draws) if n_draws else None
        size = self._server.batch_size or self.config.batch_size
        parts = []
        for start in range(0, len(requests), size):
            rows = slice(start, start + size)
            own = None if uniform is None else uniform[rows]
            parts.append(self._ask(requests.take(rows), k, model_version, own))
        propensities = [part.propensity for part in parts if part.propensity is not None]
        nothing = np.empty((0, k), np.int32)  # so that no requests get no slates, rather than an error
        return Slates(
            np.concatenate([nothing, *(part.item for part in parts)]),
            np.concatenate([nothing.astype(np.float32), *(part.score for part in parts)]),
            np.concatenate(propensities) if parts and len(propensities) == len(parts) else None,
        )

    def state_dict(self) -> State:
        """`model_version`: uint8, the characters of the name of the server's model."""
        return {"model_version": np.frombuffer(self._fitted().encode(), np.uint8).copy()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over the name of a model; whether the server still has it, the first request tells."""
        self._model_version = np.asarray(state["model_version"], np.uint8).tobytes().decode()

    @cached_property
    def _server(self) -> ServerTraits:
        return read_traits(self._client.get("/traits"), self._client.where("GET", "/traits"))

    def _ask(self, requests: Requests, k: int, model_version: str, uniform: Float64 | None) -> Slates:
        content = write_requests(requests, self._server.history_length, k, model_version, uniform)
        try:
            answer = self._client.post("/recommend", content, self.config.answer_timeout_seconds)
        except StatusError as error:
            if error.status == _CONFLICT:
                raise RecommenderError(f"{error}; the server has lost the model {model_version!r}") from error
            raise
        return read_slates(answer, requests, k, model_version, self._client.where("POST", "/recommend"))

    def _fitted(self) -> str:
        if self._model_version is None:
            raise RecommenderError("http: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._model_version
