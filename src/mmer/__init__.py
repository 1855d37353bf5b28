"""mmer: multi-modal multi-label emotion recognition, from the corpora's files to a served model."""

__version__ = "0.1.0"
