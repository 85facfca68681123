"""Item towers, one file per family."""
