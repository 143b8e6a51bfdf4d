"""Where the console script ``nuwa`` begins: before any other module is read."""

import signal


def main() -> None:
    """Run ``flows.cli``, which is slow to read; whoever thinks better of it meanwhile may go.

    Until it listens there is nothing to tidy up, and Python's own answer to Ctrl-C is a traceback
    of half-read modules.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from flows import cli

    cli.main()


if __name__ == "__main__":
    main()
