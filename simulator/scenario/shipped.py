"""Where the scenarios and tables that come with Pushback are."""

from __future__ import annotations

from pathlib import Path

from simulator.scenario.faults import one_of

SHIPPED_PREFIX = "shipped:"
_PACKAGE = Path(__file__).resolve().parent.parent
_TABLE_ENDINGS = (".parquet", ".csv.gz", ".csv")


def shipped_scenarios() -> dict[str, Path]:
    """Name -> file of each shipped scenario, sorted by name: from the checkout, or from the installed package."""
    folders = (_PACKAGE.parent / "scenarios", _PACKAGE / "shipped_scenarios")
    checkout = (_PACKAGE.parent / "pyproject.toml").exists()
    return {file.stem: file for file in sorted(folders[0 if checkout else 1].glob("*.yaml"))}


def find_scenario(name_or_path: str) -> Path:
    """The file of a scenario, given as a path or as the bare name of a shipped one; an existing file wins.

    Raises:
        LookupError: a bare name that no shipped scenario has; the message names those that there are.
    """
    path = Path(name_or_path)
    looks_like_path = path.suffix in (".yaml", ".yml") or len(path.parts) != 1
    if looks_like_path or path.is_file():
        return path
    scenarios = shipped_scenarios()
    if name_or_path not in scenarios:
        raise LookupError(f"scenario: got {name_or_path!r}, expected a file or {one_of(list(scenarios), name_or_path)}")
    found, here = scenarios[name_or_path], Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found


def shipped_tables() -> dict[str, Path]:
    """Name -> file of each table of items that comes with Pushback, as in `shipped:NAME`."""
    tables = {}
    for file in sorted((_PACKAGE / "data").glob("*")):
        for ending in _TABLE_ENDINGS:
            if file.name.endswith(ending):
                tables[file.name.removesuffix(ending)] = file
                break
    return tables


def find_table(path: str, scenario: Path) -> Path:
    """The file of `world.catalogue.table.path`.

    Args:
        path: as written: relative to the scenario's folder, absolute, or `shipped:NAME`.
        scenario: the scenario's file.

    Raises:
        LookupError: there is no such file; the message says what was expected.
    """
    if path.startswith(SHIPPED_PREFIX):
        tables = shipped_tables()
        name = path.removeprefix(SHIPPED_PREFIX)
        if name not in tables:
            raise LookupError(f"{SHIPPED_PREFIX}NAME with {one_of(list(tables), name)}")
        return tables[name]
    try:
        file = scenario.parent / path
        if file.is_file():
            return file
    except (OSError, ValueError):  # a name that the file system cannot have
        pass
    raise LookupError("an existing file, relative to the scenario's folder, or shipped:NAME")
