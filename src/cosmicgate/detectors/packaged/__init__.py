"""The networks that come with the package: their weights, a card beside each, and how they are unpacked."""
