"""The tables of a report in Markdown, LaTeX and CSV."""

from cosmicgate.report.tables.cells import UNITS, number, published, span
from cosmicgate.report.tables.export import differences_csv, scores_csv
from cosmicgate.report.tables.paper import class_tables, difference_tables, hit_tables, tables_of
from cosmicgate.report.tables.table import Table, latex, markdown

__all__ = [
    "UNITS",
    "Table",
    "class_tables",
    "difference_tables",
    "differences_csv",
    "hit_tables",
    "latex",
    "markdown",
    "number",
    "published",
    "scores_csv",
    "span",
    "tables_of",
]
