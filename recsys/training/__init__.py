"""Losses, pairs and the training loop."""
