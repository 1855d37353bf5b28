"""Joining words, frames and labelled segments in time."""
