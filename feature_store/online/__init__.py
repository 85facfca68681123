"""Online stores: the latest record of every key, read in well under a millisecond per hundred keys."""
