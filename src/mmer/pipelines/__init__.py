"""The stages as Kedro pipelines: glue around the libraries."""
