"""What is said over HTTP, and whether an answer keeps to it: requests, logs and slates as JSON (docs/http.md)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recommenders.base import (
    PADDING,
    Float64,
    Int32,
    Interactions,
    ItemFeatures,
    RecommenderError,
    Requests,
    Slates,
    Traits,
)

_Said = TypeVar("_Said", bound=BaseModel)
Version = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")]
_HISTORY = ("item", "feedback", "dwell_seconds", "tick")
_CATALOGUE = ("creator", "topic", "duration_seconds", "release_tick", "n_creators", "n_topics")
_MOST = float(np.finfo(np.float32).max)
_SHOWN = 60


class ServerTraits(BaseModel):
    """What a server says of itself at `/traits`; the fields of `Traits` mean what they mean there.

    Attributes:
        protocol: of these messages.
        name, version: of the server, for people.
        draws: uniform numbers that each request brings: so many, or `k`: as many as the slate has slots.
        fit: whether it trains on a log that it is sent.
        model_version: what serves, where it does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    protocol: Literal[1]
    name: str
    version: str
    history_length: Annotated[int, Field(ge=0, le=100_000)] = 0
    batch_size: Annotated[int, Field(ge=1, le=10_000)] | None = None
    warm_start: bool = False
    draws: Annotated[int, Field(ge=0, le=1_000_000)] | Literal["k"] = 0
    fit: bool
    model_version: Version | None = None

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.fit == (self.model_version is not None):
            raise ValueError("expected a model_version where fit is false, and only there")
        return self

    def traits(self) -> Traits:
        """What the engine must know."""
        return Traits(self.history_length, self.batch_size, warm_start=self.warm_start)

    def n_draws(self, k: int) -> int:
        """Uniform numbers for a slate of `k`."""
        return k if self.draws == "k" else self.draws


