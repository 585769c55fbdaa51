"""Present results: tables, figures, a page of finished runs, W&B."""
