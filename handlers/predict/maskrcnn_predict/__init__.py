"""Many images: where they are, what predicts, and what is done already."""
