"""Make the tables of a report in Markdown and CSV."""

from cosmicgate.report.tables.cells import UNITS, number, published, span
from cosmicgate.report.tables.costs import parameter_tables, seconds_tables
from cosmicgate.report.tables.export import differences_csv, read_scores, scores_csv
from cosmicgate.report.tables.paper import class_tables, difference_tables, hit_tables, tables_of
from cosmicgate.report.tables.table import Cell, Table, markdown, plain

__all__ = [
    "UNITS",
    "Cell",
    "Table",
    "class_tables",
    "difference_tables",
    "differences_csv",
    "hit_tables",
    "markdown",
    "number",
    "parameter_tables",
    "plain",
    "published",
    "read_scores",
    "scores_csv",
    "seconds_tables",
    "span",
    "tables_of",
]
