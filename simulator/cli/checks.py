"""Commands that check what results rest on: recommenders, and the statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simulator.cli.shell import SCENARIO_HELP, command_line, fail, load, set_option, write

_CHECK_KINDS = ("serving", "fitting", "state", "cost", "behaviour")


@click.command()
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
        fail("pushback check needs hypothesis, which is not installed: pip install 'pushback[testing]'")
    from rich.console import Console

    from recommenders.conformance import choose_checks

    checks = choose_checks(only=only, skip=skip, kind=kind)
    if only_list:
        checking.list_checks(checks, Console())
        return
    if recommender is None:
        raise click.UsageError("Missing argument 'RECOMMENDER' (or --list).")
    if json_file is not None and not json_file.parent.is_dir():  # said before the checks take their time
        fail(f"--json {json_file}: got a folder that does not exist, expected a file that can be written")
    subject = checking.find_subject(recommender, configs)
    report = checking.check_recommender(
        subject, checks, seed=seed, example_seconds=timeout, console=Console(stderr=True)
    )
    checking.print_report(report, Console())
    if json_file is not None:
        write(json_file, report.to_json())
    if not report.passed:
        ctx.exit(1)


@click.command(name="validate-stats", epilog=SCENARIO_HELP)
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
@set_option
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
    needs. SCENARIO (aa by default) has two arms. docs/statistics.md says what is judged, and how.

    Where an arm learns, it counts instead how far splits are off the effect of a change for everybody, with training on
    everybody's feedback or on the arm's own, and how often their intervals and those of the paired design hold it.
    Nothing of that is judged.

    The exit code is 1 if a check fails. Results are the same whatever the number of jobs.

    \b
    Examples:
      pushback validate-stats
      pushback validate-stats aa --replicates 1000 --seed 2 --jobs 2
      pushback validate-stats interference_replicates --replicates 300 --jobs 2
    """
    loaded = load(scenario, overrides, seed)
    from datetime import UTC, datetime

    from rich.console import Console

    from recommenders.storage import new_folder
    from simulator.commands.validate_stats import run_folder
    from simulator.commands.validate_stats import validate_stats as validate_statistics
    from simulator.commands.validate_stats_report import print_validation, tell, write_validation

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
            command=command_line(),
        )
        write_validation(made, part)
    print_validation(made, Console())
    click.echo(f"Report: {folder / 'validity.html'}")
    click.echo(tell(made).answer)
    if made.found.failures:
        ctx.exit(1)
