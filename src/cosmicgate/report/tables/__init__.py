"""Make the tables of a report in Markdown and CSV."""
