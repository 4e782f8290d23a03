"""lattice-flows: the commands together.

The command modules import nothing heavy at their top, so that --help answers at once.
"""

import click

from lattice_flows.scripts._command import Group
from lattice_flows.scripts.correlator import correlator
from lattice_flows.scripts.evaluate import evaluate
from lattice_flows.scripts.exact import exact
from lattice_flows.scripts.hmc import hmc
from lattice_flows.scripts.info import info
from lattice_flows.scripts.measure import measure
from lattice_flows.scripts.plot import plot
from lattice_flows.scripts.reproduce import reproduce
from lattice_flows.scripts.sample import sample
from lattice_flows.scripts.scan import scan
from lattice_flows.scripts.train import train
from lattice_flows.scripts.transfer import transfer


class InOrder(Group):
    """Commands in the order of the work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder)
@click.version_option(package_name="lattice-flows", prog_name="lattice-flows")
def main() -> None:
    """Sample lattice field theories with learned flows, checked against exact answers.

    Exit codes: 0 done; 1 a failure; 2 wrong usage; 3 finished but unreliable; 75 interrupted and
    saved, run again to go on.
    """


for command in (
    exact,
    train,
    transfer,
    evaluate,
    sample,
    hmc,
    measure,
    correlator,
    scan,
    plot,
    info,
    reproduce,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
