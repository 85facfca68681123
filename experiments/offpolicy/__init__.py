"""What a policy would have earned, from what another policy logged with its propensities."""
