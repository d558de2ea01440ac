"""The merge: decisions per tensor (a recipe), the random mask, and the arithmetic."""
