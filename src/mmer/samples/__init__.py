"""The sample table and the padded batches made from it."""
