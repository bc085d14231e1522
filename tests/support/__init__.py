"""What tests share: small runs, models and environments, stored numbers of peers, the `aepo` command."""
