"""The program: `animask`, and `python -m animask`, which torchrun needs."""

import sys


def run() -> None:
    """Load the command line and run it; Ctrl-C while it is loaded is answered as later."""
    try:
        from animask.cli import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run()
