"""The `aepo` command: one file per subcommand, heavy imports inside them."""
