"""Results shown: the tables and figures of an evaluation, a page of finished runs, a dashboard."""
