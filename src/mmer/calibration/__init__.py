"""Thresholds, probabilities and guarantees, all chosen on the validation split."""
