"""The ``latent-policy`` command line: the application, its commands, and its exit statuses."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from latent_policy_ros import __version__
from latent_policy_ros.cli import dataset, doctor, drivers, embodiments, evaluate, fleet, latent, record, reference, retarget, train
from latent_policy_ros.cli.common import error_console, print_line
from latent_policy_ros.common.errors import LatentPolicyError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")

app.command("demo")(fleet.demo)
app.command("up")(fleet.up)
app.command("displays")(fleet.displays)
app.command("teleop")(fleet.teleop)
app.command("engage")(fleet.engage_command)
app.command("disengage")(fleet.disengage_command)
app.command("record")(record.record_command)
app.command("episode")(record.episode_command)
app.add_typer(dataset.app, name="dataset")
app.add_typer(train.app, name="train")
app.command("eval")(evaluate.evaluate_command)
app.add_typer(latent.app, name="latent")
app.add_typer(embodiments.app, name="embodiments")
app.command("retarget")(retarget.retarget_command)
app.add_typer(drivers.app, name="drivers")
app.command("doctor")(doctor.doctor_command)
app.command("reference")(reference.reference_command)


def _print_version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Control many robot hands with one learned policy.

    Every command works without a ROS 2 installation. Fleets, embodiments, latent spaces and policies are given by file or
    folder, or by the name of one that ships with the package in `config/`.

    Exit status: 0 on success, 1 if the result is negative (a failed check, no episode written), 2 if the input is wrong,
    130 after Ctrl-C.
    """


def main() -> None:
    """Entry point of ``latent-policy``. Prints expected errors as one line on stderr, without a traceback."""
    try:
        app()
    except LatentPolicyError as error:
        _fail(str(error))
    except OSError as error:  # for example a full disk, or a file at the path of an output folder
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(message: str) -> None:
    print_line(message, "error:", "bold red", error_console)
    sys.exit(2)
