"""Label hits by comparing exposures of one field (``multi_exposure``), and check the labels (``agreement``)."""
