"""The `m4sam` command, one file per subcommand."""
