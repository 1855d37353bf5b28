"""Kedro datasets of our own: raw corpora, sample tables, scores, trained and registered models."""
