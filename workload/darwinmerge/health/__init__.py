"""Phase 3: the child's layers beside its parents'."""
