"""`aepo tune`: a search over settings, from what is looked for to the best trial's model."""
