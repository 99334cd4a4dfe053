"""The result for people: a table for the terminal, and one offline page."""
