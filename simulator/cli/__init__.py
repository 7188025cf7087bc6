"""The command `pushback`: the composition root, the only place that meets concrete recommenders.

Heavy libraries are imported within the commands that need them, so that help comes at once.
"""

from __future__ import annotations

import click

from simulator import prefer_one_thread
from simulator.cli import checks, logs, runs, scenarios
from simulator.cli.shell import Shell


@click.group(cls=Shell, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pushback")
def main() -> None:
    """Measure how a recommender responds when its users push back.

    A scenario (YAML) describes a world of synthetic users and several recommenders. A run lets them live together and
    says, with intervals, how fast each recommender responds to dislikes and skips, and what that does to engagement.

    \b
    Begin here:
      pushback run quickstart              run a shipped scenario and write its report
      pushback resume RUN                  go on with a run that was stopped
      pushback list                        what there is to build a scenario from
      pushback validate my_scenario.yaml   all faults of a scenario, with line and column
      pushback backtest --log FILE         recommenders on your own log (see backtest --help)
      pushback check my_module:MyClass     what every recommender must keep, tried on yours
      pushback validate-stats              whether the statistics can be trusted

    Exit codes: 0 success, 1 a threshold or a check failed, 2 an error in what was given, 3 an arm failed and the run
    went on without it (execution.on_arm_error), 130 interrupted, 143 terminated.
    """
    prefer_one_thread()


for _command in (
    scenarios.run,
    scenarios.validate,
    scenarios.schema,
    scenarios.list_,
    scenarios.targets,
    runs.resume,
    runs.report,
    runs.compare,
    runs.power,
    checks.check,
    checks.validate_stats,
    logs.backtest,
    logs.train,
):
    main.add_command(_command)
