"""The command `pushback`: the composition root, the only place that meets concrete recommenders.

Heavy libraries are imported within the commands that need them, so that help comes at once.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from simulator import prefer_one_thread
from simulator.commands.logs import log_options, take_log_options

if TYPE_CHECKING:
    from simulator.scenario.loader import LoadedScenario

_KINDS = ("recommenders", "metrics", "behaviours", "reports", "scenarios", "presets", "runs")
_CHECK_KINDS = ("serving", "fitting", "state", "cost", "behaviour")
_INTERRUPTED = 130
_SCENARIO_HELP = "SCENARIO is a file, or the bare name of a shipped scenario (`pushback list scenarios`)."


class UserError(click.ClickException):
    """Something that the user can mend: its message is printed as it is, and the command exits with 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the message to the standard error, without a prefix: the first line may name a file and line."""
        # Names and texts from a file must not steer the terminal.
        shown = "".join(c if c.isprintable() or c == "\n" else " " for c in self.message)
        click.echo(shown, file=file, err=file is None)


class Shell(click.Group):
    """A group of commands in which errors of the user's making print a message, and all others a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            ctx.exit(_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, _user_errors()):
                raise UserError(str(error)) from error
            raise


def _user_errors() -> tuple[type[Exception], ...]:
    """Exceptions whose message says all that a user needs; imported late, as this is asked only after a failure."""
    from recommenders.base import RecommenderError
    from recommenders.offline.faults import LogError
    from recommenders.storage import StorageError
    from simulator.engine.log_files import LogFileError
    from simulator.engine.serving import EngineError
    from simulator.experiment.metrics import MetricError
    from simulator.experiment.replay import ReplayError
    from simulator.report.serialize import ReportError
    from simulator.scenario.faults import ScenarioErrors
    from simulator.workers import WorkerDiedError
    from simulator.world.behaviour import BehaviourError
    from simulator.world.item_table import CatalogueError

    return (
        ReplayError,
        WorkerDiedError,
        BehaviourError,
        LogFileError,
        ScenarioErrors, RecommenderError, EngineError, MetricError, ReportError, CatalogueError, LogError, StorageError,
    )  # fmt: skip


@click.group(cls=Shell, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pushback")
def main() -> None:
    """Measure how a recommender responds when its users push back.

    A scenario (YAML) describes a world of synthetic users and several recommenders. A run lets them live together and
    says, with intervals, how fast each recommender responds to dislikes and skips, and what that does to engagement.

    \b
    Begin here:
      pushback run quickstart              run a shipped scenario and write its report
      pushback list                        what there is to build a scenario from
      pushback validate my_scenario.yaml   all faults of a scenario, with line and column
      pushback backtest --log FILE         recommenders on your own log (see backtest --help)
      pushback check my_module:MyClass     what every recommender must keep, tried on yours
      pushback validate-stats              whether the statistics can be trusted

    Exit codes: 0 success, 1 a threshold or a check failed, 2 an error in what was given, 130 interrupted.
    """
    prefer_one_thread()


_set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Replace a setting; the value is YAML. Repeatable, such as --set world.population.users=500 "
    "--set arms[1].config.epochs=3.",
)


@main.command(epilog=_SCENARIO_HELP)
@click.argument("scenario")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Replace the scenario's seed.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of results; the run gets a folder SCENARIO/RUN of its own beneath it.",
)
@_set_option
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    default=lambda: len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
    show_default="the cores that there are",
    help="Arms that run at the same time, each in a process of its own.",
)
@click.pass_context
def run(ctx: click.Context, scenario: str, seed: int | None, out: Path, overrides: tuple[str, ...], jobs: int) -> None:
    """Run a scenario and write its report.

    The same scenario and seed give the same event log and the same estimates, whatever the number of jobs. If the
    scenario has thresholds and one of them fails, the exit code is 1: a scenario can guard a pipeline.

    \b
    Examples:
      pushback run quickstart
      pushback run quickstart --seed 2 --set world.population.users=500
      pushback run my_scenario.yaml --out /tmp/results --jobs 2
    """
    loaded = _load(scenario, overrides, seed)
    from rich.console import Console

    from simulator.report import answer_line, print_results
    from simulator.running import RunInterruptedError, run_scenario

    try:
        made = run_scenario(loaded, out=out, jobs=jobs, console=Console(stderr=True), command=_command_line())
    except RunInterruptedError as interruption:
        click.echo(f"\n{interruption}", err=True)
        ctx.exit(_INTERRUPTED)
    except OSError as error:
        reason = error.strerror or str(error)
        _fail(f"{error.filename or out}: got {reason!r}, expected a folder that can be written (--out)")
    print_results(made.results, made.manifest, Console())
    click.echo(f"Report: {made.folder / 'report.html'}")
    click.echo(answer_line(made.results))
    if not all(verdict.passed for verdict in made.results.verdicts):
        ctx.exit(1)


