"""Command line that writes results as tables and figures.

    python -m cosmicgate.report RESULTS.json [RESULTS.json ...] -o FOLDER

puts the results of several evaluations into one report, with separate tables for each test set.
"""

from collections.abc import Sequence
from pathlib import Path

from cosmicgate.extras import extra

with extra("train", __name__):
    from cosmicgate.config import report_user_errors
    from cosmicgate.report.runs import find_runs, merge_runs, parser_of_runs
    from cosmicgate.report.write_report import write_report


@report_user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report of the runs given on the command line."""
    parser = parser_of_runs("cosmicgate.report", "Tables and figures of results.")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FOLDER", help="where the report goes")
    given = parser.parse_args(arguments)
    for path in write_report(merge_runs(find_runs(given.runs)), given.output):
        print(path)  # noqa: T201 (a command line)


if __name__ == "__main__":
    main()