class FitAnswer(BaseModel):
    """What a server answers to a part of a log: the part that it wants next, or the model that it has trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    next_part: Annotated[int, Field(ge=0)] | None = None
    model_version: Version | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.next_part is None) == (self.model_version is None):
            raise ValueError("expected either next_part or model_version")
        return self


def read_traits(answer: object, where: str) -> ServerTraits:
    """What a server said of itself.

    Raises:
        RecommenderError: it is not what it should be; the message begins with `where`.
    """
    return _validated(ServerTraits, answer, where)


def read_fit_answer(answer: object, where: str, n_parts: int) -> FitAnswer:
    """What a server said to a part of a log. Raises as `read_traits`."""
    found = _validated(FitAnswer, answer, where)
    if found.next_part is not None and found.next_part >= n_parts:
        raise RecommenderError(f"{where}: next_part: got {found.next_part}, expected one of the {n_parts} parts")
    return found


def write_requests(
    requests: Requests, history_length: int, k: int, model_version: str, uniform: Float64 | None
) -> dict[str, Any]:
    """A batch of requests; histories without their padding.

    Args:
        requests: the batch.
        history_length: how many of the newest interactions are told.
        k: slots.
        model_version: who shall answer.
        uniform: float64[n, n_draws], or None.
    """
    width = requests.history_item.shape[1]
    known = np.minimum((requests.history_item != PADDING).sum(1), history_length)
    start = (width - known).tolist()
    content: dict[str, Any] = {
        "model_version": model_version,
        "k": k,
        "n_items": len(requests.eligible),
        "eligible": base64.b64encode(np.packbits(requests.eligible).tobytes()).decode(),
        **{name: getattr(requests, name).tolist() for name in ("user", "session", "step", "tick")},
        "history": {
            name: [row[at:] for row, at in zip(getattr(requests, f"history_{name}").tolist(), start, strict=True)]
            for name in _HISTORY
        },
    }
    return content if uniform is None else content | {"uniform": uniform.tolist()}


def read_slates(answer: object, requests: Requests, k: int, model_version: str, where: str) -> Slates:
    """The slates that a server answered.

    That items differ and are eligible is left to the engine, which checks it of every recommender.

    Args:
        answer: JSON as plain data.
        requests: what was asked.
        k: slots.
        model_version: who should have answered.
        where: how a message begins.

    Raises:
        RecommenderError: something is missing, too much, of another shape, no number, or out of its range.
    """
    if not isinstance(answer, dict):
        raise RecommenderError(f"{where}: the answer: got {_shown(answer)}, expected an object")
    needed, known = {"model_version", "item", "score"}, {"model_version", "item", "score", "propensity"}
    for name in (*sorted(needed - answer.keys()), *sorted(answer.keys() - known)):
        got = "an unknown field" if name in answer else "no such field"
        raise RecommenderError(f"{where}: {_shown(name)}: got {got}, expected {', '.join(sorted(known))}")
    if answer["model_version"] != model_version:
        got = f"{_shown(answer['model_version'])}, expected {model_version!r}, which was asked for"
        raise RecommenderError(f"{where}: model_version: got {got}")
    n_items, user = len(requests.eligible), requests.user

    def is_item(value: object) -> bool:
        return type(value) is int and 0 <= value < n_items

    item = _matrix(answer["item"], "item", user, k, is_item, f"an item in [0, {n_items})", where)
    score = _matrix(answer["score"], "score", user, k, _is_score, "a finite number", where)
    propensity = answer.get("propensity")
    if propensity is not None:
        propensity = _matrix(propensity, "propensity", user, k, _is_probability, "a number in (0, 1]", where)
    return Slates(
        np.array(item, np.int32),
        np.array(score, np.float32),
        None if propensity is None else np.array(propensity, np.float64),
    )


def fit_key(log: Interactions, items: ItemFeatures, seed: int, from_model: str | None) -> str:
    """The name of a fit: of all that it depends on, so that the same fit is asked for under the same name."""
    digest = hashlib.sha256(f"{seed} {from_model} {items.n_creators} {items.n_topics}".encode())
    for part in (log, items):
        for field in fields(part):
            column = getattr(part, field.name)
            if isinstance(column, np.ndarray):
                digest.update(f" {field.name} {len(column)} ".encode() + np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:32]


def write_log(log: Interactions) -> dict[str, list[Any]]:
    """Rows of a log, by column."""
    return {field.name: getattr(log, field.name).tolist() for field in fields(log)}


def write_catalogue(items: ItemFeatures) -> dict[str, Any]:
    """What may be known of the items, by column, and the numbers of creators and topics."""
    values = {name: getattr(items, name) for name in _CATALOGUE}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def _validated(model: type[_Said], answer: object, where: str) -> _Said:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, detail['loc'])) or 'the answer'}: got {_shown(detail['input'])}, {detail['msg']}"
            for detail in error.errors(include_url=False)
        ]
        raise RecommenderError(f"{where}: {'; '.join(faults)}") from error


def _matrix(
    rows: Any, name: str, user: Int32, k: int, is_valid: Callable[[Any], bool], expected: str, where: str
) -> list[list[Any]]:
    """The rows, once each is known to be a list of `k` valid values."""
    n = len(user)
    if not isinstance(rows, list) or len(rows) != n:
        got = f"{len(rows)} rows" if isinstance(rows, list) else _shown(rows)
        raise RecommenderError(f"{where}: {name}: got {got}, expected a list of {n}, one for each request")
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != k:
            got = f"{len(row)} values" if isinstance(row, list) else _shown(row)
            raise RecommenderError(f"{where}: {name}[{i}] (user {user[i]}): got {got}, expected a list of k = {k}")
        if not all(map(is_valid, row)):
            j = next(j for j, value in enumerate(row) if not is_valid(value))
            place = f"{name}[{i}][{j}] (user {user[i]})"
            raise RecommenderError(f"{where}: {place}: got {_shown(row[j])}, expected {expected}")
    return rows


def _is_score(value: object) -> bool:
    return type(value) in (int, float) and -_MOST <= value <= _MOST  # type: ignore[operator]


def _is_probability(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= 1  # type: ignore[operator]


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
