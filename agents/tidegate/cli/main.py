"""The entry point: ``tidegate``."""

import sys


def main() -> None:
    """Run the command line. An installation without the extra ``node`` is told which one it lacks."""
    try:
        from tidegate.cli.group import run  # noqa: PLC0415 - so that what is missing can be named
    except ModuleNotFoundError as error:
        print(
            f"error: the package {error.name} is missing\n  do: pip install 'tidegate[node]' (or 'tidegate[server]')",
            file=sys.stderr,
        )
        sys.exit(1)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
