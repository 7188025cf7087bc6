"""Commands on scenarios: run them, check them, list what they are made of."""

from __future__ import annotations

import json
from pathlib import Path

import click

from simulator.cli.shell import (
    SCENARIO_HELP,
    UserError,
    checkpoint_option,
    command_line,
    fail,
    jobs_option,
    labour,
    load,
    ray_option,
    set_option,
    tell_run,
    workers_option,
    write,
)

_KINDS = ("recommenders", "metrics", "behaviours", "reports", "scenarios", "presets", "runs")


@click.command(epilog=SCENARIO_HELP)
@click.argument("scenario")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Replace the scenario's seed.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of results; the run gets a folder SCENARIO/RUN of its own beneath it.",
)
@set_option
@jobs_option
@workers_option
@ray_option
@checkpoint_option
@click.pass_context
def run(
    ctx: click.Context,
    scenario: str,
    seed: int | None,
    out: Path,
    overrides: tuple[str, ...],
    jobs: int,
    workers: int,
    ray: str | None,
    checkpoint_seconds: float | None,
) -> None:
    """Run a scenario and write its report.

    The same scenario and seed give the same event log and the same estimates, whatever the number of jobs and of
    workers. If the scenario has thresholds and one of them fails, the exit code is 1: a scenario can guard a pipeline.

    An arm whose recommender fails ends the run with an error and the exit code 2. With `execution: {on_arm_error:
    continue}` it alone is given up, and the exit code is 3, whatever the thresholds say.

    Ctrl-C or SIGTERM finishes the current round and keeps how far the run has come, a second one stops at once;
    `pushback resume` goes on, whatever it was that stopped the run.

    \b
    Examples:
      pushback run quickstart
      pushback run quickstart --seed 2 --set world.population.users=500
      pushback run my_scenario.yaml --out /tmp/results --jobs 2 --checkpoint-every 1m
      pushback run my_scenario.yaml --set world.population.users=1000000 --workers 8
    """
    loaded, work = load(scenario, overrides, seed), labour(ctx, jobs, workers, ray)
    from rich.console import Console

    from simulator.running import run_scenario

    try:
        tell_run(ctx, lambda: run_scenario(
            loaded, out=out, labour=work, console=Console(stderr=True), command=command_line(),
            checkpoint_seconds=checkpoint_seconds,
        ))  # fmt: skip
    except OSError as error:
        reason = error.strerror or str(error)
        fail(f"{error.filename or out}: got {reason!r}, expected a folder that can be written (--out)")


@click.command(epilog=SCENARIO_HELP)
@click.argument("scenarios", metavar="SCENARIO...", nargs=-1, required=True)
@set_option
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
            loaded = load(scenario, overrides, None)
        except UserError as error:
            error.show()
            faulty = True
        else:
            click.echo(f"{loaded.path}: OK: {loaded.scenario.question}")
    if faulty:
        ctx.exit(2)


@click.command()
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

    schema = json_schema(
        registered_parts(), tell=lambda problem: click.echo(f"Settings left open: {problem}", err=True)
    )
    text = json.dumps(schema, indent=2, ensure_ascii=False)
    if out is None:
        click.echo(text)
        return
    write(out, text)
    click.echo(f"Wrote {out}")


@click.command(name="list")
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


@click.command()
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
            fail(f"PRESET: got {preset!r}, expected {one_of(list(sheet_names()), preset)}")
    found = measure_presets(presets or sheet_names(), users=users, days=days, seed=seed, console=Console(stderr=True))
    if as_json:
        click.echo(presets_as_json(found))
    else:
        print_presets(found, Console())
    if not all(measured.passed for measured in found):
        ctx.exit(1)
