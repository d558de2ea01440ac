"""Darwin: diagnostic-guided evolutionary merging of language models.

The engine. It knows what a merge experiment is and how each stage of it is done; it knows nothing of
Kubernetes. Importing this package is cheap: torch, transformers, lm-eval, pyarrow, cma and boto3 are
imported by the stages that need them, so that `darwin validate` answers at once and the operator,
which shares the plan, stays small.
"""

__version__ = "0.1.0"
