#!/usr/bin/env python3
"""Three commands, each of which sets up what it needs (standard library only; Python 3.10 or newer).

    python run.py demo            draw a picture with an identity, through a real ComfyUI; leaves output/quickstart.png
    python run.py demo --serve    the same, and leave the server up for the browser
    python run.py test            run every test; what follows is passed on to pytest
    python run.py test --host <folder>
                                  the same on that ComfyUI: a folder of its source, of any version from 0.3.75;
                                  its packages go to .hosts/<version> and not into any environment of yours
    python run.py check           lint, format and types, as .ci/run does

COMFYUI_PATH=<folder> uses an existing ComfyUI (0.3.75 or newer) instead of a private one in .comfyui/;
COMFYUI_PYTHON=<file> names its Python where it cannot be found beside it.
"""

import argparse
import os
import subprocess
import sys

if sys.version_info < (3, 10):  # noqa: UP036 - told in words, not by a syntax error further on
    sys.exit("RectifID needs Python 3.10 or newer; this is Python " + sys.version.split()[0])

from scripts import environment


def main() -> int:
    """Set up the environment, run the command in it, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{demo,test,check}")
    demo = commands.add_parser("demo", help="draw the quickstart's picture")
    demo.add_argument("--serve", action="store_true", help="leave the server up and print the address to open")
    test = commands.add_parser(
        "test", help="run every test (other arguments go to pytest)", add_help=False, allow_abbrev=False
    )
    test.add_argument("--host", metavar="FOLDER", help="run them on the ComfyUI whose source is there")
    commands.add_parser("check", help="lint, format and types")
    arguments, rest = parser.parse_known_args()
    if arguments.command != "test":
        if rest:
            parser.error(f"unknown arguments for {arguments.command}: {' '.join(rest)}")
        rest = ["--serve"] if arguments.command == "demo" and arguments.serve else []

    try:
        host = environment.prepare(arguments.command, getattr(arguments, "host", None))
    except environment.SetupError as error:
        print(f"\nSet-up stopped: {error}", file=sys.stderr)
        return 1
    # The rest needs packages, so it runs under the host's own Python.
    command = [str(host.python), "-m", f"scripts.{arguments.command}", *rest]
    child = subprocess.Popen(command, cwd=environment.ROOT, env={**os.environ, "COMFYUI_PATH": str(host.path)})
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the child got the same Ctrl-C and is stopping its server
            continue


if __name__ == "__main__":
    sys.exit(main())
