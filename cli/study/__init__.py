"""`aepo study`: from a file that says what is compared to trials that have ended."""
