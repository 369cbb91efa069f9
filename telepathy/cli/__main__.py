"""The command line as `python -m telepathy.cli`."""

from telepathy.cli.main import main

if __name__ == "__main__":
    main()
