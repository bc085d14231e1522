"""What an evaluation shows: scores, tables, curves, files, comparisons, a page of samples."""
