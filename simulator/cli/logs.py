"""Commands on a user's own log: recommenders compared on it, and trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simulator.cli.shell import command_line
from simulator.commands.logs import log_options, take_log_options


@click.command()
@log_options
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="A recommender; repeatable. Without it and --models, every built-in one that can rank a log.",
)
@click.option("--models", "models_file", type=click.Path(dir_okay=False, path_type=Path), help="A YAML file of models.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="Trainings of each model.")
@click.option("--seed", type=click.IntRange(0, 2**62), default=0, show_default=True, help="The first seed.")
@click.option("--split", type=click.Choice(["time", "last"]), default="time", show_default=True, help="What is test.")
@click.option(
    "--test-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Of the rows, with --split time.",
)
@click.option("--test-from", metavar="DATE", help="With --split time: the first moment of the test, instead.")
@click.option("--k", "ks", type=click.IntRange(1, 1000), multiple=True, default=[10], show_default=True)
@click.option("--negative", default="dislike", show_default=True, metavar="KINDS", help="Such as dislike,dismiss,skip.")
@click.option("--name", help="Of the folder of results; the log's name otherwise.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of results; the run gets a folder backtest/NAME/RUN of its own beneath it.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 1024), default=1, show_default=True, help="Trainings that run at the same time."
)
def backtest(
    models: tuple[str, ...],
    models_file: Path | None,
    seeds: int,
    seed: int,
    split: str,
    test_share: float,
    test_from: str | None,
    ks: tuple[int, ...],
    negative: str,
    name: str | None,
    out: Path,
    jobs: int,
    **log: Any,
) -> None:
    """Measure recommenders on a log: do they rank high what users liked, and low what they disliked?

    The log is cut in time; each model is fitted on the first part and asked, at every later event, to rank the whole
    catalogue. docs/backtest.md defines the metrics and the options of logs.

    \b
    Examples:
      pushback backtest --log shipped:kuairand_likes
      pushback backtest --log ml-latest-small --format movielens --models examples/backtest_models.yaml --seeds 5
      pushback backtest --log events.parquet --event action --map play=long_dwell,ban=dislike,*=examined
    """
    options = take_log_options(log)
    from datetime import UTC, datetime

    from rich.console import Console

    from recommenders.storage import new_folder
    from simulator.commands.backtest import Settings, parse_negative, run_backtest, run_name
    from simulator.commands.backtest_files import run_folder, write_backtest
    from simulator.commands.backtest_report import answer, print_backtest
    from simulator.commands.logs import log_name, open_log
    from simulator.commands.models import choose_models

    chosen = choose_models(models, models_file)
    by_share = split == "time" and test_from is None
    settings = Settings(
        split=split,
        test_share=test_share if by_share else None,
        test_from=test_from if split == "time" else None,
        ks=tuple(dict.fromkeys(ks)),
        seeds=tuple(range(seed, seed + seeds)),
        negative_kinds=parse_negative(negative),
    )
    name = log_name(options) if name is None else name
    started = datetime.now(UTC)
    folder = run_folder(out, name, run_name(started))
    read = open_log(options)
    with new_folder(folder) as part:
        found = run_backtest(
            read,
            chosen,
            settings,
            name=name,
            started=started,
            jobs=jobs,
            console=Console(stderr=True),
            command=command_line(),
        )
        write_backtest(found, part)
    print_backtest(found, Console())
    click.echo(f"Report: {folder / 'report.html'}")
    click.echo(answer(found))


@click.command()
@log_options
@click.option("--model", required=True, metavar="NAME[:KEY=VALUE,...]", help="A recommender and its settings.")
@click.option("--seed", type=click.IntRange(0, 2**62), default=0, show_default=True, help="Of the training.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A new folder for weights.safetensors and model.json."
)
def train(model: str, seed: int, out: Path, **log: Any) -> None:
    """Fit a recommender on a whole log and save it.

    Python loads it with recommenders.storage.load(FOLDER), which executes nothing that the folder holds. The log's
    options are those of `pushback backtest`.

    \b
    Example:
      pushback train --log shipped:kuairand_likes --model gru4rec:epochs=10,dislike_input=true --out my_model
    """
    options = take_log_options(log)
    from rich.console import Console

    from simulator.commands.logs import open_log
    from simulator.commands.models import choose_models
    from simulator.commands.train import train_and_save

    (spec,) = choose_models((model,), None)
    read = open_log(options)
    for notice in read.notices:
        click.echo(f"- {notice}", err=True)
    made = train_and_save(spec, read, seed=seed, out=out, console=Console(stderr=True))
    rows = f"{len(read.interactions):,} rows, {len(read.item_ids):,} items"
    click.echo(f"Saved {made.folder}: {rows}, {made.n_bytes / 1e6:.1f} MB, fitted in {made.fit_seconds:.1f} s")
