"""What a ranker sees of a request and an item."""
