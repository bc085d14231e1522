"""Small things that know nothing of language models: names, locks, folders that appear whole."""
