"""Runs that fit the machines they name: `aepo train --config recipe:NAME`."""
