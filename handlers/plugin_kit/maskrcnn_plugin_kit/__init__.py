"""Templates and tests for plugins."""
