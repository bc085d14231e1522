"""Studies that the package brings along: `aepo study NAME`."""
