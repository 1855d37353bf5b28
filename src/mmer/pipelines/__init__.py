"""The stages as Kedro pipelines: glue between the datasets and the packages that do the work."""
