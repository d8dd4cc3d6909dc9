"""The page to try a model by."""
