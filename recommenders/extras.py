"""Optional extras: libraries that some recommenders need and Pushback does not install by itself."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec

from recommenders.base import RecommenderError


@dataclass(frozen=True)
class Extra:
    """An optional extra of the package.

    Attributes:
        modules: top-level modules without which it does not work.
        install: the commands that install it.
    """

    modules: tuple[str, ...]
    install: str

    def is_missing(self) -> bool:
        """Whether a module cannot be found; nothing is imported."""
        return any(find_spec(module) is None for module in self.modules)

    def require(self, name: str) -> None:
        """Refuse a recommender whose library is not there.

        Raises:
            RecommenderError: with the command that installs it.
        """
        if self.is_missing():
            raise RecommenderError(f"recommender {name!r} needs the extra: {self.install}")


def _rectools_install() -> str:
    extra = "pip install 'pushback[rectools]'"
    # Its metadata allows NumPy 2, which Pushback needs, from Python 3.13 on alone; the code is the same for all.
    return extra if sys.version_info >= (3, 13) else f"{extra} && pip install --no-deps rectools==0.19.0"


IMPLICIT = Extra(("implicit",), "pip install 'pushback[implicit]'")
LENSKIT = Extra(("lenskit",), "pip install 'pushback[lenskit]'")
RECTOOLS = Extra(("rectools", "pytorch_lightning"), _rectools_install())
