"""Options that say what a log is: of the commands `backtest` and `train`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from recommenders.base import Feedback
    from recommenders.offline.feedback import FeedbackRules
    from recommenders.offline.items import ItemColumns
    from recommenders.offline.log import LogFormat, OfflineLog

SHIPPED_PREFIX = "shipped:"
_DATA = Path(__file__).resolve().parent.parent / "data" / "logs"
SHIPPED: Mapping[str, tuple[Path, str]] = {"kuairand_likes": (_DATA / "kuairand_likes.csv.gz", "kuairand")}
"""Name -> file and format of each log that comes with Pushback."""
FORMATS = ("movielens", "kuairand")
_MOVIELENS_FILES = ("ratings.csv", "ratings.csv.gz", "ratings.parquet")
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class LogOptions:
    """The options as they were given; empty or None where they were not."""

    log: str
    log_format: str | None = None
    items: Path | None = None
    columns: str = ""
    item_columns: str = ""
    topic_separator: str | None = None
    time_unit: str | None = None
    rating: str | None = None
    like: str | None = None
    dislike: str | None = None
    event: str | None = None
    event_map: str = ""
    flags: tuple[str, ...] = ()
    every: str | None = None
    dwell: str | None = None
    dwell_unit: str | None = None
    duplicates: str = "drop"
    separator: str | None = None


def log_options(command: Command) -> Command:
    """Give a command the options of `LogOptions`; it receives them by the names of the fields."""
    units = click.Choice(["s", "ms", "us", "ns"])
    for option in reversed(
        [
            click.option("--log", required=True, metavar="FILE", help="CSV, CSV.gz or Parquet; or shipped:NAME."),
            click.option("--format", "log_format", type=click.Choice(FORMATS), help="A known layout of log and items."),
            click.option("--columns", default="", metavar="NAMES", help="Such as user=uid,item=iid,timestamp=ts."),
            click.option("--time-unit", type=units, help="Of numeric times; told from the values otherwise."),
            click.option("--rating", metavar="COLUMN", help="Of ratings; say what they mean with --like, --dislike."),
            click.option("--like", metavar="CONDITION", help="Ratings that are likes, such as '>=4'."),
            click.option("--dislike", metavar="CONDITION", help="Ratings that are dislikes, such as '<=2'."),
            click.option("--event", metavar="COLUMN", help="Of events; say what they mean with --map."),
            click.option(
                "--map",
                "event_map",
                default="",
                metavar="PAIRS",
                help="Such as click=long_dwell,hate=dislike,*=examined.",
            ),
            click.option(
                "--flag", "flags", multiple=True, metavar="COLUMN=KIND", help="A column of 1 and 0, and its 1's kind."
            ),
            click.option("--every", metavar="KIND", help="What each row stands for, such as long_dwell."),
            click.option("--dwell", metavar="COLUMN", help="Of dwell times."),
            click.option(
                "--dwell-unit", type=click.Choice(["s", "ms"]), help="Taken from the column's name otherwise."
            ),
            click.option("--duplicates", type=click.Choice(["drop", "refuse"]), default="drop", show_default=True),
            click.option("--separator", metavar="CHARACTER", help="Of CSV cells; a comma, or a tab in .tsv files."),
            click.option("--items", type=click.Path(path_type=Path), help="A table of the items' creators and topics."),
            click.option(
                "--item-columns", default="", metavar="NAMES", help="Such as item=movieId,topic=genres,creator=studio."
            ),
            click.option("--topic-separator", metavar="CHARACTER", help="Between topics of a cell; the first counts."),
        ]
    ):
        command = option(command)
    return command


def take_log_options(options: dict[str, Any]) -> LogOptions:
    """Take the options of `LogOptions` out of all that a command received."""
    return LogOptions(**{f.name: options.pop(f.name) for f in fields(LogOptions)})


def log_name(options: LogOptions) -> str:
    """What results on the log are filed under: the file's name without endings, in harmless characters."""
    name = Path(options.log.removeprefix(SHIPPED_PREFIX)).resolve().name.split(".")[0]
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in name) or "log"


def open_log(options: LogOptions) -> OfflineLog:
    """Read the log that the options describe.

    Raises:
        LogError: it cannot be used, or the options contradict each other.
    """
    from recommenders.offline.log import read_log

    path, log_format = _located(options)
    items, item_columns = _items(options, path, log_format)
    return read_log(path, _format(options, path, log_format), items=items, item_columns=item_columns)


