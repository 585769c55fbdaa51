"""Masks of hits from several exposures of one field (``comparison``), and how good they are (``agreement``)."""
