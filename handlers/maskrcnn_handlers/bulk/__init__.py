"""Many pictures: where they are, who answers, and what is done already."""
