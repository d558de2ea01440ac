"""Genomes, and how they are searched: Phase 1 on a heuristic, Phase 2 on real scores."""
