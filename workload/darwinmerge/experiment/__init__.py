"""The manifest's experiment as frozen types, its validation, and the kind and layer of a tensor by its name."""
