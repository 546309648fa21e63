"""What the commands that start several trainings share: their flags, and a line."""

import argparse
import re
from collections.abc import Sequence

from jaxadv import console
from jaxadv.evaluation.writing import escape
from jaxadv.specs import UsageError


def parser(command: str, about: str, epilog: str) -> console.Parser:
    """A parser of CONFIG, --workdir and --seeds, to which a command adds its own."""
    found = console.Parser(
        prog=f"jaxadv {command}",
        description=about,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("config", metavar="CONFIG", help="a training config")
    found.add_argument("--workdir", required=True, help="of all runs, and the table")
    found.add_argument(
        "--seeds", help="of the trainings: 0,1,2 (default: the config's)"
    )
    return found


def show(line: str) -> None:
    """Prints a line before what the process that follows writes."""
    print(escape.line(line), flush=True)


def grouped(
    flags: Sequence[str], of: Sequence[str], command: str
) -> dict[str, list[str]]:
    """Flags `--NAME.FIELD=VALUE` by their name, one of `of`, and those of devices.

    Raises:
      UsageError: a flag is none of these of the command.
    """
    groups: dict[str, list[str]] = {name: [] for name in (*of, "cpu_devices")}
    for flag in flags:
        match = re.match(rf"--(?:no)?({'|'.join(of)})\.|--(cpu_devices)=", flag)
        if match is None:
            raise UsageError(
                f"{flag!r} is no flag of {command}; see jaxadv {command} --help"
            )
        if "=" not in flag and not flag.startswith("--no"):
            raise UsageError(f"{flag}: give the value behind =, as {flag}=VALUE")
        groups[match[1] or match[2]].append(flag)
    return groups
