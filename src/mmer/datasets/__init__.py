"""Kedro datasets of our own: raw corpora, sample tables, and files of one typed object each."""
