"""The model within a wrapper: its settings, what it is shown, its state beside the wrapper's own."""

from __future__ import annotations

import importlib
import json
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

from recommenders.base import Config, Float32, RecommenderError, Requests, Scorer, State
from recommenders.registry import build, config_class, require_extra, resolve
from recommenders.topk import hide_viewed

STATE_PREFIX = "model."


class ModelConfig(Config):
    """The model within a wrapper."""

    recommender: str = "linear_recurrent"
    """Its name, as an arm would give it."""
    config: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    """Its settings, as an arm would give them; all of them once validated, so that what is saved tells the defaults."""

    @field_validator("recommender")
    @classmethod
    def _is_a_scorer(cls, name: str) -> str:
        try:
            config_class(name)
            require_extra(name)
        except RecommenderError as error:
            raise ValueError(str(error)) from error
        module, _, class_name = resolve(name).target.partition(":")
        if not hasattr(getattr(importlib.import_module(module), class_name), "scores"):
            raise ValueError(f"expected a recommender with `scores`, which {name} has not")
        return name

    @field_validator("config")
    @classmethod
    def _fits(cls, config: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """The settings with their defaults; errors keep their place within them."""
        if "recommender" not in info.data:
            return config
        name, settings = info.data["recommender"], config_class(info.data["recommender"])
        try:
            if info.mode == "json":  # a scenario, which is read strictly: "3" is no number
                full = settings.model_validate_json(json.dumps(config), strict=True)
            else:
                full = settings.model_validate(config)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                error.title, [_named(detail, name, settings) for detail in error.errors()], info.mode
            ) from error
        return full.model_dump(mode="json")


def _named(detail: ErrorDetails, name: str, settings: type[Config]) -> InitErrorDetails:
    """An error of the wrapped settings; an unknown key is told which there are, since the schema shows a plain dict."""
    kind: str | PydanticCustomError = detail["type"]
    if kind == "extra_forbidden" and len(detail["loc"]) == 1:
        known = ", ".join(settings.model_fields) or "which takes none"
        kind = PydanticCustomError("unknown_setting", "a setting of {name}: {known}", {"name": name, "known": known})
    elif kind not in get_args(ErrorType):
        kind = PydanticCustomError("wrapped", "{message}", {"message": detail["msg"]})
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"], ctx=detail.get("ctx", {}))


def build_scorer(config: ModelConfig) -> Scorer:
    """The wrapped model, not yet fitted.

    Raises:
        RecommenderError: it is no `Scorer`: it ranks, or draws, by something that it does not tell.
    """
    model = build(config.recommender, config.config)
    if not isinstance(model, Scorer):
        raise RecommenderError(f"model: recommender: got {config.recommender!r}, expected a recommender with `scores`")
    return model


def viewed_window(model: Scorer) -> int:
    """How many of the newest interactions a model keeps from being shown again; 0 if it shows them again.

    A wrapper keeps back what the model at its core would, so that the two differ by the heuristic alone.
    """
    window = getattr(model, "viewed_window", None)
    if isinstance(window, int):
        return window
    filters = getattr(getattr(model, "config", None), "filter_viewed", False)
    return model.traits.history_length if filters else 0


def without_newest(score: Float32, requests: Requests, window: int) -> Float32:
    """Scores with the items of the newest `window` interactions behind all others: float32[n, n_items].

    A new array: the scores given may be the wrapped model's own.
    """
    hidden = score.copy()
    hide_viewed(hidden, requests.newest(window).history_item)
    return hidden


def nested(state: State) -> dict[str, npt.NDArray[np.generic]]:
    """A wrapped model's state, as part of its wrapper's."""
    return {STATE_PREFIX + name: value for name, value in state.items()}


def unnested(state: State) -> State:
    """The wrapped model's state, out of its wrapper's."""
    return {name.removeprefix(STATE_PREFIX): value for name, value in state.items() if name.startswith(STATE_PREFIX)}
