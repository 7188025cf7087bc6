"""Commands on runs: going on with a stopped one; reports of finished ones, two side by side, the next test planned."""

from __future__ import annotations

from pathlib import Path

import click

from simulator.cli.shell import checkpoint_option, fail, jobs_option, labour, ray_option, tell_run, workers_option


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder in which a run is looked for by its name.",
)
@jobs_option
@workers_option
@ray_option
@checkpoint_option
@click.pass_context
def resume(
    ctx: click.Context,
    run: str,
    results: Path,
    jobs: int,
    workers: int,
    ray: str | None,
    checkpoint_seconds: float | None,
) -> None:
    """Go on with a run that was stopped, by Ctrl-C, a crash, a full disk or a power cut.

    RUN is the folder of an unfinished run, with `.partial` or without, or the run's name alone. The event logs and
    the results are those of a run that was never stopped, whatever the number of jobs and workers before and now.

    \b
    Examples:
      pushback list runs
      pushback resume results/quickstart/RUN.partial
      pushback resume RUN --jobs 4
    """
    from rich.console import Console

    from simulator.running import resume_run
    from simulator.unfinished import find

    part, work = find(run, results), labour(ctx, jobs, workers, ray)
    tell_run(
        ctx,
        lambda: resume_run(part, labour=work, console=Console(stderr=True), checkpoint_seconds=checkpoint_seconds),
    )


@click.command()
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


@click.command()
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


@click.command()
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
        fail(f"--effect: got {text!r}, expected a relative effect other than 0, such as 1% or -0.05")
    return value
