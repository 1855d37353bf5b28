from .pipeline import create_pipeline as create_pipeline
from .pipeline import create_rollback as create_rollback
