from .pipeline import ablate as ablate
from .pipeline import ablate_family as ablate_family
from .pipeline import compare as compare
from .pipeline import compare_family as compare_family
