"""The lm-eval suites, one YAML file each; files that begin with an underscore are what they share."""
