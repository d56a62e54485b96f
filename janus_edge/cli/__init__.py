"""The command line: one module per command, nothing heavy imported before it is needed."""

from __future__ import annotations

import difflib
import sys
from typing import NoReturn

import click

from janus_edge import __version__
from janus_edge.cli.bench_command import bench
from janus_edge.cli.build_command import build
from janus_edge.cli.bundle_commands import info, verify
from janus_edge.cli.calibrate_command import calibrate
from janus_edge.cli.chat_command import chat
from janus_edge.cli.demo_command import demo
from janus_edge.cli.doctor_command import doctor
from janus_edge.cli.evaluate_command import evaluate
from janus_edge.cli.export_command import export
from janus_edge.cli.generate_command import generate
from janus_edge.cli.parity_command import parity
from janus_edge.cli.quantize_command import quantize
from janus_edge.cli.reconstruct_command import reconstruct
from janus_edge.cli.sensitivity_command import sensitivity
from janus_edge.errors import JanusEdgeError
from janus_edge.termination import Terminated, terminations_raised


class _Group(click.Group):
    """A group that keeps its order in the help and suggests the command that was meant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            close = difflib.get_close_matches(name, self.commands, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else " See 'janus-edge --help'."
            ctx.fail(f"No such command '{name}'.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="janus-edge")
def cli() -> None:
    """DeepSeek Janus and Janus-Pro on small machines, without PyTorch at run time.

    A checkpoint is exported once to a bundle of ONNX graphs; everything else runs on the bundle.

    \b
    janus-edge export deepseek-community/Janus-Pro-1B janus-1b
    janus-edge generate janus-1b "a red fox in the snow" --out fox.png
    janus-edge chat janus-1b --image fox.png "What animal is this?"
    """


for _command in (
    export, info, verify, generate, chat, reconstruct, parity, evaluate, calibrate, quantize,
    sensitivity, build, bench, doctor, demo,
):  # fmt: skip
    cli.add_command(_command)


def main() -> NoReturn:
    """Entry point of ``janus-edge``: errors become one line and the exit code of their class."""
    try:
        with terminations_raised():
            code = cli.main(prog_name="janus-edge", standalone_mode=False)
    except JanusEdgeError as error:
        _print_error(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("janus-edge: interrupted", err=True)
        sys.exit(130)
    except Terminated as end:
        click.echo(f"janus-edge: {end}", err=True)
        sys.exit(end.exit_code)
    except OSError as failure:  # a full disk, a folder that may not be written
        _print_error(failure)
        sys.exit(JanusEdgeError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)  # `doctor` and --help leave with a code


def _print_error(error: Exception) -> None:
    """One line, without the control characters that a hostile file's names may bring in."""
    line = " ".join(str(error).split())
    safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    click.echo(f"janus-edge: error: {safe}", err=True)
