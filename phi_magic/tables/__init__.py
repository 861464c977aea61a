"""From a table of rows to columns of answers."""