@main.command(epilog=_SCENARIO_HELP)
@click.argument("scenarios", metavar="SCENARIO...", nargs=-1, required=True)
@_set_option
@click.pass_context
def validate(ctx: click.Context, scenarios: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Check scenarios without running them.

    All faults of a file are told at once, each with file, line and column, what it got and what was expected.

    \b
    Examples:
      pushback validate my_scenario.yaml
      pushback validate scenarios/*.yaml
    """
    faulty = False
    for scenario in scenarios:
        try:
            loaded = _load(scenario, overrides, None)
        except UserError as error:
            error.show()
            faulty = True
        else:
            click.echo(f"{loaded.path}: OK: {loaded.scenario.question}")
    if faulty:
        ctx.exit(2)


@main.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
def schema(out: Path | None) -> None:
    """Print the JSON Schema of a scenario.

    Editors complete and check a scenario that begins with a line such as

    \b
      # yaml-language-server: $schema=scenario.schema.json

    \b
    Example:
      pushback schema --out scenario.schema.json
    """
    from simulator.commands.components import registered_parts
    from simulator.scenario.json_schema import json_schema

    text = json.dumps(json_schema(registered_parts()), indent=2, ensure_ascii=False)
    if out is None:
        click.echo(text)
        return
    _write(out, text)
    click.echo(f"Wrote {out}")


@main.command(name="list")
@click.argument("kind", type=click.Choice(_KINDS), required=False)
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder in which runs are looked for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
def list_(kind: str | None, results: Path, as_json: bool) -> None:
    """List what there is, with what installed packages bring; without KIND, all of it.

    \b
    Examples:
      pushback list recommenders
      pushback list runs --json
    """
    from simulator.commands.listing import format_records, list_all

    listers = list_all(results)
    found = {name: listers[name]() for name in ([kind] if kind else _KINDS)}
    if as_json:
        click.echo(json.dumps(found[kind] if kind else found, indent=2, ensure_ascii=False))
        return
    click.echo("\n".join(format_records(name, records) for name, records in found.items()), nl=False)


@main.command()
@click.argument("run_folder", metavar="RUN")
@click.option(
    "--with",
    "reports",
    multiple=True,
    metavar="NAME",
    help="Also write this report (`pushback list reports`, or module:function); repeatable.",
)
def report(run_folder: str, reports: tuple[str, ...]) -> None:
    """Write the HTML report of a run again, from its files.

    RUN is the folder of a run, as `pushback list runs` shows it.

    \b
    Examples:
      pushback report results/quickstart/RUN
      pushback report results/quickstart/RUN --with my_module:my_report
    """
    from simulator.commands.components import search_working_folder
    from simulator.report import write_report, write_reports

    click.echo(write_report(Path(run_folder)))
    search_working_folder()
    for path in write_reports(reports, run_folder):
        click.echo(path)


@main.command()
@click.argument("run_a", metavar="RUN")
@click.argument("run_b", metavar="RUN")
def compare(run_a: str, run_b: str) -> None:
    """Set two runs side by side: what differs in their scenarios, and in what they found.

    \b
    Example:
      pushback compare results/quickstart/RUN results/quickstart/OTHER
    """
    from rich.console import Console

    from simulator.report import compare_runs

    compare_runs(Path(run_a), Path(run_b), Console())


@main.command()
@click.argument("run_folder", metavar="RUN")
@click.option("--arm", help="The treatment whose effects vary as planned; the last arm of the run otherwise.")
@click.option("--users", type=click.IntRange(4, 10**12), help="Of the planned test; those of the pilot otherwise.")
@click.option("--effect", help="A relative effect to detect, such as 1% or 0.01.")
@click.option("--power", type=click.FloatRange(0.5, 0.9999), default=0.8, show_default=True, help="Chance to detect.")
@click.option(
    "--confidence", type=click.FloatRange(0.5, 0.9999), default=0.95, show_default=True, help="Of the planned test."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
def power(
    run_folder: str,
    arm: str | None,
    users: int | None,
    effect: str | None,
    power: float,
    confidence: float,
    as_json: bool,
) -> None:
    """Plan the size of an A/B test, with a finished run as the pilot.

    RUN is the folder of a run with an A/B test, as `pushback list runs` shows it. For each metric: the smallest effect
    that so many users detect, how many users detect a given one, and how many times fewer the paired design needs.

    \b
    Examples:
      pushback power results/quickstart/RUN
      pushback power results/quickstart/RUN --arm ntr --effect 1% --power 0.9
    """
    from rich.console import Console

    from simulator.commands.power import Asked, plan, plans_as_json, print_plans, treatments_of
    from simulator.report import load_run

    results = load_run(run_folder).results
    treatments = treatments_of(results)
    asked = Asked(arm or treatments[-1], users or max(results.users, 4), _relative_effect(effect), power, confidence)
    plans = plan(results, asked)
    if as_json:
        click.echo(plans_as_json(plans))
    else:
        print_plans(results, plans, asked, Console())


def _relative_effect(text: str | None) -> float | None:
    """`1%` or `0.01` as a number."""
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not (0 < abs(value) < 100):
        _fail(f"--effect: got {text!r}, expected a relative effect other than 0, such as 1% or -0.05")
    return value


@main.command()
@click.argument("presets", metavar="[PRESET]...", nargs=-1)
@click.option("--users", type=click.IntRange(34, 1_000_000), help="Simulated users; fewer are faster and noisier.")
@click.option("--days", type=click.IntRange(1, 365), help="Simulated days.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Of the world.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
@click.pass_context
def targets(
    ctx: click.Context, presets: tuple[str, ...], users: int | None, days: int | None, seed: int, as_json: bool
) -> None:
    """Set presets beside real platforms: target, simulated, ratio, and where the target comes from.

    Without PRESET, all that have targets. The exit code is 1 if a figure is out by more than a factor of 1.5.

    \b
    Examples:
      pushback targets short_video
      pushback targets music --seed 2 --json
    """
    from rich.console import Console

    from simulator.commands.targets import measure_presets, presets_as_json, print_presets
    from simulator.experiment.targets import sheet_names
    from simulator.scenario.faults import one_of

    for preset in presets:
        if preset not in sheet_names():
            _fail(f"PRESET: got {preset!r}, expected {one_of(list(sheet_names()), preset)}")
    found = measure_presets(presets or sheet_names(), users=users, days=days, seed=seed, console=Console(stderr=True))
    if as_json:
        click.echo(presets_as_json(found))
    else:
        print_presets(found, Console())
    if not all(measured.passed for measured in found):
        ctx.exit(1)


@main.command(name="validate-stats", epilog=_SCENARIO_HELP)
@click.argument("scenario", default="aa")
@click.option(
    "--replicates", type=click.IntRange(2, 1_000_000), default=500, show_default=True, help="Populations of new users."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Replace the scenario's seed.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of results; the run gets a folder SCENARIO/RUN of its own beneath it.",
)
@_set_option
@click.option(
    "--jobs", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processes that simulate together."
)
@click.pass_context
def validate_stats(
    ctx: click.Context,
    scenario: str,
    replicates: int,
    seed: int | None,
    out: Path,
    overrides: tuple[str, ...],
    jobs: int,
) -> None:
    """Prove that the statistics can be trusted, over hundreds of replicate populations.

    Counts, for each design, estimator and metric: false positives of A/A tests; how often intervals cover a planted
    effect, and find it; false positives of tests that are looked at every day; how many times fewer users pairing
    needs. SCENARIO (aa by default) has two arms that do not learn. docs/statistics.md says what is judged, and how.

    The exit code is 1 if a check fails. Results are the same whatever the number of jobs.

    \b
    Examples:
      pushback validate-stats
      pushback validate-stats aa --replicates 1000 --seed 2 --jobs 2
    """
    loaded = _load(scenario, overrides, seed)
    from datetime import UTC, datetime

    from rich.console import Console

    from recommenders.storage import new_folder
    from simulator.commands.validate_stats import run_folder
    from simulator.commands.validate_stats import validate_stats as validate_statistics
    from simulator.commands.validate_stats_report import answer, print_validation, write_validation

    started = datetime.now(UTC)
    folder = run_folder(out, loaded.name, f"{started:%Y%m%d-%H%M%S}-seed{loaded.scenario.seed}")
    with new_folder(folder) as part:
        made = validate_statistics(
            loaded,
            replicates=replicates,
            jobs=jobs,
            run=folder.name,
            started=started,
            console=Console(stderr=True),
            command=_command_line(),
        )
        write_validation(made, part)
    print_validation(made, Console())
    click.echo(f"Report: {folder / 'validity.html'}")
    click.echo(answer(made))
    if made.found.failures:
        ctx.exit(1)


@main.command()
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
            command=_command_line(),
        )
        write_backtest(found, part)
    print_backtest(found, Console())
    click.echo(f"Report: {folder / 'report.html'}")
    click.echo(answer(found))


@main.command()
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


@main.command()
@click.argument("recommender", required=False)
@click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="FILE|KEY=VALUE",
    help="Settings: a file in YAML or JSON, or key=value,... with values in YAML. Repeatable; later ones win.",
)
@click.option("--only", multiple=True, metavar="PATTERN", help="Checks whose name has this part. Repeatable.")
@click.option("--skip", multiple=True, metavar="PATTERN", help="Leave out checks whose name has this part. Repeatable.")
@click.option("--kind", type=click.Choice(_CHECK_KINDS), help="One part of the contract.")
@click.option("--seed", type=click.IntRange(0, 2**62), default=0, show_default=True, help="Which examples are tried.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 86_400),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="For one example, its fits included. A longer one breaks the law, and ends the run.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write all that was found, for other programs.",
)
@click.option("--list", "only_list", is_flag=True, help="List the laws by kind, and try none.")
@click.pass_context
def check(
    ctx: click.Context,
    recommender: str | None,
    configs: tuple[str, ...],
    only: tuple[str, ...],
    skip: tuple[str, ...],
    kind: Any,
    seed: int,
    timeout: float,
    json_file: Path | None,
    only_list: bool,
) -> None:
    """Check that a recommender keeps the contract: laws, each tried on examples until one breaks it.

    RECOMMENDER is a name (`pushback list recommenders`), or module:Class, which may lie in the working folder; settings
    may follow it, as in popularity:smoothing=2. Where a law is broken, the smallest example found is printed as code to
    paste. docs/conformance.md explains the laws; `pushback check --list` lists them.

    The exit code is 1 if a law is broken. Needs hypothesis: pip install 'pushback[testing]'.

    \b
    Examples:
      pushback check popularity
      pushback check my_module:MyClass --config settings.yaml --config dim=16
      pushback check my_module:MyClass --only slates --only batch --json found.json
      pushback check gru4rec:dislike_input=true --kind behaviour
      pushback check --list
    """
    try:
        from simulator.commands import check as checking
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "hypothesis":
            raise
        _fail("pushback check needs hypothesis, which is not installed: pip install 'pushback[testing]'")
    from rich.console import Console

    from recommenders.conformance import choose_checks

    checks = choose_checks(only=only, skip=skip, kind=kind)
    if only_list:
        checking.list_checks(checks, Console())
        return
    if recommender is None:
        raise click.UsageError("Missing argument 'RECOMMENDER' (or --list).")
    if json_file is not None and not json_file.parent.is_dir():  # said before the checks take their time
        _fail(f"--json {json_file}: got a folder that does not exist, expected a file that can be written")
    subject = checking.find_subject(recommender, configs)
    report = checking.check_recommender(
        subject, checks, seed=seed, example_seconds=timeout, console=Console(stderr=True)
    )
    checking.print_report(report, Console())
    if json_file is not None:
        _write(json_file, report.to_json())
    if not report.passed:
        ctx.exit(1)


def _load(scenario: str, overrides: tuple[str, ...], seed: int | None) -> LoadedScenario:
    from simulator.commands.components import load
    from simulator.scenario.faults import ScenarioErrors

    try:
        return load(scenario, overrides, seed)
    except LookupError as error:
        _fail(str(error.args[0]))
    except ScenarioErrors as error:
        count = len(error.faults)
        _fail(f"{error}\n{scenario}: {count} fault{'s' if count > 1 else ''}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        _fail(f"{path}: got {error.strerror}, expected a file that can be written")


def _fail(message: str) -> NoReturn:
    raise UserError(message)


def _command_line() -> str:
    return shlex.join(["pushback", *sys.argv[1:]])