def _located(options: LogOptions) -> tuple[Path, str | None]:
    """The file, and the name of its layout."""
    from recommenders.offline.faults import LogError

    if options.log.startswith(SHIPPED_PREFIX):
        name = options.log.removeprefix(SHIPPED_PREFIX)
        if name not in SHIPPED:
            raise LogError(f"--log: got no shipped log {name!r}, expected one of: {', '.join(SHIPPED)}")
        path, log_format = SHIPPED[name]
        return path, options.log_format or log_format
    path = Path(options.log)
    if options.log_format == "movielens" and path.is_dir():
        found = [path / name for name in _MOVIELENS_FILES if (path / name).is_file()]
        if not found:
            raise LogError(f"{path}: got none of the files {', '.join(_MOVIELENS_FILES)}, expected one")
        return found[0], options.log_format
    return path, options.log_format


def _format(options: LogOptions, path: Path, log_format: str | None) -> LogFormat:
    from recommenders.offline.log import LogFormat

    rules = _rules(options)
    preset = _preset(log_format)
    if preset is None or rules.columns() or options.every:
        preset = replace(preset, rules=rules) if preset else LogFormat(rules)
    named = _pairs(options.columns, "--columns", ("user", "item", "timestamp"))
    changes: dict[str, Any] = dict(named)
    changes["separator"] = "\t" if ".tsv" in path.suffixes else preset.separator
    for name in ("separator", "time_unit", "dwell", "dwell_unit"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    return replace(preset, duplicates=options.duplicates, **changes)  # type: ignore[arg-type]


def _preset(log_format: str | None) -> LogFormat | None:
    from recommenders.base import Feedback
    from recommenders.offline.feedback import FeedbackRules
    from recommenders.offline.log import LogFormat

    if log_format == "movielens":
        rules = FeedbackRules("rating", {Feedback.DISLIKE: "<=2", Feedback.LIKE: ">=4"})
        return LogFormat(rules, user="userId", item="movieId", timestamp="timestamp", time_unit="s")
    if log_format == "kuairand":
        rules = FeedbackRules(
            event="label",
            event_kinds={"1": Feedback.LIKE, "0": Feedback.DISLIKE},
            flags={"long_view": Feedback.LONG_DWELL},
        )
        return LogFormat(rules, item="video_id", timestamp="time_ms", time_unit="ms", dwell="play_time_ms")
    return None


def _rules(options: LogOptions) -> FeedbackRules:
    from recommenders.base import Feedback
    from recommenders.offline.faults import LogError
    from recommenders.offline.feedback import FeedbackRules, parse_kind

    conditions = {Feedback.LIKE: options.like, Feedback.DISLIKE: options.dislike}
    kinds: dict[str, Feedback] = {}
    for name, kind in _pairs(options.event_map, "--map", None).items():
        kinds[name] = parse_kind(kind)
    flags: dict[str, Feedback] = {}
    for flag in options.flags:
        column, _, kind = flag.rpartition("=")
        if not column:
            raise LogError(f"--flag: got {flag!r}, expected COLUMN=KIND, such as is_hate=dislike")
        flags[column] = parse_kind(kind)
    rules = FeedbackRules(
        rating=options.rating,
        rating_kinds={kind: condition for kind, condition in conditions.items() if condition is not None},
        event=options.event,
        event_kinds=kinds,
        flags=flags,
        every=parse_kind(options.every) if options.every else Feedback.EXAMINED,
    )
    if rules.columns() or rules.rating_kinds or rules.event_kinds:
        rules.check()
    return rules


def _items(options: LogOptions, path: Path, log_format: str | None) -> tuple[Path | None, ItemColumns | None]:
    from recommenders.offline.faults import LogError
    from recommenders.offline.items import ItemColumns

    items = options.items
    columns = ItemColumns(topic_separator=options.topic_separator)
    if log_format == "movielens":
        columns = ItemColumns("movieId", topic="genres", topic_separator="|")
        beside = path.parent / "movies.csv"
        items = items or (beside if beside.is_file() else None)
    named = _pairs(options.item_columns, "--item-columns", ("item", "creator", "topic", "duration"))
    if items is None:
        if named or options.topic_separator:
            raise LogError("--item-columns, --topic-separator: got them without a table, expected --items FILE")
        return None, None
    if log_format is None and not named.keys() & {"creator", "topic", "duration"}:
        raise LogError(f"--items: got {items} and no columns, expected --item-columns such as item=id,creator=author")
    separator = options.topic_separator or columns.topic_separator
    return items, replace(columns, topic_separator=separator, **named)


def _pairs(text: str, option: str, known: tuple[str, ...] | None) -> dict[str, str]:
    """`a=b,c=d` as a dictionary."""
    from recommenders.offline.faults import LogError

    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (p.strip() for p in part.rpartition("="))
        if not (equals and name and value) or name in pairs:
            raise LogError(f"{option}: got {part!r}, expected NAME=VALUE, each name once")
        if known is not None and name not in known:
            raise LogError(f"{option}: got {name!r}, expected one of: {', '.join(known)}")
        pairs[name] = value
    return pairs
