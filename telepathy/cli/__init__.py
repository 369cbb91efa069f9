"""The `latentwire` command line: one file per command."""
