"""Training sets and rankers. The home of lightgbm."""
